"""The sink against a real mosquitto, and against servers that behave as brokers do on a bad day."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.mqtt.client import MqttSink
from edge.mqtt.messages import MqttHealth
from edge.types import Message
from tests.broker import Mosquitto, broker, eventually, free_port, subscriber

__all__ = ["broker"]  # a fixture

STATUS = "p/n/status"
ONCE = (0.1, 0.2)  # retry_s: tests do not wait for seconds
CALM = (1.5, 1.5)  # retry_s with time to start a broker and a subscriber between two attempts


@contextmanager
def sink(port: int, **keywords: object) -> Iterator[MqttSink]:
    plain = {"status_topic": STATUS, "client_id": "n", "retry_s": ONCE}
    publishing = MqttSink("127.0.0.1", port=port, **{**plain, **keywords})  # type: ignore[arg-type]
    publishing.start()
    try:
        yield publishing
    finally:
        publishing.stop()


def state(payload: bytes, topic: str = "p/n/hall/state") -> Message:
    return Message(topic, payload, qos=1, retain=True)


def event(payload: bytes, max_age_s: float = 10.0) -> Message:
    return Message("p/n/hall/event", payload, qos=1, max_age_s=max_age_s)


def faces(payload: bytes) -> Message:
    return Message("p/n/hall/faces", payload)


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on a free port that hands each connection to *serve* in a thread; its port."""
    threads = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=handle, args=(connection,), daemon=True)
            thread.start()
            threads.append(thread)

    def handle(connection: socket.socket) -> None:
        with connection:
            serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(5)
    for thread in threads:
        thread.join(5)


# Status, will, order


def test_status_is_online_then_what_was_published_then_offline_on_a_clean_stop(broker: Mosquitto) -> None:
    with subscriber(broker.port) as listening:
        with sink(broker.port) as publishing:
            publishing.publish(state(b"1"))
            publishing.publish(event(b"2"))
            assert eventually(lambda: len(listening.messages) == 3)
            publishing.publish(event(b"3"))
        assert eventually(lambda: len(listening.messages) == 5)
        assert [(topic, payload) for topic, payload, _ in listening.messages] == [
            (STATUS, "online"),
            ("p/n/hall/state", "1"),
            ("p/n/hall/event", "2"),
            ("p/n/hall/event", "3"),
            (STATUS, "offline"),
        ]


def test_a_killed_daemon_is_offline_by_its_last_will(broker: Mosquitto) -> None:
    program = (
        "import time; from edge.mqtt.client import MqttSink; "
        f"MqttSink('127.0.0.1', port={broker.port}, status_topic={STATUS!r}, client_id='n').start(); "
        "time.sleep(60)"
    )
    with subscriber(broker.port) as listening:
        daemon = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
        try:
            assert eventually(lambda: listening.last(STATUS) == "online", 10)
        finally:
            daemon.kill()
            daemon.wait()
        assert eventually(lambda: listening.last(STATUS) == "offline")
    with subscriber(broker.port) as late:
        assert eventually(lambda: (STATUS, "offline", True) in late.messages)


def test_state_is_retained_and_events_are_not(broker: Mosquitto) -> None:
    with subscriber(broker.port) as live, sink(broker.port) as publishing:
        publishing.publish(state(b"1"))
        publishing.publish(event(b"2"))
        assert eventually(lambda: live.last("p/n/hall/event") == "2")
        with subscriber(broker.port) as late:
            assert eventually(lambda: len(late.messages) == 2)
            time.sleep(0.1)
            assert sorted(late.messages) == [("p/n/hall/state", "1", True), (STATUS, "online", True)]


def test_a_thousand_events_arrive_in_order_though_only_20_are_in_flight(broker: Mosquitto) -> None:
    with subscriber(broker.port, "p/n/hall/event") as listening, sink(broker.port) as publishing:
        assert eventually(lambda: publishing.connected)
        for number in range(1000):
            publishing.publish(event(b"%d" % number))
        assert eventually(lambda: len(listening.messages) == 1000, 10)
        assert listening.payloads("p/n/hall/event") == [str(number) for number in range(1000)]
        assert eventually(lambda: publishing.health() == MqttHealth(0, 0, 0))


# The broker goes away


