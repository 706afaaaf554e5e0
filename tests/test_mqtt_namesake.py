"""Two daemons with one node id: unit tests, against a real mosquitto, and as two processes."""

from __future__ import annotations

import logging
import re
import socket
import time
from pathlib import Path

import pytest

from edge.mqtt.broker import Broker, BrokerError, HungUpError, TakenOverError
from edge.mqtt.duplicate import Namesake
from edge.types import Incoming, Message
from tests.broker import Mosquitto, broker, eventually, server, subscriber
from tests.fakes import Clock
from tests.process import Process
from tests.sink import STATUS, sink

__all__ = ["broker"]  # a fixture

HUNG_UP = HungUpError("connection lost (hung up)")
SEEN_PUBLISHING = "another daemon runs as node n: it publishes on p/n/{}"


def health(payload: bytes) -> Message:
    return Message("p/n/health", payload, retain=True)


def info(payload: bytes) -> Message:
    return Message("p/n/info", payload, qos=1, retain=True)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


# Unit tests


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def namesake(clock: Clock) -> Namesake:
    return Namesake(Broker("h", client_id="n"), "p/n", clock)


def test_own_and_retained_messages_are_not_a_sign_of_a_duplicate(namesake: Namesake) -> None:
    namesake.said(health(b"mine"))
    namesake.heard(Incoming("p/n/health", b"mine", retained=False))
    namesake.heard(Incoming("p/n/info", b"of an earlier run", retained=True))
    namesake.heard(Incoming("p/n/info", b"", retained=False))  # cleared by another client
    assert not namesake.alarmed


def test_own_late_messages_are_not_a_sign_of_a_duplicate(namesake: Namesake) -> None:
    for number in range(60):
        namesake.said(health(b"%d" % number))
    namesake.heard(Incoming("p/n/health", b"0", retained=False))
    assert not namesake.alarmed


def test_alarm_is_logged_once_and_ends_2_min_after_the_last_sign(
    namesake: Namesake, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(5):
        namesake.heard(Incoming("p/n/health", b"theirs", retained=False))
        clock.now += 30
    clock.now += 89
    namesake.tick()
    assert namesake.alarmed
    clock.now += 2
    namesake.tick()
    assert not namesake.alarmed
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt h:1883: {SEEN_PUBLISHING.format('health')}; give each its own node.id, also on copied cards",
        "mqtt h:1883: no more sign of another daemon as node n",
    ]


def test_session_taken_over_raises_the_alarm(namesake: Namesake, caplog: pytest.LogCaptureFixture) -> None:
    namesake.ended(TakenOverError("connection lost (Session taken over)"))
    assert "it connects with our client id n" in caplog.text
    assert namesake.alarmed
    assert namesake.broker.client_id != "n"


def test_connection_ended_by_the_broker_switches_the_client_id(namesake: Namesake) -> None:
    assert namesake.broker.client_id == "n"
    namesake.ended(HUNG_UP)
    assert re.fullmatch(r"n[0-9a-f]{6}", namesake.broker.client_id)
    assert namesake.broker.host == "h"
    assert not namesake.alarmed
    aside = namesake.broker
    namesake.ended(HUNG_UP)
    assert namesake.broker == aside


@pytest.mark.parametrize(
    "error",
    [
        BrokerError("connection refused"),  # it restarts
        BrokerError("refused the connection (Not authorized)"),  # no other daemon is connected
        OSError("reset"),
    ],
)
def test_other_connection_ends_restore_the_first_client_id(namesake: Namesake, error: Exception) -> None:
    namesake.ended(HUNG_UP)
    namesake.ended(error)
    assert namesake.broker.client_id == "n"


# Against mosquitto


