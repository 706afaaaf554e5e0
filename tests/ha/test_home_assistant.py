"""`make ha-test`: a real Home Assistant, mosquitto and the daemon on portraits, in one run of 6 minutes.

The tests run in this order on one stack; each leaves it in the state that the next one expects.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.contract import messages
from edge.contract.messages import Topics
from edge.homeassistant import discovery
from edge.homeassistant.keeper import Keeper, announced_file
from edge.host.disk import StateFiles
from edge.sources.portraits import Portraits
from edge.types import LABELS, Message
from tests.broker import Mosquitto, Subscriber, eventually
from tests.ha.home_assistant import HomeAssistant
from tests.process import Process
from tests.sink import idle_sink

HOME = os.environ.get("HOME_ASSISTANT", "")

pytestmark = [
    pytest.mark.skipif(not HOME, reason="needs a Home Assistant: `make ha-test` builds one and runs this"),
    pytest.mark.timeout(900),
]

FPS = 10.0
NODE = {
    "binary_sensor.ha_test_connection": "on",
    "sensor.ha_test_model": r"\S+ \S+",
    "sensor.ha_test_runtime": r"ai-edge-litert .+, cpu, 1 thread",
}
FACES = {"hall": "1", "porch": "2"}
CAMERA = {
    "binary_sensor.{}_face_present": "on",
    "sensor.{}_emotion": "|".join([*LABELS, "uncertain"]),
    "sensor.{}_faces": "[12]",
    "event.{}_event": r"\d{4}-\d\d-\d\dT.*",
    "switch.{}_detection": "on",
    "number.{}_minimum_confidence": r"0\.5",
    "number.{}_hold_time": r"0\.6",
    "button.{}_restart_camera": r"unknown|\d{4}-\d\d-\d\dT.*",
    "binary_sensor.{}_connection": "on",
    "sensor.{}_frame_rate": r"\d+\.\d",
    "sensor.{}_latency_p95": r"\d+\.\d",
    "sensor.{}_dropped_frames": r"\d+",
}
SHOWN = ("binary_sensor.{}_face_present", "sensor.{}_emotion", "sensor.{}_faces")

# Three ways to act on an event. "any" is the naive one; "fresh" is what docs/home-assistant.md
# advises; "mqtt" does without the entity.
AUTOMATIONS = """
counter:
  any:
  fresh:
  mqtt:
automation:
  - alias: any
    mode: queued
    max: 1000
    triggers: [{trigger: state, entity_id: event.ha_test_hall_event}]
    actions: [{action: counter.increment, target: {entity_id: counter.any}}]
  - alias: fresh
    mode: queued
    max: 1000
    triggers:
      - {trigger: state, entity_id: event.ha_test_hall_event, not_from: unavailable, not_to: unavailable}
    conditions: "{{ as_timestamp(now()) - as_timestamp(trigger.to_state.state, 0) < 10 }}"
    actions: [{action: counter.increment, target: {entity_id: counter.fresh}}]
  - alias: mqtt
    mode: queued
    max: 1000
    triggers: [{trigger: mqtt, topic: emotion-edge/ha-test/hall/event}]
    actions: [{action: counter.increment, target: {entity_id: counter.mqtt}}]
