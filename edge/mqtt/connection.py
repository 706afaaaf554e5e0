"""One connection to a broker, from TCP to its end, driven by the thread that opened it.

paho's client is used through its interface for external loops (loop_read, loop_write, loop_misc): it
has no thread here, so none can die while the client says "connected", and its callbacks run in
the caller's thread and only take notes. A client serves one connection and is thrown away, so that
nothing of its unbounded queues outlives it.
"""

from __future__ import annotations

import math
import select
import socket
import time
from threading import Event
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge.mqtt.broker import (
    Broker,
    BrokerError,
    HungUpError,
    OverMessageError,
    TakenOverError,
    TooLargeError,
    UnansweredError,
    UnheardError,
    WillError,
)
from edge.mqtt.terms import Terms, packet_bytes
from edge.types import Incoming, Message

TICK_S = 0.5  # paho looks at its keepalive timers this often
MAX_PACKET_BYTES = 65_536  # the most a broker may send us (MQTT 5); kept of a packet (3.1.1)
IN_FLIGHT = 20  # messages sent and not yet acknowledged

_ADVICE = {
    "Bad user name or password": "check mqtt.username and its password",
    "Not authorized": "check mqtt.username, its password and the broker's access list",
    "Client identifier not valid": "choose another node.id",
}


# Reasons of a PUBACK, and those of a DISCONNECT that a message of ours can give.
_PUBACK = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
_UNSPECIFIED, _TOO_LARGE = 0x80, 0x95
_OVER_MESSAGE = {
    "Malformed packet", "Protocol error", "Implementation specific error", "Not authorized",
    "Topic name invalid", "Packet too large", "Quota exceeded", "Payload format invalid",
    "Retain not supported", "QoS not supported",
}  # fmt: skip


