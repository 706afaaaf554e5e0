"""The broker's address, TLS and credentials; and what its refusals mean."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import socket
import ssl
from collections import deque
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge.host.redaction import masked_path
from edge.types import EdgeError

if TYPE_CHECKING:
    from edge.settings.tables import Mqtt

log = logging.getLogger(__name__)

MQTT_3_1_1, MQTT_5 = 4, 5  # protocol levels, as in CONNECT
REASONS = 20  # of one outage that are not logged twice; a broker may word each one differently

File = Path | str | None


class BrokerError(EdgeError):
    """No connection, or it was lost: the reason and what to do, in one line."""


class UnansweredError(BrokerError):
    """The broker refused this version of MQTT, hung up on it or stayed silent."""


class UnheardError(UnansweredError):
    """The broker hung up before its CONNACK."""


class HungUpError(BrokerError):
    """The broker ended a connection that it had accepted, without a reason."""


class OverMessageError(BrokerError):
    """The broker ended the connection for a reason that one of our messages may have caused."""


class TooLargeError(OverMessageError):
    """The broker ended the connection because of a packet's size."""


class WillError(BrokerError):
    """The broker refused the connection because the will is retained or has QoS 1."""


class TakenOverError(BrokerError):
    """The broker ended the connection because another client uses our client id."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect and as whom. Files are PEM."""

    host: str
    _: KW_ONLY
    client_id: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive_s: int = 15  # a frozen broker is noticed within twice this
    connect_timeout_s: float = 10.0  # for TCP and TLS each, and again for the broker's CONNACK
    tls: bool = False
    ca_file: File = None  # None: the system's certificates
    cert_file: File = None  # ours, for a broker that asks for one
    key_file: File = None  # None: the key is in cert_file
    insecure: bool = False  # with TLS: accept any certificate
    transport: Literal["tcp", "websockets"] = "tcp"
    path: str = "/mqtt"  # of a websocket
    version: Literal["auto", "3.1.1", "5"] = "auto"  # of MQTT; auto: 5, else 3.1.1

    @classmethod
    def of(cls, part: Mqtt, client_id: str) -> Broker:
        """The broker of the [mqtt] table, for the client *client_id*."""
        given: dict[str, Any] = {one.name: getattr(part, one.name, one.default) for one in fields(cls)}
        secret = part.password and part.password.get_secret_value()
        return cls(**given | {"client_id": client_id, "password": secret})

    @property
    def protocols(self) -> tuple[int, ...]:
        """Protocol levels in the order of trying."""
        return {"auto": (MQTT_5, MQTT_3_1_1), "5": (MQTT_5,), "3.1.1": (MQTT_3_1_1,)}[self.version]

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Nothing sent there leaves this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower().rstrip(".") in ("localhost", "ip6-localhost")

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer as configured; files that changed are read again. BrokerError for a bad one."""
        files = (self.ca_file, self.cert_file, self.key_file)
        return _context(files, self.insecure, tuple(_changed(file) for file in files))

    def explain(self, error: Exception) -> str:
        """Why there is no connection and what to do."""
        match error:
            case ConnectionRefusedError():
                return "connection refused; is a broker running there?"
            case socket.gaierror() | UnicodeError():
                return "host name not found; check mqtt.host and the network"
            case ssl.SSLCertVerificationError():
                why = error.verify_message.rstrip(".")
                return f"certificate not accepted ({why}); {self._trust(error.verify_code)}"
            case ssl.SSLError() | ConnectionResetError() if self.tls:
                return self.alert(str(error)) or "TLS failed; does the broker speak TLS on this port?"
            case TimeoutError():
                return f"no answer within {self.connect_timeout_s:g} s; check mqtt.host and the network"
            case ConnectionError() if self.transport == "websockets":
                path = masked_path(self.path)
                return f"no websocket for MQTT at {path}; check mqtt.port, mqtt.path and mqtt.tls"
            case OSError():
                return f"cannot connect ({error.strerror or error})"
        return f"cannot connect ({error})"

    def alert(self, text: str) -> str | None:
        """What the broker's TLS alert in OpenSSL's *text* means; None where there is none."""
        found = re.search(r"ALERT_([A-Z_]+)", text)
        if found is None:
            return None
        alert = found[1].replace("_", " ").lower()
        if alert == "protocol version":
            return "TLS failed (protocol version); let the broker speak TLS 1.2 or newer"
        if self.cert_file is None and alert in ("certificate required", "handshake failure"):
            return f"TLS failed ({alert}); if the broker asks for a client certificate, set mqtt.cert_file"
        if self.cert_file is not None:
            return f"broker refuses our certificate ({alert}); check mqtt.cert_file, its dates and its issuer"
        return f"TLS failed ({alert}); check the broker's TLS settings"

    def _trust(self, code: int) -> str:
        """What to do about a certificate that failed OpenSSL's check *code* (X509_V_ERR_…)."""
        match code:
            case 9 | 10:  # not yet valid, expired
                return "renew it on the broker, or set this machine's clock"
            case 62 | 64:  # another host, another address
                return "set mqtt.host to a name that is in it"
        if self.ca_file is None:
            return "put the certificate of its authority in mqtt.ca_file"
        return "check that mqtt.ca_file holds the authority that signed it"


class Outage:
    """What is logged of the time without a connection to *broker*: each reason once, and its end."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._logged: deque[str] = deque(maxlen=REASONS)

    def failed(self, error: Exception) -> None:
        """An attempt to connect, or a connection, ended with *error*."""
        reason = str(error) if isinstance(error, BrokerError) else f"failed ({error!r})"
        if reason not in self._logged:
            self._logged.append(reason)
            log.warning("mqtt %s: %s (trying again)", self._broker, reason)

    def ended(self, version: str) -> None:
        """There is a connection, by MQTT *version*."""
        again = " again" if self._logged else ""
        log.info("mqtt %s: connected%s (MQTT %s)", self._broker, again, version)
        self._logged.clear()


# Cached: with the system's certificates each context leaks 60 KiB (measured).
@lru_cache(maxsize=1)
def _context(files: tuple[File, File, File], insecure: bool, changed: tuple[object, ...]) -> ssl.SSLContext:
    ca_file, cert_file, key_file = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise _unfit(error, f"{ca_file}", "no certificate", "mqtt.ca_file") from error
    if cert_file is not None:
        try:
            # OpenSSL would ask for a passphrase on the terminal.
            context.load_cert_chain(cert_file, key_file, password=lambda: "")
        except (OSError, ValueError) as error:
            places, what = f"{cert_file}", "no certificate with its key (without a passphrase)"
            if key_file is not None:
                places = f"{cert_file} or {key_file}"
                what = "no certificate, or not its key (without a passphrase)"
            raise _unfit(error, places, what, "mqtt.cert_file and mqtt.key_file") from error
    return context


def _changed(file: File) -> tuple[int, int] | None:
    """Changes when *file* does; None where there is none."""
    try:
        status = os.stat(file) if file else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size)


def _unfit(error: Exception, places: str, what: str, keys: str) -> BrokerError:
    unreadable = isinstance(error, OSError) and not isinstance(error, ssl.SSLError)
    return BrokerError(f"{places}: {'cannot be read' if unreadable else what}; check {keys}")