"""


class Stack:
    """The broker, Home Assistant and the daemon; each can be restarted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Mosquitto(folder)  # without persistence: after a restart it knows nothing
        self.broker.start()
        self.observer = Subscriber(self.broker.port, "emotion-edge/#")
        self.assistant = HomeAssistant(Path(HOME), self.broker.port, AUTOMATIONS)
        self.daemon: Process | None = None
        self.events: list[dict[str, Any]] = []  # every event received from the hall

    def run(self, *cameras: str, discovery: str = "") -> None:
        """(Re)start the daemon with these of FACES' cameras."""
        if self.daemon is not None:
            code, _ = self.daemon.stop()
            assert (code, "Traceback" in self.daemon.log) == (0, False), self.daemon.log
        tables = [
            f'[[camera]]\nname = "{name}"\nsource = "portraits"\nfaces = {FACES.get(name, "1")}\n'
            f"fps = {FPS}\n"
            for name in cameras
        ]
        self.daemon = Process(
            self.folder,
            f'[node]\nid = "ha-test"\n[mqtt]\nhost = "127.0.0.1"\nport = {self.broker.port}\n'
            f"[discovery]\n{discovery}\n" + "".join(tables),
        )

    def restart_broker(self) -> None:
        self.observer.close()
        self.events = self.hall_events()
        self.broker.restart()
        self.observer = Subscriber(self.broker.port, "emotion-edge/#")

    def hall_events(self) -> list[dict[str, Any]]:
        payloads = self.observer.payloads("emotion-edge/ha-test/hall/event")
        return self.events + [json.loads(payload) for payload in payloads]

    def counters(self) -> dict[str, int]:
        return {name: int(self.assistant.state(f"counter.{name}") or -1) for name in ("any", "fresh", "mqtt")}

    def shows(self, entity: str, pattern: str, timeout_s: float = 30.0) -> None:
        """Wait until the state of *entity* matches *pattern*."""

        def matches() -> bool:
            return re.fullmatch(pattern, self.assistant.state(entity) or "") is not None

        assert eventually(matches, timeout_s), (entity, pattern, self.assistant.state(entity))

    def close(self) -> None:
        if self.daemon is not None:
            self.daemon.close()
            print(self.daemon.log)
        self.observer.close()
        self.assistant.close()
        self.broker.kill()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    it = Stack(tmp_path_factory.mktemp("stack"))
    try:
        print(f"\nHome Assistant: started in {it.assistant.start():.0f} s")
        it.run("hall", "porch")
        yield it
    finally:
        it.close()


def entity_patterns(camera: str, entities: dict[str, str]) -> dict[str, str]:
    return {entity.format(f"ha_test_{camera}"): pattern for entity, pattern in entities.items()}


def wait_for_entities(stack: Stack, *cameras: str) -> dict[str, str]:
    """Wait for every expected entity; entity -> state."""
    expected = dict(NODE)
    for camera in cameras:
        expected |= entity_patterns(camera, CAMERA)
    for entity, pattern in expected.items():
        # Health, and with it the first frame rate above 0, comes every 30 s.
        stack.shows(entity, pattern, 45)
    shown = {entity: str(state["state"]) for entity, state in stack.assistant.states().items()}
    ours = {entity: state for entity, state in shown.items() if "ha_test" in entity}
    assert ours.keys() - {"sensor.ha_test_temperature"} == expected.keys()  # not every board has one
    return ours


def test_all_devices_and_entities_appear(stack: Stack) -> None:
    for entity, state in wait_for_entities(stack, "hall", "porch").items():
        print(f"  {entity} {state}")
    about = stack.assistant.template(
        "{% set hall = device_id('sensor.ha_test_hall_emotion') %}"
        "{% set node = device_id('sensor.ha_test_model') %}"
        "{{ [device_attr(hall, 'name'), device_attr(hall, 'manufacturer'),"
        " device_attr(hall, 'via_device_id') == node, device_attr(node, 'name')] | tojson }}"
    )
    print(f"  devices: {about}")
    assert json.loads(about) == ["ha-test hall", "emotion-edge", True, "ha-test"]
    options = stack.assistant.attributes("sensor.ha_test_hall_emotion")["options"]
    assert options == ["none", "uncertain", *LABELS]


def test_states_follow_the_portraits(stack: Stack) -> None:
    """Compared at the one delay between the two clocks that fits best."""
    source = Portraits(fps=FPS, faces=1, paced=False)
    period = 42.0  # of one face: seven labels
    truth = [source.render(n)[1][0] for n in range(round(period * FPS))]
    samples: list[tuple[float, str]] = []
    began = time.monotonic()
    while (at := time.monotonic() - began) < period + 5:
        samples.append((at, stack.assistant.state("sensor.ha_test_hall_emotion") or ""))
        time.sleep(0.2)

    def agreement(delay: int) -> tuple[float, int]:
        # A face that changes its expression has no label; a new one is reported after hold_s and at most 1/s.
        fully = [(label, truth[(round(at * FPS) + delay) % len(truth)]) for at, label in samples]
        steady = [(label, shown.label) for label, shown in fully if shown.weight == 1.0]
        return sum(label == shown for label, shown in steady) / len(steady), len(steady)

    share, count = max(agreement(delay) for delay in range(len(truth)))
    seen = list(dict.fromkeys(label for _, label in samples))
    print(f"  {count} samples: {share:.1%} show what the picture shows; seen: {', '.join(seen)}")
    assert share >= 0.7
    assert len(set(seen) & set(LABELS)) >= 6


