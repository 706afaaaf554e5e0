"""docs/examples/bridge.conf between two real mosquittos."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from edge.contract import messages
from edge.contract.messages import Topics
from edge.node.announce import Announcer, EventIds
from edge.types import Event
from tests.broker import Mosquitto, Subscriber, eventually, free_port, subscriber
from tests.fakes import frame
from tests.proxy import Proxy
from tests.sink import sink

EXAMPLE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "bridge.conf"
TOPICS = Topics("emotion-edge", "pi")
HALL = "emotion-edge/pi/hall"
NOON = 1772366400.0


class Brokers(NamedTuple):
    house: Mosquitto
    centre: Mosquitto


def make_brokers(folder: Path, *, commands: bool = False, way: int | None = None) -> Brokers:
    """Two brokers, not started; the first bridges to the second, or to port *way*, as in the example."""
    port = free_port()
    text = EXAMPLE.read_text().replace("central.example.org:1883", f"127.0.0.1:{way or port}")
    lines = text.splitlines()
    if commands:
        lines = [line.removeprefix("#") if line.startswith("#topic") else line for line in lines]
    # By default mosquitto retries after 5 to 30 s.
    lines.insert(lines.index("connection central") + 1, "restart_timeout 1")
    centre = Mosquitto(folder, port=port)
    return Brokers(Mosquitto(folder, "\n".join(["allow_anonymous true", *lines])), centre)


@pytest.fixture
def one_way(tmp_path: Path) -> Iterator[Brokers]:
    yield from run_brokers(make_brokers(tmp_path))


@pytest.fixture
def both_ways(tmp_path: Path) -> Iterator[Brokers]:
    yield from run_brokers(make_brokers(tmp_path, commands=True))


def run_brokers(brokers: Brokers) -> Iterator[Brokers]:
    brokers.centre.start()
    brokers.house.start()
    yield brokers
    brokers.house.kill()
    brokers.centre.kill()


def bridge_settled(at_home: Subscriber, at_centre: Subscriber) -> bool:
    """Wait until everything published at home has reached the centre; the bridge keeps order."""
    mark = f"mark {time.monotonic()}"
    at_home.publish(f"{HALL}/log", mark.encode())
    return eventually(lambda: all(mark in it.payloads(f"{HALL}/log") for it in (at_home, at_centre)))


def counts(client: Subscriber) -> dict[str, int]:
    """Number of messages per topic, without the marks."""
    reported = [topic for topic, payload, _ in list(client.messages) if not payload.startswith("mark")]
    return dict(Counter(reported))


def test_published_messages_cross_the_bridge_once_and_commands_do_not(one_way: Brokers) -> None:
    with subscriber(one_way.house.port) as at_home, subscriber(one_way.centre.port) as at_centre:
        assert bridge_settled(at_home, at_centre)
        with sink(one_way.house.port, status_topic=TOPICS.of("status"), client_id="pi") as node:
            assert eventually(lambda: node.connected)
            announcer = Announcer("hall", TOPICS, 2.0, EventIds(), started=0.0)
            change = Event("face_appeared", "hall", 1, "none", "happy", 0.8, time.time())
            reported = [
                *announcer.frame(frame(1.0), [], [change]),
                messages.camera_status(TOPICS, "hall", "online"),
                messages.health(TOPICS, messages.Health(1, 1), NOON),
                messages.switch(TOPICS, "hall", "enabled", "ON"),
            ]
            for message in reported:
                node.publish(message)
            node.publish(messages.Message(f"{HALL}/faces", b'{"v":1}'))
            assert eventually(lambda: at_home.payloads(f"{HALL}/faces"))
            at_centre.publish(f"{HALL}/enabled/set", b"OFF")
            at_centre.publish("emotion-edge/pi/request/reload", b"{}")
            assert bridge_settled(at_home, at_centre)
        assert eventually(lambda: at_centre.last(f"{TOPICS.of('status')}") == "offline")
        assert bridge_settled(at_home, at_centre)
        once = {f"{HALL}/{it}": 1 for it in ("event", "log", "state", "status")}
        expected = {**once, "emotion-edge/pi/health": 1, "emotion-edge/pi/status": 2}
        own = {f"{HALL}/enabled/set": 1, "emotion-edge/pi/request/reload": 1}
        assert counts(at_centre) == {**expected, **own}
        assert counts(at_home) == {**expected, f"{HALL}/faces": 1, f"{HALL}/enabled/state": 1}
    with subscriber(one_way.centre.port) as late:
        assert late.retained() == {
            f"{HALL}/state", f"{HALL}/status", "emotion-edge/pi/health", "emotion-edge/pi/status"
        }  # fmt: skip


def test_enabled_commands_cross_once_and_responses_return(both_ways: Brokers) -> None:
    with subscriber(both_ways.house.port) as at_home, subscriber(both_ways.centre.port) as at_centre:
        assert bridge_settled(at_home, at_centre)
        at_centre.publish(f"{HALL}/enabled/set", b"OFF")
        at_centre.publish("emotion-edge/pi/request/info", b"{}")
        assert eventually(lambda: at_home.payloads("emotion-edge/pi/request/info"))
        at_home.publish(f"{HALL}/enabled/state", b"OFF")
        at_home.publish("emotion-edge/pi/response/info", b"{}")
        assert eventually(lambda: at_centre.payloads("emotion-edge/pi/response/info"))
        assert bridge_settled(at_home, at_centre)
        assert bridge_settled(at_home, at_centre)  # a loop in the bridge would show by now
        pi = "emotion-edge/pi"
        once = dict.fromkeys(
            (f"{HALL}/enabled/set", f"{HALL}/enabled/state", f"{pi}/request/info", f"{pi}/response/info"), 1
        )
        assert counts(at_centre) == counts(at_home) == once


def test_after_an_outage_the_log_arrives_without_old_events(tmp_path: Path) -> None:
    with Proxy(free_port()) as way:
        brokers = make_brokers(tmp_path, way=way.port)
        way.target = brokers.centre.port
        with (
            contextlib.contextmanager(run_brokers)(brokers),
            subscriber(brokers.house.port) as at_home,
            subscriber(brokers.centre.port) as at_centre,
            sink(brokers.house.port, status_topic=TOPICS.of("status"), client_id="pi") as node,
        ):
            assert bridge_settled(at_home, at_centre)
            way.target = free_port()
            way.cut()
            for number in range(30):
                change = Event("emotion_changed", "hall", 1, "sad", "happy", 0.8, time.time())
                reported = (
                    messages.event(TOPICS, change, "b", number),
                    messages.log(TOPICS, change, "b", number),
                )
                node.publish(replace(reported[0], max_age_s=2.0))
                node.publish(reported[1])
            assert eventually(lambda: len(at_home.payloads(f"{HALL}/log")) == 31)
            assert len(at_home.payloads(f"{HALL}/event")) == 30
            time.sleep(3.1)  # expiry is counted in whole seconds
            way.target = brokers.centre.port
            assert bridge_settled(at_home, at_centre)
            # QoS 1 may deliver duplicates; each message has an id.
            assert list(dict.fromkeys(at_centre.payloads(f"{HALL}/log"))) == at_home.payloads(f"{HALL}/log")
            assert at_centre.payloads(f"{HALL}/event") == []
