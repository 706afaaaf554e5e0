"""The sink against a real mosquitto: order, retained state, and what survives an outage."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.mqtt.connection import Ack, Connection
from edge.mqtt.health import MqttHealth
from edge.types import Incoming, Message
from tests.broker import Mosquitto, broker, eventually, free_port, subscriber
from tests.sink import CALM, STATUS, event, faces, idle_sink, sink, state

__all__ = ["broker"]  # a fixture


# Status, will, order


def test_messages_are_framed_by_online_and_offline(broker: Mosquitto) -> None:
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


def test_killed_daemon_is_offline_by_its_last_will(broker: Mosquitto) -> None:
    program = (
        f"import time; from tests.sink import idle_sink; idle_sink({broker.port}).start(); time.sleep(60)"
    )
    with subscriber(broker.port) as listening:
        daemon = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1])
        try:
            assert eventually(lambda: listening.last(STATUS) == "online")
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


def test_thousand_events_arrive_in_order_with_20_in_flight(broker: Mosquitto) -> None:
    with subscriber(broker.port, "p/n/hall/event") as listening, sink(broker.port) as publishing:
        assert eventually(lambda: publishing.connected)
        for number in range(1000):
            publishing.publish(event(b"%d" % number))
        assert eventually(lambda: len(listening.messages) == 1000)
        assert listening.payloads("p/n/hall/event") == [str(number) for number in range(1000)]
        assert eventually(lambda: publishing.health() == MqttHealth(0, 0, 0))


# Broker outages


def test_broker_down_at_start_gets_all_state_once_up(
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
                assert eventually(lambda: publishing.health() == MqttHealth(0, 0, 0))
        finally:
            publishing.stop()
            mosquitto.kill()


def test_broker_that_lost_its_store_gets_all_state_again(broker: Mosquitto) -> None:
    with sink(broker.port) as publishing:
        publishing.publish(state(b"1"))
        publishing.publish(Message("p/n/health", b"2", retain=True))
        assert eventually(lambda: publishing.connected)
        broker.restart()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: len(listening.messages) >= 3)
            assert [payload for _, payload, _ in sorted(listening.messages)][:3] == ["1", "2", "online"]
        assert publishing.health().reconnects == 1


def test_expired_event_is_dropped_and_counted(broker: Mosquitto) -> None:
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


def test_event_queue_drops_the_oldest_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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


@pytest.mark.quiet_clock
def test_frozen_broker_is_noticed_and_events_are_resent(
    broker: Mosquitto,
) -> None:
    with sink(broker.port, keepalive_s=2, retry_s=CALM) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.freeze()
        frozen = time.monotonic()
        publishing.publish(event(b"unacknowledged"))
        try:
            assert eventually(lambda: not publishing.connected)
            assert time.monotonic() - frozen <= 8.0  # twice the keepalive, and a busy machine
            assert publishing.health().queued == 1
        finally:
            broker.kill()  # anything it had read is lost
        broker.start()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: listening.last("p/n/hall/event") == "unacknowledged")
        assert eventually(lambda: publishing.health().queued == 0)


def test_frozen_broker_queues_only_the_newest_faces(
    broker: Mosquitto,
) -> None:
    with subscriber(broker.port) as listening, sink(broker.port) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.freeze()
        for number in range(30_000):  # 60 MB: more than the socket buffers hold
            publishing.publish(faces(b"%d " % number + bytes(2000).replace(b"\0", b" ")))
        broker.thaw()
        assert eventually(lambda: (listening.last("p/n/hall/faces") or "").split() == ["29999"])
        assert len(listening.payloads("p/n/hall/faces")) < 15_000


@pytest.mark.quiet_clock
def test_stop_returns_quickly_with_a_frozen_broker(broker: Mosquitto) -> None:
    with sink(broker.port) as publishing:
        assert eventually(lambda: publishing.connected)
        broker.freeze()
        began = time.monotonic()
        publishing.stop()
        assert time.monotonic() - began < 3.0
        broker.thaw()
        with subscriber(broker.port) as listening:
            assert eventually(lambda: listening.last(STATUS) == "offline")


@pytest.mark.quiet_clock
def test_stop_is_immediate_without_a_broker() -> None:
    with sink(free_port()) as publishing:
        time.sleep(0.05)
        began = time.monotonic()
        publishing.stop()
        assert time.monotonic() - began < 1.0


def test_publish_after_stop_is_ignored_and_second_stop_is_harmless(broker: Mosquitto) -> None:
    with subscriber(broker.port) as listening:
        with sink(broker.port) as publishing:
            assert eventually(lambda: publishing.connected)
            publishing.stop()
            publishing.publish(state(b"late"))
            publishing.stop()
        assert eventually(lambda: listening.last(STATUS) == "offline")
        assert listening.payloads("p/n/hall/state") == []


# Errors in the sink's thread


@pytest.mark.quiet_clock
def test_error_in_the_sink_thread_is_logged_and_sink_reconnects(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def turn(connection: Connection, timeout_s: float = 0.5) -> list[Ack | Incoming]:
        monkeypatch.undo()
        raise MemoryError("no more")

    with subscriber(broker.port) as listening, sink(broker.port) as publishing:
        publishing.publish(state(b"1"))
        assert eventually(lambda: listening.last("p/n/hall/state") == "1")
        monkeypatch.setattr(Connection, "turn", turn)
        broke = time.monotonic()
        assert eventually(lambda: listening.payloads(STATUS) == ["online", "offline", "online"])
        assert time.monotonic() - broke < 5
        publishing.publish(state(b"2"))
        assert eventually(lambda: listening.last("p/n/hall/state") == "2")
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{broker.port}: failed (MemoryError('no more')) (trying again)"
    ]


def test_varying_outage_reasons_do_not_grow_memory(caplog: pytest.LogCaptureFixture) -> None:
    publishing = idle_sink(1)
    outage = publishing._outage
    for number in range(1000):
        outage.failed(ValueError(f"packet at {number}"))
        outage.failed(ValueError("the same"))
    publishing.stop()
    assert len(outage._logged) == 20
    assert sum("the same" in record.message for record in caplog.records) < 100
