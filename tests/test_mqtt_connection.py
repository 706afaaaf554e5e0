"""Single connections: MQTT versions and misbehaving servers."""

from __future__ import annotations

import asyncio
import logging
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.mqtt.health import MqttHealth
from tests.broker import Mosquitto, broker, eventually, free_port, server, subscriber
from tests.sink import CALM, event, idle_sink, sink, state

__all__ = ["broker"]  # a fixture


def test_broker_that_rejects_mqtt_5_gets_3_1_1() -> None:
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


def test_broker_that_hangs_up_on_mqtt_5_gets_3_1_1() -> None:
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


def test_broker_silent_on_mqtt_5_gets_3_1_1_and_again_after_a_loss() -> None:
    levels = []

    def serve(connection: socket.socket) -> None:
        levels.append(connection.recv(1024)[8])
        if levels[-1] == 5:
            connection.recv(1)  # until the client gives up
        elif len(levels) > 2:
            connection.sendall(b"\x20\x02\x00\x00")
            while connection.recv(1024):
                pass
        else:
            connection.sendall(b"\x20\x02\x00\x00")  # and hang up

    with server(serve) as port, sink(port, connect_timeout_s=2.0) as publishing:
        assert eventually(lambda: len(levels) == 3)
        assert eventually(lambda: publishing.connected)
        publishing.stop(0.1)
    assert levels == [5, 4, 4]


@contextmanager
def amqtt_broker() -> Iterator[int]:
    """Port of a real 3.1.1 broker that waits forever for the rest of an MQTT 5 CONNECT."""
    from amqtt.broker import Broker

    for name in ("amqtt", "transitions"):  # they log every packet and state
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    port, stopping = free_port(), threading.Event()
    anyone = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}

    async def serve() -> None:
        await Broker({"listeners": {"default": listener}, "plugins": anyone}).start()
        await asyncio.to_thread(stopping.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield port
    finally:
        stopping.set()
        thread.join(5)


def test_amqtt_hanging_on_mqtt_5_gets_3_1_1() -> None:
    with amqtt_broker() as port, sink(port, connect_timeout_s=0.5) as publishing:
        publishing.publish(state(b"1"))
        assert eventually(lambda: publishing.idle)
        with subscriber(port) as late:
            assert eventually(lambda: late.last("p/n/hall/state") == "1")


def test_mqtt_5_is_tried_first_after_an_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def serve(connection: socket.socket) -> None:
        if connection.recv(1024)[8] == 4:
            connection.sendall(b"\x20\x02\x00\x00")
            connection.recv(1024)

    with server(serve) as port:
        publishing = idle_sink(port, retry_s=CALM)
        publishing.start()
        assert eventually(lambda: "connected (MQTT 3.1.1)" in caplog.text)
    assert eventually(lambda: "connection refused" in caplog.text)
    newer = Mosquitto(tmp_path, port=port)
    newer.start()
    assert eventually(lambda: "connected again (MQTT 5)" in caplog.text)
    publishing.stop()
    newer.kill()


def test_mqtt_5_sends_packet_limit_and_event_expiry() -> None:
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


@pytest.mark.quiet_clock
def test_unresponsive_server_is_given_up_and_does_not_block_publish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    visits = []

    def serve(connection: socket.socket) -> None:
        visits.append(time.monotonic())
        while connection.recv(1024):
            pass

    with server(serve) as port, sink(port, connect_timeout_s=0.3) as publishing:
        took = []
        for number in range(1000):
            began = time.monotonic()
            publishing.publish(event(b"%d" % number))
            took.append(time.monotonic() - began)
        assert statistics.median(took) < 0.01
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
def test_server_with_invalid_answer_is_not_a_broker(answer: bytes) -> None:
    visits = []

    def serve(connection: socket.socket) -> None:
        visits.append(connection.recv(1024))
        connection.sendall(answer)
        time.sleep(0.05)

    with server(serve) as port, sink(port, connect_timeout_s=0.3) as publishing:
        assert eventually(lambda: len(visits) >= 4)
        assert not publishing.connected


def test_wrong_password_is_reported_once_and_recovery_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    strict = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    strict.start()
    with sink(strict.port, username="cam", password="wrong") as publishing:
        assert eventually(lambda: "refused" in caplog.text)
        time.sleep(0.7)  # several more attempts
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


def test_username_and_password_are_sent_to_the_broker(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "cam", "right"], check=True)
    strict = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    strict.start()
    with sink(strict.port, username="cam", password="right") as publishing:
        assert eventually(lambda: publishing.connected)
    strict.kill()


def test_refused_topic_is_reported_once_and_events_counted(
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


def test_unknown_host_is_reported_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    publishing = idle_sink(1883, "no..such..host")
    publishing.start()
    assert eventually(lambda: caplog.records)
    publishing.stop()
    assert [record.getMessage() for record in caplog.records] == [
        "mqtt no..such..host:1883: host name not found; check mqtt.host and the network (trying again)"
    ]


def test_disconnect_reason_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK: success
        connection.recv(1024)
        time.sleep(0.2)  # ignore what else it sends
        connection.sendall(b"\xe0\x01\x8b")  # DISCONNECT: going down
        while connection.recv(1024):
            pass

    with server(serve) as port, sink(port, retry_s=(60, 60)):
        assert eventually(lambda: caplog.records)
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: connection lost (Server shutting down) (trying again)"
    ]


def test_invalid_topic_is_reported_and_the_rest_sent(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with subscriber(broker.port) as listening, sink(broker.port) as publishing:
        publishing.publish(state(b"1", topic="p/n/#"))
        publishing.publish(state(b"2"))
        assert eventually(lambda: listening.last("p/n/hall/state") == "2")
        assert "p/n/# not sent" in caplog.text