def test_a_broker_that_is_down_at_start_gets_all_state_once_it_is_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mosquitto = Mosquitto(tmp_path)
    with sink(mosquitto.port, retry_s=CALM) as publishing:
        publishing.publish(state(b"old"))
        publishing.publish(state(b"new"))
        publishing.publish(faces(b"lost"))
        publishing.publish(event(b"young"))
        assert eventually(lambda: "connection refused" in caplog.text)
        assert not publishing.connected
        mosquitto.start()
        try:
            with subscriber(mosquitto.port) as listening:
                assert eventually(lambda: listening.last(STATUS) == "online")
                assert eventually(lambda: listening.last("p/n/hall/event") == "young")
                assert listening.payloads("p/n/hall/state") == ["new"]
                assert listening.payloads("p/n/hall/faces") == []
                assert publishing.health() == MqttHealth(reconnects=0, queued=0, dropped=0)
        finally:
            publishing.stop()
            mosquitto.kill()


def test_a_broker_that_lost_its_store_is_told_all_retained_state_again(broker: Mosquitto) -> None:
    with sink(broker.port) as publishing:
        publishing.publish(state(b"1"))
        publishing.publish(Message("p/n/health", b"2", retain=True))
        assert eventually(lambda: publishing.connected)
        broker.restart()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: len(listening.messages) >= 3)
            assert [payload for _, payload, _ in sorted(listening.messages)][:3] == ["1", "2", "online"]
        assert publishing.health().reconnects == 1


def test_an_event_older_than_its_age_is_never_sent_and_counted(broker: Mosquitto) -> None:
    with sink(broker.port, retry_s=CALM) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.kill()
        assert eventually(lambda: not publishing.connected)
        publishing.publish(event(b"short", max_age_s=0.1))
        publishing.publish(event(b"long"))
        broker.start()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: listening.last("p/n/hall/event") == "long")
            assert listening.payloads("p/n/hall/event") == ["long"]
        assert eventually(lambda: publishing.health() == MqttHealth(reconnects=1, queued=0, dropped=1))


def test_the_oldest_of_too_many_events_are_dropped_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mosquitto = Mosquitto(tmp_path)
    with sink(mosquitto.port, queue=3, retry_s=CALM) as publishing:
        assert eventually(lambda: "connection refused" in caplog.text)
        for number in range(5):
            publishing.publish(event(b"%d" % number))
        assert publishing.health() == MqttHealth(reconnects=0, queued=3, dropped=2)
        mosquitto.start()
        with subscriber(mosquitto.port, "p/n/hall/event") as listening:
            assert eventually(lambda: len(listening.messages) == 3)
            assert listening.payloads("p/n/hall/event") == ["2", "3", "4"]
        publishing.stop()
    mosquitto.kill()


def test_a_frozen_broker_is_noticed_within_twice_the_keepalive_and_events_are_sent_again(
    broker: Mosquitto,
) -> None:
    with sink(broker.port, keepalive_s=2, retry_s=CALM) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.freeze()
        frozen = time.monotonic()
        publishing.publish(event(b"unacknowledged"))
        try:
            assert eventually(lambda: not publishing.connected, 6)
            assert time.monotonic() - frozen <= 4.0
            assert publishing.health().queued == 1
        finally:
            broker.kill()  # what it had read is gone with it
        broker.start()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: listening.last("p/n/hall/event") == "unacknowledged")
        assert eventually(lambda: publishing.health().queued == 0)


def test_while_a_broker_is_frozen_only_the_newest_faces_wait_and_memory_does_not_grow(
    broker: Mosquitto,
) -> None:
    with subscriber(broker.port) as listening, sink(broker.port) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.freeze()
        for number in range(30_000):  # 60 MB: more than the sockets take
            publishing.publish(faces(b"%d " % number + bytes(2000).replace(b"\0", b" ")))
        broker.thaw()
        assert eventually(lambda: (listening.last("p/n/hall/faces") or "").split() == ["29999"], 10)
        assert len(listening.payloads("p/n/hall/faces")) < 15_000


def test_stop_takes_less_than_a_second_and_a_half_though_the_broker_is_frozen(broker: Mosquitto) -> None:
    with sink(broker.port) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.freeze()
        began = time.monotonic()
        publishing.stop()
        assert time.monotonic() - began < 1.5
        broker.thaw()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: listening.last(STATUS) == "offline")


