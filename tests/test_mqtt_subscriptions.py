"""Subscriptions, republication and cleared topics of the sink, against a real mosquitto."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edge.mqtt.health import MqttHealth
from edge.types import Incoming, Message
from tests.broker import Mosquitto, broker, eventually, server, subscriber
from tests.sink import CALM, STATUS, event, idle_sink, sink, state

__all__ = ["broker"]  # a fixture

SET = "p/n/hall/enabled/set"
CONFIG = "homeassistant/device/n_hall/config"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_message_on_a_subscribed_topic_reaches_its_handler(broker: Mosquitto, version: str) -> None:
    received: list[Incoming] = []
    with subscriber(broker.port) as client, sink(broker.port, version=version) as listening:
        listening.subscribe(SET, received.append)
        assert eventually(lambda: listening.idle)
        client.publish(SET, b"ON")
        client.publish("p/n/hall/hold/set", b"1")  # not subscribed
        client.publish(SET, b"")
        assert eventually(lambda: len(received) == 2)
        assert received == [Incoming(SET, b"ON", retained=False), Incoming(SET, b"", retained=False)]


def test_retained_messages_are_marked_and_live_ones_are_not(broker: Mosquitto) -> None:
    received: list[Incoming] = []
    retain = Message(SET, b"OFF", qos=1, retain=True)
    with (
        subscriber(broker.port) as client,
        sink(broker.port, client_id="other", status_topic="q/status") as q,
    ):
        q.publish(retain)
        assert eventually(lambda: client.last(SET) == "OFF")
        with sink(broker.port) as listening:
            listening.subscribe(SET, received.append)
            assert eventually(lambda: received == [Incoming(SET, b"OFF", retained=True)])
            q.publish(retain)
            assert eventually(lambda: len(received) == 2)
            assert received[1] == Incoming(SET, b"OFF", retained=False)


def test_subscription_from_another_thread_survives_a_reconnect(broker: Mosquitto) -> None:
    received: list[bytes] = []
    with sink(broker.port) as listening:
        assert eventually(lambda: listening.idle)
        other = threading.Thread(
            target=listening.subscribe, args=(SET, lambda it: received.append(it.payload))
        )
        other.start()
        other.join()
        for reconnects, payload in enumerate((b"before", b"after")):
            assert eventually(lambda known=reconnects: listening.health().reconnects == known)
            assert eventually(lambda: listening.idle)
            with subscriber(broker.port) as client:
                client.publish(SET, payload)
                assert eventually(lambda last=payload: received[-1:] == [last])
            broker.restart()
        assert received == [b"before", b"after"]


def test_unsubscribed_topic_stays_silent_after_a_reconnect(broker: Mosquitto) -> None:
    received: list[Incoming] = []
    with sink(broker.port) as listening:
        listening.subscribe(SET, received.append)
        listening.subscribe("p/n/hall/hold/set", received.append)
        assert eventually(lambda: listening.idle)
        listening.unsubscribe(SET)
        assert eventually(lambda: listening.idle)
        for _ in range(2):
            received.clear()
            with subscriber(broker.port) as client:
                client.publish(SET, b"ON")
                client.publish("p/n/hall/hold/set", b"1")
                assert eventually(lambda: received)
            assert [it.topic for it in received] == ["p/n/hall/hold/set"]
            reconnects = listening.health().reconnects
            broker.restart()
            assert eventually(lambda known=reconnects: listening.health().reconnects > known)
            assert eventually(lambda: listening.idle)


def test_failing_handler_is_logged_once_and_affects_no_other(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[bytes] = []

    def handle(message: Incoming) -> None:
        received.append(message.payload)
        raise ValueError("cannot use it")

    with subscriber(broker.port) as client, sink(broker.port) as listening:
        listening.subscribe(SET, handle)
        assert eventually(lambda: listening.idle)
        for number in range(3):
            client.publish(SET, b"%d" % number)
        assert eventually(lambda: received == [b"0", b"1", b"2"])
        assert listening.health() == MqttHealth()
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{broker.port}: the handler of {SET} failed"
    ]


def test_message_over_64_kib_is_withheld_by_the_broker(broker: Mosquitto) -> None:
    """With MQTT 5 the broker honours our maximum packet size."""
    received: list[int] = []
    with subscriber(broker.port) as client, sink(broker.port) as listening:
        listening.subscribe(SET, lambda it: received.append(len(it.payload)))
        assert eventually(lambda: listening.idle)
        for size in (65_000, 66_000, 1_000_000, 1):
            client.publish(SET, b"x" * size)
        assert eventually(lambda: received[-1:] == [1])
        assert received == [65_000, 1]
        assert listening.health() == MqttHealth()


@pytest.mark.parametrize("retain", [False, True])
def test_huge_message_over_mqtt_3_1_1_takes_little_memory(broker: Mosquitto, retain: bool) -> None:
    """It is acknowledged, too: otherwise the broker would resend it and hold back the others."""
    received: list[int] = []
    with subscriber(broker.port) as client, sink(broker.port, version="3.1.1") as listening:
        client.publish(SET, b"x" * 5_000_000, retain=retain).wait_for_publish(60)
        listening.subscribe(SET, lambda it: received.append(len(it.payload)))
        assert eventually(lambda: listening.idle)
        for size in (66_000, *[5_000_000] * 25, 1):
            client.publish(SET, b"x" * size).wait_for_publish(60)
        assert eventually(lambda: received[-1:] == [1])
        assert len(received) == 27 + retain
        assert 60_000 < max(received) < 2 * 65_536
        assert listening.health() == MqttHealth()


def test_refused_subscription_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Needs a scripted server: mosquitto's ACL grants every subscription and then sends nothing."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x02\x00\x00")  # CONNACK 3.1.1: accepted
        received = bytearray()
        while chunk := connection.recv(4096):
            received.extend(chunk)
            place = received.find(b"\x00\x14" + SET.encode())  # SUBSCRIBE: number, length, topic, QoS
            if place >= 0:
                connection.sendall(b"\x90\x03" + received[place - 2 : place] + b"\x80")  # SUBACK: failure
                received.clear()

    with server(serve) as port, sink(port, version="3.1.1") as listening:
        listening.subscribe(SET, lambda message: None)
        assert eventually(lambda: caplog.records)
        listening.stop(0.1)
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: broker refuses the subscription of {SET} (Unspecified error); "
        "allow it in its access list"
    ]


def test_wire_order_is_status_discovery_state_subscriptions_events() -> None:
    packets = bytearray()

    def serve(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x02\x00\x00")  # CONNACK 3.1.1: accepted
        while chunk := connection.recv(4096):
            packets.extend(chunk)

    with server(serve) as port:
        publishing = idle_sink(port, version="3.1.1")
        publishing.subscribe(SET, lambda message: None)
        publishing.publish(event(b"an event"))
        publishing.publish(state(b"a state"))
        publishing.publish(state(b"{}", topic=CONFIG))
        publishing.start()
        assert eventually(lambda: b"an event" in packets)
        publishing.stop(0.1)
    # In SUBSCRIBE a topic is preceded by its length and followed by its QoS.
    order = [packets.index(part) for part in (
        b"online", CONFIG.encode(), b"a state", STATUS.encode() + b"\x01", SET.encode() + b"\x01", b"an event"
    )]  # fmt: skip
    assert order == sorted(order)


def test_republish_sends_all_retained_messages_again(broker: Mosquitto) -> None:
    with subscriber(broker.port) as client, sink(broker.port) as publishing:
        publishing.publish(state(b"1"))
        publishing.publish(state(b"{}", topic=CONFIG))
        publishing.publish(event(b"once"))
        assert eventually(lambda: len(client.messages) == 4)
        publishing.republish()
        assert eventually(lambda: len(client.messages) == 7)
        assert [(topic, payload) for topic, payload, _ in client.messages[4:]] == [
            (STATUS, "online"),
            (CONFIG, "{}"),
            ("p/n/hall/state", "1"),
        ]


def test_republish_without_a_broker_changes_nothing(tmp_path: Path) -> None:
    late = Mosquitto(tmp_path)
    with sink(late.port, retry_s=CALM) as publishing:
        publishing.publish(state(b"1"))
        publishing.republish()
        late.start()
        with subscriber(late.port) as client:
            assert eventually(lambda: publishing.idle)
            assert eventually(lambda: client.payloads("p/n/hall/state"))
            assert client.payloads("p/n/hall/state") == ["1"]
        late.kill()


def test_forgotten_topic_is_cleared_and_never_republished(broker: Mosquitto) -> None:
    with subscriber(broker.port) as client, sink(broker.port) as publishing:
        publishing.publish(state(b"{}", topic=CONFIG))
        assert eventually(lambda: client.last(CONFIG) == "{}")
        publishing.forget(CONFIG)
        assert eventually(lambda: client.last(CONFIG) == "")
        assert eventually(lambda: publishing.idle)
        publishing.republish()
        assert eventually(lambda: client.payloads(STATUS) == ["online", "online"])
        assert eventually(lambda: publishing.idle)
        assert client.payloads(CONFIG) == ["{}", ""]
        with subscriber(broker.port) as late:
            assert eventually(lambda: late.messages)
            assert late.messages == [(STATUS, "online", True)]


def test_topics_forgotten_during_an_outage_are_cleared_later(tmp_path: Path) -> None:
    store = "allow_anonymous true\npersistence true\nautosave_interval 1\nautosave_on_changes true\n"
    keeping = Mosquitto(tmp_path, f"{store}persistence_location {tmp_path}/\n")
    keeping.start()
    with sink(keeping.port, retry_s=CALM) as publishing:
        publishing.publish(state(b"{}", topic=CONFIG))
        assert eventually(lambda: publishing.idle)
        keeping.freeze()
        publishing.forget(CONFIG)
        keeping.kill()
        keeping.start()
        with subscriber(keeping.port) as client:
            assert eventually(lambda: client.payloads(CONFIG) == ["{}", ""])
        with subscriber(keeping.port, CONFIG) as late, subscriber(keeping.port, STATUS) as status:
            assert eventually(lambda: status.messages)
            assert late.messages == []
    keeping.kill()


def test_topic_published_after_forget_stays(broker: Mosquitto) -> None:
    with subscriber(broker.port) as client, sink(broker.port) as publishing:
        publishing.publish(state(b"1", topic=CONFIG))
        publishing.forget(CONFIG)
        publishing.publish(state(b"2", topic=CONFIG))
        assert eventually(lambda: client.last(CONFIG) == "2")
        assert eventually(lambda: publishing.idle)
        publishing.republish()
        assert eventually(lambda: client.payloads(CONFIG)[-2:] == ["2", "2"])