def test_switch_disables_and_enables_detection(stack: Stack) -> None:
    stack.assistant.call("switch.turn_off", "switch.ha_test_hall_detection")
    stack.shows("switch.ha_test_hall_detection", "off")
    for entity in entity_patterns("hall", dict.fromkeys(SHOWN, "")):
        stack.shows(entity, "unavailable")
    assert eventually(lambda: stack.observer.last("emotion-edge/ha-test/hall/status") == "disabled")
    stack.shows("binary_sensor.ha_test_hall_connection", "off")
    stack.shows("binary_sensor.ha_test_porch_face_present", "on")
    stack.assistant.call("switch.turn_on", "switch.ha_test_hall_detection")
    stack.shows("switch.ha_test_hall_detection", "on")
    stack.shows("sensor.ha_test_hall_emotion", "|".join(LABELS))


def test_number_entities_change_daemon_settings(stack: Stack) -> None:
    floor, hold = "number.ha_test_hall_minimum_confidence", "number.ha_test_hall_hold_time"
    stack.assistant.call("number.set_value", floor, value=1)
    stack.shows(floor, r"1(\.0)?")
    stack.shows("sensor.ha_test_hall_emotion", "uncertain")
    stack.assistant.call("number.set_value", floor, value=0.5)
    stack.shows("sensor.ha_test_hall_emotion", "|".join(LABELS))
    stack.assistant.call("number.set_value", hold, value=60)
    stack.shows(hold, r"60(\.0)?")
    before = stack.assistant.state("sensor.ha_test_hall_emotion")
    # The face changes its expression every 6 s; with this none lasts long enough to be reported.
    assert not eventually(lambda: stack.assistant.state("sensor.ha_test_hall_emotion") != before, 8)
    stack.assistant.call("number.set_value", hold, value=0.6)
    stack.shows(hold, r"0\.6")
    assert eventually(lambda: stack.assistant.state("sensor.ha_test_hall_emotion") != before, 15)


def test_button_restarts_camera(stack: Stack) -> None:
    stack.assistant.call("button.press", "button.ha_test_hall_restart_camera")
    topic = "emotion-edge/ha-test/response/restart_camera"
    assert eventually(lambda: stack.observer.payloads(topic))
    assert json.loads(stack.observer.last(topic) or "") == {"status": "ok", "transaction": "ha"}
    stack.shows("binary_sensor.ha_test_hall_face_present", "on")


def test_event_fires_once_across_restarts_of_each_part(stack: Stack) -> None:
    stack.assistant.call("switch.turn_off", "switch.ha_test_hall_detection")
    stack.shows("sensor.ha_test_hall_emotion", "unavailable")

    def all_counted() -> bool:
        counted = stack.counters()
        return counted["fresh"] == counted["mqtt"] == len(stack.hall_events())

    assert eventually(all_counted, 10), (stack.counters(), len(stack.hall_events()))
    events, last = stack.hall_events(), stack.assistant.attributes("event.ha_test_hall_event")
    assert last["id"] == events[-1]["id"]
    assert len({event["id"] for event in events}) == len(events)
    before, when = stack.counters(), stack.assistant.state("event.ha_test_hall_event")
    print(f"  events: {len(events)}, automations fired: {before}")

    def unchanged(what: str) -> None:
        stack.shows("sensor.ha_test_porch_emotion", "|".join([*LABELS, "uncertain"]), 60)
        stack.shows("switch.ha_test_hall_detection", "off")
        time.sleep(3)  # for what must not come
        print(f"  after a restart of {what}: {stack.counters()}")
        assert {**stack.counters(), "any": 0} == {**before, "any": 0}
        assert stack.assistant.state("event.ha_test_hall_event") == when
        assert stack.assistant.attributes("event.ha_test_hall_event")["id"] == last["id"]

    stack.run("hall", "porch")
    stack.shows("binary_sensor.ha_test_connection", "on")
    unchanged("the daemon")
    assert stack.counters()["any"] == before["any"]  # its event entity was never unavailable
    stack.restart_broker()
    unchanged("the broker")
    stack.assistant.stop()
    stack.assistant.start()
    unchanged("Home Assistant")
    assert stack.hall_events() == events
    stack.assistant.call("switch.turn_on", "switch.ha_test_hall_detection")
    assert eventually(lambda: stack.counters()["fresh"] > before["fresh"], 15)  # and new ones still do
    wait_for_entities(stack, "hall", "porch")


