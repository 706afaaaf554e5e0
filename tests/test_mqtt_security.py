"""TLS with real certificates against a real mosquitto, and the message for each failure."""

from __future__ import annotations

import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edge.mqtt.broker import Broker
from edge.mqtt.health import MqttHealth
from tests.broker import Mosquitto, eventually, free_port, server
from tests.certificates import Authority, openssl
from tests.sink import event, idle_sink, sink

# paho leaves closing a failed handshake to Python.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder, "authority")


@pytest.fixture(scope="module")
def untrusted(folder: Path) -> Authority:
    """An authority that nobody trusts."""
    return Authority(folder, "untrusted")


def broker(host: str, *, tls: bool = False, insecure: bool = False) -> Broker:
    return Broker(host, client_id="n", port=8883, tls=tls, insecure=insecure)


@contextmanager
def mosquitto(folder: Path, files: tuple[Path, Path], extra: str = "") -> Iterator[Mosquitto]:
    certificate, key = files
    secure = Mosquitto(folder, f"allow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n{extra}")
    secure.start()
    try:
        yield secure
    finally:
        secure.kill()


def error_line(caplog: pytest.LogCaptureFixture, port: int, **keywords: object) -> str:
    """The one line that a sink logs if it cannot connect."""
    with sink(port, **keywords) as publishing:
        assert eventually(lambda: caplog.records)
        assert not publishing.connected
    (line,) = {record.getMessage() for record in caplog.records}
    assert line.startswith(f"mqtt 127.0.0.1:{port}: ")
    assert line.endswith(" (trying again)")
    return line.removeprefix(f"mqtt 127.0.0.1:{port}: ").removesuffix(" (trying again)")


# Server certificates


def test_tls_with_a_ca_file(tmp_path: Path, authority: Authority) -> None:
    with (
        mosquitto(tmp_path, authority.sign("broker")) as secure,
        sink(secure.port, tls=True, ca_file=str(authority.certificate)) as publishing,
    ):
        for number in range(100):
            publishing.publish(event(b"%d" % number))
        assert eventually(lambda: publishing.connected)
        assert eventually(lambda: publishing.health() == MqttHealth())


def test_unknown_authority_is_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path, authority.sign("broker")) as secure:
        assert error_line(caplog, secure.port, tls=True) == (
            "certificate not accepted (unable to get local issuer certificate); "
            "put the certificate of its authority in mqtt.ca_file"
        )


def test_wrong_ca_file_is_reported(
    tmp_path: Path, authority: Authority, untrusted: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path, untrusted.sign("broker-of-an-untrusted-ca")) as secure:
        assert error_line(caplog, secure.port, tls=True, ca_file=str(authority.certificate)) == (
            "certificate not accepted (unable to get local issuer certificate); "
            "check that mqtt.ca_file holds the authority that signed it"
        )


def test_certificate_for_another_host_is_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path, authority.sign("elsewhere", address="DNS:broker.lan")) as secure:
        assert error_line(caplog, secure.port, tls=True, ca_file=str(authority.certificate)) == (
            "certificate not accepted (IP address mismatch, certificate is not valid for '127.0.0.1'); "
            "set mqtt.host to a name that is in it"
        )


def test_expired_certificate_is_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path, authority.sign("expired", days=-1)) as secure:
        assert error_line(caplog, secure.port, tls=True, ca_file=str(authority.certificate)) == (
            "certificate not accepted (certificate has expired); "
            "renew it on the broker, or set this machine's clock"
        )


@pytest.mark.parametrize("insecure", [False, True])
def test_minimum_version_is_tls_1_2(insecure: bool) -> None:
    assert broker("h", tls=True, insecure=insecure).context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_insecure_accepts_any_certificate_with_a_warning(
    tmp_path: Path, untrusted: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        mosquitto(tmp_path, untrusted.sign("anyone", days=-1, address="DNS:x")) as secure,
        sink(secure.port, tls=True, insecure=True) as publishing,
    ):
        assert eventually(lambda: publishing.connected)
        assert publishing.health() == MqttHealth(insecure=True)
        port = secure.port
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: mqtt.insecure is set, so whoever answers there is taken for the broker; "
        "put its authority's certificate in mqtt.ca_file instead"
    ]