class _Client(paho.Client):
    """paho's, with a bound on the memory of one packet, which MQTT 3.1.1 cannot announce to the broker.

    The rest is read and dropped, so that a huge retained message is acknowledged and not sent for ever.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.too_large: set[int] = set()  # numbers of messages that the broker refused for their size

    def _handle_pubackcomp(self, cmd: Any) -> Any:
        # A reason that MQTT does not define for a PUBACK, as 0x95 (packet too large), makes paho hang up.
        packet = self._in_packet["packet"]
        if self._protocol == MQTTProtocolVersion.MQTTv5 and len(packet) > 2 and packet[2] not in _PUBACK:
            if packet[2] == _TOO_LARGE:
                self.too_large.add(int.from_bytes(packet[:2], "big"))
            packet[2] = _UNSPECIFIED if packet[2] >= _UNSPECIFIED else 0
        return super()._handle_pubackcomp(cmd)

    def _sock_recv(self, bufsize: int) -> bytes:
        del self._in_packet["packet"][MAX_PACKET_BYTES:]
        return super()._sock_recv(min(bufsize, MAX_PACKET_BYTES))


class Ack(NamedTuple):
    number: int  # as send() or subscribe() gave it
    refusal: str | None  # why the broker refuses it (messages: MQTT 5 only)
    too_large: bool = False


class Connection:
    """An open connection: construction returns after the broker's CONNACK said success.

    *wake* is a socket that ends a wait when it becomes readable; a set *stopping* gives up the wait for
    the CONNACK. Raises BrokerError, also from turn() and send() once the connection is lost.
    """

    def __init__(
        self, broker: Broker, protocol: int, will: Message | None, wake: socket.socket, stopping: Event
    ) -> None:
        self.in_flight = IN_FLIGHT  # messages that the broker takes at a time
        self.terms = Terms()  # what else it takes
        self._broker = broker
        self._wake = wake
        self._five = protocol == MQTTProtocolVersion.MQTTv5
        self.version = "5" if self._five else "3.1.1"
        self._failure: str | None = None  # paho's words for what went wrong with the socket
        self._connack: ReasonCode | None = None
        self._end: ReasonCode | None = None
        self._came: list[Ack | Incoming] = []
        self._client = self._make_client(protocol, will)
        try:
            self._connect(stopping)
        except BaseException:
            self._drop()
            raise

    @property
    def congested(self) -> bool:
        """The socket's buffer is full; sending more only grows paho's queue."""
        return self._client.want_write()

    def size(self, message: Message, max_age_s: float | None) -> int:
        """Bytes of send()'s packet."""
        return packet_bytes(message, five=self._five, expires=max_age_s is not None)

    def send(self, message: Message, max_age_s: float | None) -> int:
        """Hand *message* to the network; its number, which an Ack repeats (QoS 1).

        *max_age_s*: how long an MQTT 5 broker may keep it for a subscriber that is away.
        """
        properties = None
        if self._five and max_age_s is not None:
            properties = _properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = max(1, math.ceil(max_age_s))
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        self._check()
        return sent.mid

    def subscribe(self, topic: str) -> int:
        """Ask for *topic* at QoS 1, without what we publish there (MQTT 5); its number, as send() gives."""
        if self._five:
            return self._asked(*self._client.subscribe(topic, options=SubscribeOptions(qos=1, noLocal=True)))
        return self._asked(*self._client.subscribe(topic, qos=1))

    def unsubscribe(self, topic: str) -> int:
        return self._asked(*self._client.unsubscribe(topic))

    def turn(self, timeout_s: float = TICK_S) -> list[Ack | Incoming]:
        """Wait for the network or *wake*; handle and return what came."""
        sock: Any = self._check()
        # select does not see what TLS has read ahead.
        ahead = self._broker.tls and sock.pending() > 0
        writers = [sock] if self.congested else []
        readable, writable, _ = select.select([sock, self._wake], writers, [], 0 if ahead else timeout_s)
        if self._wake in readable:
            self._wake.recv(4096)
        if sock in readable or ahead:
            self._client.loop_read()
        if sock in writable:
            self._client.loop_write()
        self._client.loop_misc()
        came, self._came = self._came, []
        if not came:  # what was acknowledged before the end still counts
            self._check()
        return came

    def close(self, goodbye: bool) -> None:
        """End the connection; without *goodbye* the broker publishes the last will."""
        if goodbye:
            self._client.disconnect()
        self._drop()

    def _make_client(self, protocol: int, will: Message | None) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._broker.client_id,
            clean_session=None if self._five else True,
            protocol=MQTTProtocolVersion(protocol),
            transport=self._broker.transport,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.connect_timeout = self._broker.connect_timeout_s
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain)
        client.username_pw_set(self._broker.username, self._broker.password)
        client.on_connect = self._note_connack
        client.on_publish = self._note_ack
        client.on_subscribe = self._note_subscribed
        client.on_unsubscribe = self._note_unsubscribed
        client.on_message = self._note_message
        client.on_disconnect = self._note_end
        client.on_log = self._note_failure
        client.on_socket_close = self._note_alert
        if self._broker.transport == "websockets":
            client.ws_set_options(path=self._broker.path)
        return client

    def _connect(self, stopping: Event) -> None:
        broker = self._broker
        properties = None
        if self._five:
            properties = _properties(PacketTypes.CONNECT)
            properties.MaximumPacketSize = MAX_PACKET_BYTES
        if broker.tls:
            self._client.tls_set_context(broker.context())
        try:
            # One second less: paho checks its timers in ticks, and twice the keepalive must hold.
            keepalive_s = max(1, broker.keepalive_s - 1)
            # paho's default is a clean start for a client's first connection, here its only one.
            self._client.connect(broker.host, broker.port, keepalive_s, properties=properties)
        except (OSError, ValueError) as error:
            raise BrokerError(broker.explain(error)) from error
        deadline = time.monotonic() + broker.connect_timeout_s
        while self._connack is None:
            if stopping.is_set():
                raise BrokerError("stopped while connecting")
            if time.monotonic() > deadline:
                raise UnansweredError(
                    f"accepts connections but sent no MQTT answer within {broker.connect_timeout_s:g} s; "
                    "is this an MQTT broker, and is it alive?"
                )
            self.turn(min(TICK_S, broker.connect_timeout_s / 4))
        if self._connack.is_failure:
            raise self._refusal()

    def _asked(self, _: Any, mid: int | None) -> int:
        self._check()
        assert mid is not None  # only without a connection
        return mid

    def _check(self) -> Any:
        """The open socket; BrokerError when the connection has ended."""
        sock = self._client.socket()
        if sock is not None:
            return sock
        if self._connack is not None and self._connack.is_failure:
            raise self._refusal()
        alert = self._broker.alert(self._failure or "")
        if alert is not None:  # TLS 1.3 checks a client's certificate after the handshake
            raise BrokerError(alert)
        if self._connack is None:
            tls = "" if self._broker.tls else ", and does it want TLS"
            raise UnheardError(f"hung up without an MQTT answer; is this an MQTT broker{tls}?")
        reason = "hung up" if self._end is None else str(self._end)
        if reason in ("hung up", "Normal disconnection", "Unspecified error"):  # paho's words for no reason
            raise HungUpError("connection lost (hung up)")
        if reason == "Session taken over":
            raise TakenOverError(f"connection lost ({reason})")
        if reason in _OVER_MESSAGE:
            kind = TooLargeError if reason == "Packet too large" else OverMessageError
            raise kind(f"connection lost ({reason})")
        raise BrokerError(_advise(f"connection lost ({reason})", reason))

    def _refusal(self) -> BrokerError:
        reason = str(self._connack)
        kind: type[BrokerError] = BrokerError
        if reason == "Unsupported protocol version":
            kind = UnansweredError
        elif reason in ("Retain not supported", "QoS not supported"):
            kind = WillError
        return kind(_advise(f"refused the connection ({reason})", reason))

    def _drop(self) -> None:
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    # What paho calls; the underscores are its client, and what it knows that we do not need.

    def _note_connack(self, _: Any, __: Any, ___: Any, reason: ReasonCode, properties: Any) -> None:
        self.in_flight = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self.terms = Terms(
            packet=getattr(properties, "MaximumPacketSize", None),
            retain=bool(getattr(properties, "RetainAvailable", True)),
            qos=min(1, getattr(properties, "MaximumQoS", 1)),
        )
        self._connack = reason

    def _note_ack(self, _: Any, __: Any, mid: int, reason: ReasonCode, ___: Any) -> None:
        too_large = mid in self._client.too_large
        self._came.append(Ack(mid, str(reason) if reason.is_failure else None, too_large))

    def _note_subscribed(self, _: Any, __: Any, mid: int, reasons: list[ReasonCode], ___: Any) -> None:
        self._came.append(Ack(mid, next((str(reason) for reason in reasons if reason.is_failure), None)))

    def _note_unsubscribed(self, _: Any, __: Any, mid: int, ___: Any, ____: Any) -> None:
        self._came.append(Ack(mid, None))

    def _note_message(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        self._came.append(Incoming(message.topic, bytes(message.payload), message.retain))

    def _note_end(self, _: Any, __: Any, ___: Any, reason: ReasonCode, ____: Any) -> None:
        self._end = reason

    def _note_failure(self, _: Any, __: Any, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._failure = text

    def _note_alert(self, _: Any, __: Any, sock: Any) -> None:
        """Where the broker hung up before all was sent, read the TLS alert that says why."""
        if self._broker.tls and self._connack is None:
            try:
                sock.recv(1)
            except OSError as error:
                self._failure = str(error)


def _properties(packet: int) -> Any:
    return Properties(packet)  # type: ignore[no-untyped-call]


def _advise(text: str, reason: str) -> str:
    return f"{text}; {_ADVICE[reason]}" if reason in _ADVICE else text