def test_stop_is_immediate_while_there_is_no_broker() -> None:
    with sink(free_port()) as publishing:
        time.sleep(0.05)
        began = time.monotonic()
        publishing.stop()
        assert time.monotonic() - began < 0.2


def test_a_message_after_stop_is_forgotten_and_a_second_stop_is_harmless(broker: Mosquitto) -> None:
    with subscriber(broker.port) as listening:
        with sink(broker.port) as publishing:
            assert eventually(lambda: publishing.connected)
            publishing.stop()
            publishing.publish(state(b"late"))
            publishing.stop()
        assert eventually(lambda: listening.last(STATUS) == "offline")
        assert listening.payloads("p/n/hall/state") == []


# Brokers that refuse


def test_a_broker_of_mqtt_3_1_1_alone_is_spoken_to_in_3_1_1() -> None:
    levels = []

    def serve(connection: socket.socket) -> None:
        level = connection.recv(1024)[8]
        levels.append(level)
        if level == 5:
            connection.sendall(b"\x20\x02\x00\x01")  # CONNACK: unacceptable protocol version
        else:
            connection.sendall(b"\x20\x02\x00\x00")
            while connection.recv(1024):
                pass

    with server(serve) as port, sink(port) as publishing:
        assert eventually(lambda: publishing.connected)
        publishing.stop(0.1)
    assert levels == [5, 4]


def test_a_broker_that_hangs_up_on_mqtt_5_is_spoken_to_in_3_1_1() -> None:
    levels = []

    def serve(connection: socket.socket) -> None:
        levels.append(connection.recv(1024)[8])
        if levels[-1] == 4:
            connection.sendall(b"\x20\x02\x00\x00")
            while connection.recv(1024):
                pass

    with server(serve) as port, sink(port) as publishing:
        assert eventually(lambda: publishing.connected)
        publishing.stop(0.1)
    assert levels == [5, 4]


def test_mqtt_5_is_spoken_with_a_bound_on_packets_and_an_expiry_on_events() -> None:
    received = bytearray()

    def serve(connection: socket.socket) -> None:
        received.extend(connection.recv(1024))
        connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK: success, no properties
        while packet := connection.recv(1024):
            received.extend(packet)

    with server(serve) as port, sink(port) as publishing:
        publishing.publish(event(b"2"))
        assert eventually(lambda: received.endswith(b"2"))
        publishing.stop(0.1)
    connect = received[: received[1] + 2]
    assert connect[8] == 5
    assert connect[9] & 0x02  # clean start
    assert b"\x27\x00\x01\x00\x00" in connect  # maximum packet size 65536
    assert b"\x05\x02\x00\x00\x00\x0a2" in received  # message expiry interval 10 s, then the payload


def test_a_server_that_never_answers_is_given_up_and_publish_does_not_wait_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visits = []

    def serve(connection: socket.socket) -> None:
        visits.append(time.monotonic())
        while connection.recv(1024):
            pass

    with server(serve) as port, sink(port, connect_timeout_s=0.3) as publishing:
        began = time.monotonic()
        for number in range(1000):
            publishing.publish(event(b"%d" % number))
        assert time.monotonic() - began < 0.2
        assert eventually(lambda: len(visits) >= 3)
        assert not publishing.connected
        publishing.stop()
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: accepts connections but sent no MQTT answer within 0.3 s; "
        "is this an MQTT broker, and is it alive? (trying again)"
    ]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x01\x00", b"\x20\x03\x00\x00\x07"]
)
def test_a_server_that_answers_nonsense_is_no_broker_and_harms_nobody(answer: bytes) -> None:
    visits = []

    def serve(connection: socket.socket) -> None:
        visits.append(connection.recv(1024))
        connection.sendall(answer)
        time.sleep(0.05)

    with server(serve) as port, sink(port, connect_timeout_s=0.3) as publishing:
        assert eventually(lambda: len(visits) >= 4)
        assert not publishing.connected