def test_corrected_ca_file_is_read_without_a_restart(
    tmp_path: Path, authority: Authority, untrusted: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_text(untrusted.certificate.read_text())
    with (
        mosquitto(tmp_path, authority.sign("broker")) as secure,
        sink(secure.port, tls=True, ca_file=str(trusted)) as publishing,
    ):
        assert eventually(lambda: "certificate not accepted" in caplog.text)
        trusted.write_text(authority.certificate.read_text())
        assert eventually(lambda: publishing.connected)


def test_trust_store_is_read_once_for_many_connections() -> None:
    assert broker("h", tls=True).context() is broker("h", tls=True).context()
    assert broker("h", tls=True).context() is not broker("h", tls=True, insecure=True).context()


# Client certificates


@pytest.mark.parametrize("together", [False, True])
def test_client_certificate_is_accepted_by_a_broker_that_requires_one(
    tmp_path: Path, authority: Authority, together: bool
) -> None:
    certificate, key = authority.sign("client")
    keys = {"cert_file": str(certificate), "key_file": str(key)}
    if together:
        (tmp_path / "both.pem").write_text(certificate.read_text() + key.read_text())
        keys = {"cert_file": str(tmp_path / "both.pem")}
    wanted = f"cafile {authority.certificate}\nrequire_certificate true"
    with (
        mosquitto(tmp_path, authority.sign("broker"), wanted) as secure,
        sink(secure.port, tls=True, ca_file=str(authority.certificate), **keys) as publishing,
    ):
        assert eventually(lambda: publishing.connected)


@contextmanager
def tls_1_2(authority: Authority) -> Iterator[int]:
    """Port of a server that aborts a TLS 1.2 handshake over an invalid client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    context.load_cert_chain(*authority.sign("server"))

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with server(serve) as port:
        yield port


def test_missing_client_certificate_is_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    trust = {"tls": True, "ca_file": str(authority.certificate)}
    message = "TLS failed ({}); if the broker asks for a client certificate, set mqtt.cert_file"
    wanted = f"cafile {authority.certificate}\nrequire_certificate true"
    with mosquitto(tmp_path, authority.sign("broker"), wanted) as secure:
        assert error_line(caplog, secure.port, **trust) == message.format("certificate required")
    caplog.clear()
    with tls_1_2(authority) as port:
        assert error_line(caplog, port, **trust) == message.format("handshake failure")


def test_refused_client_certificate_is_reported(
    tmp_path: Path, authority: Authority, untrusted: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = untrusted.sign("client-of-an-untrusted-ca")
    ours = {"cert_file": str(certificate), "key_file": str(key)}
    trust = {"tls": True, "ca_file": str(authority.certificate)}
    message = "broker refuses our certificate (unknown ca); check mqtt.cert_file, its dates and its issuer"
    wanted = f"cafile {authority.certificate}\nrequire_certificate true"
    with mosquitto(tmp_path, authority.sign("broker"), wanted) as secure:
        assert error_line(caplog, secure.port, **trust, **ours) == message
    caplog.clear()
    with tls_1_2(authority) as port:
        assert error_line(caplog, port, **trust, **ours) == message


def test_expired_client_certificate_is_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate, key = authority.sign("expired-client", days=-1)
    wanted = f"cafile {authority.certificate}\nrequire_certificate true"
    with mosquitto(tmp_path, authority.sign("broker"), wanted) as secure:
        assert error_line(
            caplog, secure.port, tls=True, ca_file=str(authority.certificate),
            cert_file=str(certificate), key_file=str(key),
        ) == (
            "broker refuses our certificate (certificate expired); "
            "check mqtt.cert_file, its dates and its issuer"
        )  # fmt: skip


def test_invalid_certificate_files_are_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    junk, gone, port = tmp_path / "junk.pem", tmp_path / "gone.pem", free_port()
    junk.write_text("nothing")
    certificate, key = authority.sign("client")
    _, other = authority.sign("other")
    locked = tmp_path / "locked.key"
    openssl(tmp_path, "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", locked)
    ours = "; check mqtt.cert_file and mqtt.key_file"
    unfit = f"{certificate} or {{}}: no certificate, or not its key (without a passphrase){ours}"
    for keywords, message in (
        ({"ca_file": junk}, f"{junk}: no certificate; check mqtt.ca_file"),
        ({"ca_file": gone}, f"{gone}: cannot be read; check mqtt.ca_file"),
        ({"cert_file": junk}, f"{junk}: no certificate with its key (without a passphrase){ours}"),
        ({"cert_file": certificate, "key_file": other}, unfit.format(other)),
        ({"cert_file": certificate, "key_file": locked}, unfit.format(locked)),
        ({"cert_file": certificate, "key_file": gone}, f"{certificate} or {gone}: cannot be read{ours}"),
    ):
        caplog.clear()
        files = {name: str(file) for name, file in keywords.items()}
        assert error_line(caplog, port, tls=True, **files) == message


# Servers without TLS


def test_broker_without_tls_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = Mosquitto(tmp_path)
    plain.start()
    assert error_line(caplog, plain.port, tls=True) == "TLS failed; does the broker speak TLS on this port?"
    plain.kill()


def test_broker_that_requires_tls_is_reported(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path, authority.sign("broker")) as secure:
        assert error_line(caplog, secure.port) == (
            "hung up without an MQTT answer; is this an MQTT broker, and does it want TLS?"
        )


@pytest.mark.quiet_clock
def test_tls_black_hole_is_given_up_and_does_not_block_publish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def serve(connection: socket.socket) -> None:
        while connection.recv(1024):
            pass

    with server(serve) as port, sink(port, tls=True, connect_timeout_s=0.3) as publishing:
        took = []
        for number in range(1000):
            began = time.monotonic()
            publishing.publish(event(b"%d" % number))
            took.append(time.monotonic() - began)
        assert statistics.median(took) < 0.01
        assert eventually(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: no answer within 0.3 s; check mqtt.host and the network (trying again)"
    ]


# Passwords


def warnings_of(caplog: pytest.LogCaptureFixture, host: str, **keywords: object) -> list[str]:
    """The warnings of start()."""
    known = {"username": "u", "password": "hunter2", "port": free_port(), **keywords}
    publishing = idle_sink(host=host, **known)  # type: ignore[arg-type]
    publishing.start()
    publishing.stop()
    return [text for record in caplog.records if "trying again" not in (text := record.getMessage())]


def test_cleartext_password_over_the_network_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(caplog, "no..such..host", port=1883) == [
        "mqtt no..such..host:1883: the password crosses the network unencrypted; set mqtt.tls = true"
    ]


@pytest.mark.parametrize(
    ("host", "keywords"),
    [
        ("no..such..host", {"tls": True}),
        ("no..such..host", {"password": None}),
        ("localhost", {}),
        ("127.1.2.3", {}),
        ("::1", {}),
    ],
)
def test_no_password_warning_for_tls_or_loopback(
    caplog: pytest.LogCaptureFixture, host: str, keywords: dict[str, object]
) -> None:
    assert warnings_of(caplog, host, **keywords) == []


def test_address_of_another_machine_is_not_local() -> None:
    assert not any(broker(host).local for host in ("192.168.1.2", "fe80::1", "localhost.lan", "0.0.0.0"))


@pytest.mark.parametrize("password", ["hunter2", "a'b\\c d"])
def test_broker_repr_hides_the_password(password: str) -> None:
    shown = repr(replace(broker("192.0.2.1"), password=password))
    assert "192.0.2.1" in shown
    assert password not in shown
    assert repr(password)[1:-1] not in shown
    assert "password" not in shown