def test_daemon_on_another_machine_is_detected_by_its_messages(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with sink(broker.port, client_id="here") as here:
        here.publish(info(b"here"))
        assert eventually(lambda: here.idle)
        with sink(broker.port, client_id="there") as there:
            there.publish(info(b"there"))
            assert eventually(lambda: here.health().duplicate_id and there.idle)
            here.publish(health(b"of here"))
            assert eventually(lambda: there.health().duplicate_id)
    end = "; give each its own node.id, also on copied cards"
    place = f"mqtt 127.0.0.1:{broker.port}: "
    assert errors(caplog) == [
        f"{place}{SEEN_PUBLISHING.format('info')}{end}",
        f"{place}{SEEN_PUBLISHING.format('health')}{end}",
    ]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_single_daemon_raises_no_alarm(broker: Mosquitto, version: str) -> None:
    with subscriber(broker.port) as listening, sink(broker.port, version=version) as alone:
        alone.publish(info(b"mine"))
        for number in range(20):
            alone.publish(health(b"%d" % number))
            assert eventually(lambda last=str(number): listening.last("p/n/health") == last)
        alone.republish()
        assert eventually(lambda: len(listening.payloads("p/n/info")) == 2)
        broker.restart()
        assert eventually(lambda: alone.health().reconnects == 1)
        time.sleep(0.2)  # for what the broker echoes
        assert not alone.health().duplicate_id


def test_daemons_that_evict_each_other_soon_coexist_with_alarm(
    broker: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with sink(broker.port) as first, sink(broker.port) as second:
        first.publish(info(b"first"))
        second.publish(info(b"second"))
        assert eventually(lambda: errors(caplog))
        assert eventually(lambda: first.idle and second.idle)
        first.publish(health(b"of the first"))
        second.publish(health(b"of the second"))
        assert eventually(lambda: first.health().duplicate_id and second.health().duplicate_id)
        reconnects = first.health().reconnects + second.health().reconnects
        assert reconnects <= 6
        assert not eventually(lambda: not (first.connected and second.connected), 1.0)
        assert first.health().reconnects + second.health().reconnects == reconnects
    assert len(errors(caplog)) == 2


def test_mqtt_5_session_taken_over_is_believed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(b"\x20\x03\x00\x00\x00")  # CONNACK: success
        connection.recv(1024)
        time.sleep(0.2)  # ignore what else it sends
        connection.sendall(b"\xe0\x01\x8e")  # DISCONNECT: session taken over
        while connection.recv(1024):
            pass

    with server(serve) as port, sink(port, retry_s=(60, 60)) as pushed:
        assert eventually(lambda: pushed.health().duplicate_id)
    assert errors(caplog) == [
        f"mqtt 127.0.0.1:{port}: another daemon runs as node n: it connects with our client id n; "
        "give each its own node.id, also on copied cards"
    ]


def test_late_last_will_is_answered_with_online(broker: Mosquitto) -> None:
    with subscriber(broker.port) as client, sink(broker.port) as alive:
        assert eventually(lambda: alive.idle)
        client.publish(STATUS, b"offline")
        assert eventually(lambda: client.payloads(STATUS) == ["online", "offline", "online"])


# As two processes


@pytest.mark.quiet_clock
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_two_processes_with_one_node_id_raise_the_alarm_within_30_s(
    broker: Mosquitto, tmp_path: Path, version: str
) -> None:
    text = (
        f'[node]\nid = "twin"\n[mqtt]\nport = {broker.port}\nversion = "{version}"\n'
        '[[camera]]\nname = "hall"\nsource = "portraits"\nfps = 1\n'
    )
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    twins = [Process(folder, text) for folder in folders]

    def alarms() -> list[str]:
        logs = [(folder / "stderr.txt").read_text() for folder in folders]
        return [line for log in logs for line in log.splitlines() if line.startswith("ERROR")]

    try:
        assert eventually(lambda: all("connected" in twin.log_so_far() for twin in twins))
        begun = time.monotonic()
        assert eventually(alarms)
        print(f"alarm after {time.monotonic() - begun:.1f} s")
        assert time.monotonic() - begun < 30
    finally:
        for twin in twins:
            twin.close()
    assert "another daemon runs as node twin: " in alarms()[0]