def test_home_assistant_log_has_no_warning(stack: Stack) -> None:
    """Runs before anything is removed: Home Assistant warns about removals."""
    lines = [line for line in stack.assistant.log().split("\n") if re.search("WARNING|ERROR", line)]
    # The broker was restarted.
    expected = r"paho\.mqtt\.client|Error returned from MQTT server|aiohttp_fast_zlib"
    assert [line for line in lines if not re.search(expected, line)] == []


def test_entities_migrate_from_old_topics(stack: Stack, tmp_path: Path) -> None:
    """Home Assistant keeps their history and settings: it logs "unloading", not "removing"."""
    topics = Topics("emotion-edge", "old-pi")
    _, hall = devices = discovery.devices(topics, ["hall"], "0.1.0", temperature=False)
    about_node, about_hall = discovery.messages(devices, "homeassistant", "device", {})
    before = "homeassistant/device/old-pi_hall/config"
    stack.observer.publish(about_node.topic, about_node.payload, retain=True)
    stack.observer.publish(before, about_hall.payload, retain=True)
    stack.shows("sensor.old_pi_hall_emotion", "unavailable|unknown")
    path = tmp_path / "discovery.json"
    path.write_text(
        announced_file(path).text({before: {entity: it["p"] for entity, it in hall.entities.items()}})
    )
    sink = idle_sink(stack.broker.port, client_id="old", status_topic=topics.of("status"))
    files = StateFiles(tmp_path)
    keeper = Keeper(sink, path, files)
    try:
        keeper.announce(devices, "homeassistant", "device")
        sink.publish(messages.camera_status(topics, "hall", "online"))
        state = b'{"present":"ON","faces":1,"emotion":"happy","confidence":0.9}'
        sink.publish(Message(topics.of("hall", "state"), state, qos=1, retain=True))
        sink.start()

        def happy() -> bool:
            keeper.tick(time.monotonic())
            return keeper.settled and stack.assistant.state("sensor.old_pi_hall_emotion") == "happy"

        assert eventually(happy), stack.assistant.state("sensor.old_pi_hall_emotion")
        log = stack.assistant.log()
        for entity in (
            "sensor.old_pi_hall_emotion",
            "switch.old_pi_hall_detection",
            "event.old_pi_hall_event",
        ):
            assert f"Unloading component: {entity}" in log
            assert f"Removing component: {entity}" not in log
        assert "old_pi_hall_emotion_2" not in str(stack.assistant.states())
        keeper.announce([], "homeassistant", "device")
        assert eventually(lambda: sink.idle)
    finally:
        sink.stop()
        files.close()


def test_changing_the_format_keeps_all_entities(stack: Stack) -> None:
    for form in ("component", "device"):
        stack.run("hall", "porch", discovery=f'format = "{form}"')
        # Removed, then added again.
        assert eventually(lambda: stack.assistant.state("binary_sensor.ha_test_connection") != "on", 10)
        print(f"  {form}: {len(wait_for_entities(stack, 'hall', 'porch'))} entities")


def test_renamed_camera_loses_its_old_entities(stack: Stack) -> None:
    stack.run("hall", "attic")
    wait_for_entities(stack, "hall", "attic")
    print("  porch became attic: " + ", ".join(sorted(e for e in stack.assistant.states() if "attic" in e)))


def test_disabled_entities_are_registered(stack: Stack) -> None:
    stack.assistant.stop()
    registered = stack.assistant.registered()
    stack.assistant.start()
    assert registered["ha-test_hall_confidence"] == "integration"
    assert registered["ha-test_hall_emotion"] is None
    assert not [name for name in registered if "porch" in name]


def test_disabling_discovery_removes_all_entities(stack: Stack) -> None:
    stack.run("hall", discovery="enabled = false")
    assert eventually(lambda: not [e for e in stack.assistant.states() if "ha_test" in e], 30)
