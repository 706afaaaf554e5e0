"""Brokers with limits, announced or not, and the messages skipped there."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

import pytest

from edge.mqtt.limits import LimitsHealth
from edge.mqtt.terms import Terms, packet_bytes
from edge.types import Message
from tests.broker import Mosquitto, Subscriber, eventually, server, subscriber
from tests.sink import STATUS, event, idle_sink, sink, state

Serve = Callable[[socket.socket], None]


BIG = "homeassistant/device/n/hall/config"


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, "\n".join(("allow_anonymous true", *lines)))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def output(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if part in record.getMessage()]


@pytest.mark.parametrize(("limit", "size"), [(2048, 3700), (500, 495), (20_000, 30_000)])
def test_messages_over_the_packet_limit_are_skipped_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int, size: int
) -> None:
    with (
        mosquitto(tmp_path, f"max_packet_size {limit}") as broker,
        subscriber(broker.port) as client,
        sink(broker.port) as publishing,
    ):
        for _ in range(3):
            publishing.publish(state(b"x" * size, topic=BIG))
        publishing.publish(event(b"e" * size))
        publishing.publish(Message("p/n/hall/log", b"l" * size, qos=1, durable=True))
        publishing.publish(state(b"small"))
        assert eventually(lambda: client.last("p/n/hall/state") == "small")
        assert eventually(lambda: publishing.idle and publishing.health().outbox.depth == 0)
        health = publishing.health()
        assert health.limits == LimitsHealth(limit, True, 1, 3, (BIG, "p/n/hall/event", "p/n/hall/log"))
        assert (health.reconnects, health.dropped, health.outbox.dropped) == (0, 1, 1)
        assert not publishing.fits(state(b"x" * size, topic=BIG))
        publishing.publish(state(b"less", topic=BIG))
        assert eventually(lambda: client.last(BIG) == "less")
        assert len(output(caplog, f"{BIG} left out")) == 1
        publishing.forget("p/n/hall/event")


@pytest.mark.parametrize("limit", [200, 1000])
def test_packet_limit_is_used_fully_and_not_exceeded(tmp_path: Path, limit: int) -> None:
    fits = Message("p/n/hall/state", b"", qos=1, retain=True)
    room = limit - packet_bytes(fits, five=True, expires=False)
    while packet_bytes(state(b"x" * room), five=True, expires=False) > limit:
        room -= 1
    with (
        mosquitto(tmp_path, f"max_packet_size {limit}") as broker,
        subscriber(broker.port) as client,
        sink(broker.port, version="5") as publishing,
    ):
        publishing.publish(state(b"y" * (room + 1)))
        assert eventually(lambda: publishing.health().limits)
        publishing.publish(state(b"x" * room))
        assert eventually(lambda: client.last("p/n/hall/state") == "x" * room)
        assert (publishing.health().reconnects, publishing.health().limits) == (0, None)


@pytest.mark.parametrize("size", [2500, 9000])
def test_silent_size_limit_of_a_3_1_1_broker_is_detected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    caplog.set_level(logging.INFO)
    with (
        mosquitto(tmp_path, "max_packet_size 2048") as broker,
        subscriber(broker.port) as client,
        sink(broker.port, version="3.1.1") as publishing,
    ):
        publishing.subscribe("p/n/hall/set", lambda message: None)
        publishing.publish(state(b"x" * size, topic=BIG))
        for number in range(8):
            publishing.publish(state(b"%d" % number, topic=f"p/n/{number}/state"))
        assert eventually(lambda: all(client.last(f"p/n/{n}/state") == str(n) for n in range(8)))
        assert eventually(lambda: publishing.idle and publishing.connected)
        assert publishing.health().limits == LimitsHealth(None, True, 1, 1, (BIG,))
        reconnects = publishing.health().reconnects
        publishing.publish(event(b"on"))
        assert eventually(lambda: client.last("p/n/hall/event") == "on")
        assert publishing.health().reconnects == reconnects <= 5
    assert len(output(caplog, f"{BIG} left out from now on")) == 1
    assert output(caplog, "another") == []


@pytest.mark.parametrize(
    ("lines", "terms"),
    [(["retain_available false"], Terms(retain=False)), (["max_qos 0"], Terms(qos=0)),
     (["max_qos 0", "retain_available false"], Terms(retain=False, qos=0))],
    ids=["retain", "qos", "both"],
)  # fmt: skip
def test_3_1_1_broker_without_retain_or_qos_is_served_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lines: list[str], terms: Terms
) -> None:
    with (
        mosquitto(tmp_path, *lines) as broker,
        subscriber(broker.port) as client,
        sink(broker.port, version="3.1.1") as publishing,
    ):
        publishing.publish(state(b"early"))
        assert eventually(lambda: publishing.health().limits == LimitsHealth(*astuple(terms), 0, ()), 30)
        assert eventually(lambda: client.last("p/n/hall/state") == "early", 30)
        assert eventually(lambda: output(caplog, "allow "), 30)
        reconnects = publishing.health().reconnects
        publishing.publish(event(b"on"))
        assert eventually(lambda: client.last("p/n/hall/event") == "on")
        assert publishing.health().reconnects == reconnects
        assert publishing.health().limits == LimitsHealth(*astuple(terms), 0, ())
    assert len(output(caplog, "allow retained messages there")) == (not terms.retain)
    assert len(output(caplog, "allow QoS 1 there")) == (not terms.qos)


# A scripted broker that objects to one topic.

REACTIONS = {
    "disconnect 0x95": b"\xe0\x02\x95\x00",
    "disconnect 0x87": b"\xe0\x02\x87\x00",
    "silence": b"",
    "puback 0x95": None,
}


def packets(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    with connection.makefile("rb") as stream:
        while head := stream.read(1):
            length, shift = 0, 0
            while True:
                byte = stream.read(1)[0]
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            yield head[0], stream.read(length)


def picky_broker(kind: str, topic: str, client: list[str]) -> Serve:
    def serve(connection: socket.socket) -> None:
        for head, body in packets(connection):
            if head == 0x10:
                connection.sendall(b"\x20\x03\x00\x00\x00" if body[6] == 5 else b"\x20\x02\x00\x00")
                five = body[6] == 5
            elif head >> 4 == 8:
                connection.sendall(
                    (b"\x90\x04" + body[:2] + b"\x00\x01") if five else b"\x90\x03" + body[:2] + b"\x01"
                )
            elif head >> 4 == 12:
                connection.sendall(b"\xd0\x00")
            elif head >> 4 == 3:
                size = int.from_bytes(body[:2], "big")
                name, number = body[2 : 2 + size].decode(), body[2 + size : 4 + size]
                if name == topic:
                    if REACTIONS[kind] is None:
                        connection.sendall(b"\x40\x03" + number + b"\x95")
                    else:
                        connection.sendall(REACTIONS[kind] or b"")
                    return
                client.append(name)
                if head & 6:
                    connection.sendall(b"\x40\x02" + number)

    return serve


@pytest.mark.parametrize("topic", [BIG, "p/n/hall/state", "p/n/health"])
@pytest.mark.parametrize("kind", REACTIONS)
def test_message_that_ends_the_connection_is_no_longer_sent(
    caplog: pytest.LogCaptureFixture, kind: str, topic: str
) -> None:
    client: list[str] = []
    others = {f"p/n/{number}/state" for number in range(8)}
    with server(picky_broker(kind, topic, client)) as port, sink(port) as publishing:
        for name in sorted(others)[:4]:
            publishing.publish(state(b"1", topic=name))
        publishing.publish(Message(topic, b"x" * 900, qos=0 if "health" in topic else 1, retain=True))
        for name in sorted(others)[4:]:
            publishing.publish(state(b"1", topic=name))
        assert eventually(lambda: others <= set(client))
        assert eventually(lambda: publishing.idle)
        limits = publishing.health().limits
        assert limits is not None
        assert limits.topics == (topic,)
        reconnects = publishing.health().reconnects
        publishing.publish(state(b"2", topic="p/n/last/state"))
        assert eventually(lambda: "p/n/last/state" in client)
        assert publishing.health().reconnects == reconnects
        publishing.stop(0.1)
    assert output(caplog, "another") == []


def test_broker_without_retain_gets_everything_unretained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with mosquitto(tmp_path, "retain_available false") as broker, subscriber(broker.port) as client:
        with sink(broker.port) as publishing:
            publishing.publish(state(b"1"))
            publishing.publish(event(b"2"))
            assert eventually(lambda: publishing.idle)
            assert publishing.health().limits == LimitsHealth(None, False, 1, 0, ())
            wanted = {STATUS: "online", "p/n/hall/state": "1", "p/n/hall/event": "2"}
            assert eventually(lambda: {topic: client.last(topic) for topic in wanted} == wanted)
            publishing.republish()
            assert eventually(lambda: client.payloads("p/n/hall/state") == ["1", "1"])
        assert eventually(lambda: client.last(STATUS) == "offline")
    assert len(output(caplog, "retains nothing")) == 1
    assert output(caplog, "refused") == []


@pytest.mark.parametrize("more", ["", "\nretain_available false"])
def test_qos_0_broker_gets_everything_at_qos_0(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, more: str
) -> None:
    with (
        mosquitto(tmp_path, f"max_qos 0{more}") as broker,
        subscriber(broker.port) as client,
        sink(broker.port) as publishing,
    ):
        reported: list[bytes] = []
        publishing.subscribe("p/n/hall/set", lambda message: reported.append(message.payload))
        publishing.publish(state(b"1"))
        for number in range(50):
            publishing.publish(event(b"%d" % number))
            publishing.publish(Message("p/n/hall/log", b"%d" % number, qos=1, durable=True))
        every = [str(number) for number in range(50)]
        assert eventually(lambda: client.payloads("p/n/hall/log") == every)
        assert client.payloads("p/n/hall/event") == every
        assert eventually(lambda: publishing.idle and publishing.health().outbox.depth == 0)
        health = publishing.health()
        assert (health.queued, health.dropped, health.outbox.dropped) == (0, 0, 0)
        assert health.limits == LimitsHealth(None, not more, 0, 0, ())
        check_commands(client, reported)
    assert len(output(caplog, "QoS 0 only")) == 1


def check_commands(client: Subscriber, reported: list[bytes]) -> None:
    client.publish_qos_0("p/n/hall/set", b"ON")
    assert eventually(lambda: reported == [b"ON"])


@pytest.mark.parametrize("limit", [1000, 450])
def test_unreported_limit_is_learned_in_few_connections(tmp_path: Path, limit: int) -> None:
    with (
        mosquitto(tmp_path, f"max_packet_size {limit}") as broker,
        subscriber(broker.port) as client,
        sink(broker.port, version="3.1.1") as publishing,
    ):
        sizes = [50, 3700, 300, 1100, 1200, 60, 1000, 400]
        for number, size in enumerate(sizes):
            publishing.publish(state(b"x" * size, topic=f"p/n/{number}/state"))
        small = [f"p/n/{number}/state" for number, size in enumerate(sizes) if size < 420]
        assert eventually(lambda: all(client.payloads(topic) for topic in small) and publishing.idle)
        health = publishing.health()
        assert health.limits is not None
        assert health.limits.left_out == 4
        assert health.reconnects <= 1 + 2 * 4


@pytest.mark.parametrize(
    ("payload", "topic"), [(0, 1), (100, 20), (126, 1), (200, 30), (20_000, 60), (3_000_000, 5)]
)
@pytest.mark.parametrize("five", [False, True])
@pytest.mark.parametrize("age", [None, 5.0])
def test_packet_size_is_as_computed(payload: int, topic: int, five: bool, age: float | None) -> None:
    lengths: list[int] = []

    def serve(connection: socket.socket) -> None:
        for head, body in packets(connection):
            if head == 0x10:
                connection.sendall(b"\x20\x03\x00\x00\x00" if five else b"\x20\x02\x00\x00")
            elif head >> 4 == 3 and body[2:3] == b"t":
                lengths.append(
                    1 + 1 + (len(body) > 127) + (len(body) > 16_383) + (len(body) > 2_097_151) + len(body)
                )

    message = Message("t" * topic, b"x" * payload, qos=1, max_age_s=age)
    with server(serve) as port:
        publishing = idle_sink(port, version="5" if five else "3.1.1")
        publishing.start()
        publishing.publish(message)
        assert eventually(lambda: lengths)
        publishing.stop(0.01)
    assert lengths == [packet_bytes(message, five=five, expires=age is not None and five)]