def test_a_wrong_password_is_told_once_and_its_end_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    strict = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    strict.start()
    with sink(strict.port, username="cam", password="wrong") as publishing:
        time.sleep(0.7)  # several attempts
        assert not publishing.connected
        strict.kill()
        passwords.unlink()
        open_again = Mosquitto(tmp_path, port=strict.port)
        open_again.start()
        assert eventually(lambda: publishing.connected)
        publishing.stop()
    open_again.kill()
    place = f"mqtt 127.0.0.1:{strict.port}"
    assert [
        record.getMessage() for record in caplog.records if "connection refused" not in record.message
    ] == [
        f"{place}: refused the connection (Not authorized); "
        "check mqtt.username, its password and the broker's access list (trying again)",
        f"{place}: connected again (MQTT 5)",
    ]
    assert "wrong" not in caplog.text


def test_a_user_name_and_password_are_given_to_the_broker(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    strict = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    strict.start()
    with sink(strict.port, username="cam", password="right") as publishing:
        assert eventually(lambda: publishing.connected)
    strict.kill()


def test_a_topic_that_the_broker_refuses_is_told_once_and_the_event_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write p/n/status\n")
    strict = Mosquitto(tmp_path, f"allow_anonymous true\nacl_file {rules}")
    strict.start()
    with sink(strict.port) as publishing:
        publishing.publish(event(b"1"))
        publishing.publish(event(b"2"))
        assert eventually(lambda: publishing.health() == MqttHealth(0, 0, 2))
        publishing.stop()
    strict.kill()
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{strict.port}: broker refuses p/n/hall/event (Not authorized); "
        "allow it in its access list"
    ]


def test_an_unknown_host_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    publishing = MqttSink("no..such..host", status_topic=STATUS, client_id="n", retry_s=ONCE)
    publishing.start()
    assert eventually(lambda: caplog.records)
    publishing.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "mqtt no..such..host:1883: host name not found; check mqtt.host and the network (trying again)"
    ]


def test_two_daemons_of_one_name_are_hinted_at(broker: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with sink(broker.port, retry_s=(60, 60)) as first:
        assert eventually(lambda: first.connected)
        with sink(broker.port, retry_s=(60, 60)):
            assert eventually(lambda: not first.connected)
            assert eventually(lambda: "look for another daemon with the same node.id" in caplog.text)


def test_a_broker_that_tells_why_it_hangs_up_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x03\x00\x00\x00" + b"\xe0\x01\x8e")  # CONNACK; DISCONNECT: taken over
        connection.recv(1024)

    with server(serve) as port, sink(port, retry_s=(60, 60)):
        assert eventually(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: connection lost (Session taken over); "
        "another daemon has the same node.id; give each its own (trying again)"
    ]


def test_a_topic_that_mqtt_does_not_allow_is_told_and_the_rest_goes_on(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with subscriber(broker.port) as listening, sink(broker.port) as publishing:
        publishing.publish(state(b"1", topic="p/n/#"))
        publishing.publish(state(b"2"))
        assert eventually(lambda: listening.last("p/n/hall/state") == "2")
        assert "p/n/# not sent" in caplog.text


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out cert.pem "
        "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1",
        shell=True,
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem"


def test_tls_with_a_ca_file(tmp_path: Path, certificate: Path) -> None:
    keys = f"certfile {certificate}\nkeyfile {certificate.with_name('key.pem')}"
    secure = Mosquitto(tmp_path, f"allow_anonymous true\n{keys}")
    secure.start()
    with sink(secure.port, tls=True, ca_file=str(certificate)) as publishing:
        for number in range(100):
            publishing.publish(event(b"%d" % number))
        assert eventually(lambda: publishing.connected)
        assert eventually(lambda: publishing.health() == MqttHealth(0, 0, 0))
    secure.kill()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # paho leaves closing a failed handshake to Python
def test_a_certificate_of_nobody_we_know_is_not_accepted(
    tmp_path: Path, certificate: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = f"certfile {certificate}\nkeyfile {certificate.with_name('key.pem')}"
    secure = Mosquitto(tmp_path, f"allow_anonymous true\n{keys}")
    secure.start()
    with sink(secure.port, tls=True) as publishing:
        assert eventually(lambda: caplog.records)
        assert not publishing.connected
        publishing.stop()
    secure.kill()
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{secure.port}: certificate not accepted (self-signed certificate); "
        "check mqtt.ca_file and the host name (trying again)"
    ]
