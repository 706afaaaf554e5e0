"""Discovery withdrawn and republished, with a real broker."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge.contract import messages
from edge.contract.messages import Topics
from edge.homeassistant import discovery
from edge.homeassistant.entities import Device
from edge.homeassistant.keeper import Keeper, announced_file
from edge.host.disk import StateFiles
from edge.mqtt.client import MqttSink
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.process import Process
from tests.sink import idle_sink

TOPICS = Topics("emotion-edge", "kitchen-pi")


def devices(*cameras: str) -> list[Device]:
    return discovery.devices(TOPICS, cameras, "0.1.0", temperature=False)


class SyncStateFiles(StateFiles):
    """Writes each file before it continues, so that a test can read it."""

    def write(self, path: Path, text: str) -> int:
        number = super().write(path, text)
        assert self.flush(10)
        return number


Run = Callable[..., tuple[MqttSink, Keeper]]


def settle(sink: MqttSink, keeper: Keeper) -> None:
    """Wait until the broker is up to date."""

    def settled() -> bool:
        keeper.tick(time.monotonic())
        return keeper.settled and sink.idle

    assert eventually(settled)


@pytest.fixture
def run(broker: Mosquitto, tmp_path: Path) -> Iterator[Run]:
    """Start a node: connected, its cameras announced."""
    running: list[MqttSink] = []

    def begin(
        *cameras: str, form: discovery.Format = "device", enabled: bool = True, node: str = "kitchen-pi",
        prefix: str = "homeassistant", port: int | None = None, settled: bool = True,
        jitter: Callable[[float], float] = lambda longest: 0.0,
    ) -> tuple[MqttSink, Keeper]:  # fmt: skip
        topics = Topics("emotion-edge", node)
        sink = idle_sink(
            port or broker.port, broker.host, client_id=node, status_topic=topics.of("status"),
            retry_s=(0.05, 0.2),
        )  # fmt: skip
        running.append(sink)
        path = tmp_path / "state" / f"discovery-{node}.json"
        keeper = Keeper(sink, path, SyncStateFiles(path.parent), jitter=jitter)
        found = discovery.devices(topics, cameras, "0.1.0", temperature=False) if enabled else []
        own = [messages.camera_status(topics, camera, "offline") for camera in cameras]
        keeper.announce(found, prefix, form, [message.topic for message in own])
        for message in own:
            sink.publish(message)
        sink.start()
        if settled:
            settle(sink, keeper)
        return sink, keeper

    yield begin
    for sink in running:
        sink.stop()


def retained(port: int) -> set[str]:
    """The topics a new subscriber gets, without the nodes' own status."""
    with subscriber(port) as late:
        return {topic for topic in late.retained() if topic.count("/") > 2 or "status" not in topic}


def device_topics(*cameras: str, node: str = "kitchen-pi") -> set[str]:
    names = [node, *(f"{node}/{camera}" for camera in cameras)]
    own = {f"emotion-edge/{node}/{camera}/status" for camera in cameras}
    return {f"homeassistant/device/{name}/config" for name in names} | own


def component_topics(*cameras: str) -> set[str]:
    found = discovery.messages(devices(*cameras), "homeassistant", "component", {})
    own = {f"emotion-edge/kitchen-pi/{camera}/status" for camera in cameras}
    return {message.topic for message in found} | own


def test_camera_renamed_while_offline_is_withdrawn(
    broker: Mosquitto,
    run: Run,
    tmp_path: Path,
) -> None:
    sink, _ = run("hall", "cellar")
    assert retained(broker.port) == device_topics("hall", "cellar")
    sink.stop()
    run("hall", "attic")
    assert retained(broker.port) == device_topics("hall", "attic")
    file = json.loads((tmp_path / "state" / "discovery-kitchen-pi.json").read_text())
    assert set(file["topics"]) == device_topics("hall", "attic")


def test_format_change_leaves_no_topic_of_the_other_format(broker: Mosquitto, run: Run) -> None:
    forms: list[discovery.Format] = ["device", "component", "device"]
    for form in forms:
        sink, _ = run("hall", form=form)
        assert retained(broker.port) == {"device": device_topics, "component": component_topics}[form]("hall")
        sink.stop()


def test_disabled_or_moved_discovery_leaves_no_topic(broker: Mosquitto, run: Run) -> None:
    sink, keeper = run("hall")
    camera = {"emotion-edge/kitchen-pi/hall/status"}
    keeper.announce(devices("hall"), "elsewhere", "device", camera)
    settle(sink, keeper)
    moved = {topic.replace("homeassistant", "elsewhere") for topic in device_topics("hall")}
    assert retained(broker.port) == moved
    sink.stop()
    run("hall", enabled=False)
    assert retained(broker.port) == camera


def test_withdrawal_missed_while_offline_happens_in_a_later_run(
    broker: Mosquitto,
    run: Run,
) -> None:
    first, _ = run("hall", "cellar")
    first.stop()
    nowhere, _ = run("hall", port=1, settled=False)  # stopped before it ever connected
    nowhere.stop()
    assert retained(broker.port) == device_topics("hall", "cellar")
    run("hall")
    assert retained(broker.port) == device_topics("hall")


def test_two_nodes_do_not_withdraw_each_other(broker: Mosquitto, run: Run) -> None:
    first, _ = run("hall", node="kitchen-pi")
    run("hall", node="kitchen-pi_2")
    first.stop()
    run("attic", node="kitchen-pi")
    expected = device_topics("attic") | device_topics("hall", node="kitchen-pi_2")
    assert retained(broker.port) == expected


def test_birth_republishes_everything_retained(broker: Mosquitto, run: Run) -> None:
    _, keeper = run("hall")
    with subscriber(broker.port) as observer:
        assert eventually(lambda: len(observer.messages) >= len(device_topics("hall")))
        observer.messages.clear()
        observer.publish("homeassistant/status", b"offline")
        observer.publish("homeassistant/status", b"online")

        def again() -> bool:
            keeper.tick(time.monotonic())
            return device_topics("hall") <= {topic for topic, *_ in observer.messages}

        assert eventually(again)


def test_retained_birth_counts_too(broker: Mosquitto, run: Run) -> None:
    with subscriber(broker.port) as observer:
        observer.publish("homeassistant/status", b"online", retain=True)
        assert eventually(lambda: observer.messages)
        _, keeper = run("hall", settled=False)
        topic = "homeassistant/device/kitchen-pi/hall/config"

        def twice() -> bool:
            keeper.tick(time.monotonic())
            return len(observer.payloads(topic)) == 2

        assert eventually(twice)


def test_daemon_answers_a_birth_and_follows_a_reload(broker: Mosquitto, tmp_path: Path) -> None:
    def configuration(*cameras: str) -> str:
        tables = [f'[[camera]]\nname = "{name}"\nsource = "portraits"\n' for name in cameras]
        return f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n' + "".join(tables)

    hall, cellar, attic = (f"homeassistant/device/pi/{name}/config" for name in ("hall", "cellar", "attic"))
    with subscriber(broker.port) as observer:
        daemon = Process(tmp_path, configuration("hall", "cellar"))
        try:
            assert eventually(lambda: observer.last(hall) and observer.last(cellar))
            # On connect, events follow the subscriptions: from here on a birth is received.
            assert eventually(lambda: observer.last("emotion-edge/pi/hall/event"))
            observer.publish("homeassistant/status", b"online")
            assert eventually(lambda: len(observer.payloads(hall)) == 2)
            assert len(observer.payloads("emotion-edge/pi/cellar/status")) >= 2
            (tmp_path / "config.toml").write_text(configuration("hall", "attic"))
            daemon.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: observer.last(attic) and observer.last(cellar) == "")
            assert observer.last("emotion-edge/pi/cellar/state") == ""
        finally:
            daemon.close()


# Migration from topics that could collide.


@pytest.mark.parametrize(
    ("node", "camera", "kept"), [("kitchen-pi", "hall", True), ("attic", "roof-2", True), ("a_b", "c", False)]
)
def test_old_topics_are_cleared_after_the_new_ones_are_published(
    broker: Mosquitto, run: Run, tmp_path: Path, node: str, camera: str, kept: bool
) -> None:
    old = f"homeassistant/device/{node}_{camera}/config"
    new = f"homeassistant/device/{node}/{camera}/config"
    with subscriber(broker.port) as observer:
        observer.publish(old, b'{"cmps":{}}', retain=True)
        assert eventually(lambda: observer.payloads(old))
        state_file = tmp_path / "state" / f"discovery-{node}.json"
        state_file.parent.mkdir()
        state_file.write_text(announced_file(state_file).text({old: {"emotion": "sensor"}}))
        run(camera, node=node)
        assert eventually(lambda: observer.last(old) == "")
        story = [(topic, payload[:20]) for topic, payload, _ in observer.messages if topic in (old, new)][1:]
    letting_go = (old, '{"migrate_discovery"')
    if kept:
        assert [story[0], story[-1]] == [letting_go, (old, "")]
        assert story[1][0] == new
    else:  # its unique ids changed: the old entities are removed first
        assert story[0] == (old, "")
        assert letting_go not in story
    assert retained(broker.port) == device_topics(camera, node=node)


@pytest.mark.parametrize("limit", [2048, 1500])
def test_broker_with_packet_limit_gets_the_camera_by_component(tmp_path: Path, run: Run, limit: int) -> None:
    small = Mosquitto(tmp_path, f"allow_anonymous true\nmax_packet_size {limit}")
    small.start()
    try:
        sink, _ = run("hall", port=small.port)
        node = {"homeassistant/device/kitchen-pi/config"}
        parts = {topic for topic in component_topics("hall") if "/hall" in topic}
        assert retained(small.port) == node | parts
        assert (sink.health().limits, sink.health().reconnects) == (None, 0)
        sink.stop()
    finally:
        small.kill()
