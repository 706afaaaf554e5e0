"""Discovery payloads against Home Assistant's own rules; ``make ha-test`` runs a real one."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import jinja2
import numpy as np
import pytest

from edge.contract import messages
from edge.contract.messages import CameraHealth, Health, Info, Topics
from edge.contract.requests import Request, parse_request
from edge.contract.switches import parse
from edge.homeassistant import discovery
from edge.homeassistant.entities import Device
from edge.mqtt.terms import packet_bytes
from edge.types import LABELS, Box, Event, Face, Frame, Message, Track
from tests.home_assistant_rules import Config, entities
from tests.sink import node_status

TOPICS = Topics("emotion-edge", "kitchen-pi")
CAMERAS = ("hall", "front-door")  # a template would parse the hyphen as a minus
NOON = 1772366400.123
FORMATS: tuple[discovery.Format, ...] = ("device", "component")
SHOWN = {"face_present", "emotion", "faces", "confidence"}


def devices(*cameras: str, temperature: bool = True) -> list[Device]:
    return discovery.devices(TOPICS, cameras or CAMERAS, "0.1.0", temperature=temperature)


def reported(form: discovery.Format, *cameras: str, prefix: str = "homeassistant") -> list[Message]:
    return list(discovery.messages(devices(*cameras), prefix, form, {}))


def announced(form: discovery.Format) -> dict[str, Config]:
    """Unique id -> expanded configuration; AssertionError if Home Assistant rejects it."""
    found = {}
    for message in reported(form):
        assert (message.qos, message.retain) == (1, True)
        for config in entities(message.topic, message.payload).values():
            assert config["unique_id"] not in found
            found[config["unique_id"]] = config
    return found


def track(emotion: str, scores: tuple[float, ...]) -> Track:
    face = Face(Box(64, 48, 160, 240), 0.9)
    return Track(12, face, since=100.0, seen=106.0, announced=True, scores=scores, emotion=emotion)


def sent_messages() -> Iterator[Message]:
    """Every kind of message the daemon sends, with extreme values."""
    for online in (True, False):
        yield node_status(TOPICS, online)
    yield messages.info(
        TOPICS,
        Info("0.1.0", "edge-s 1", "ab12", True, LABELS, "litert 2.3.0, cpu", "auto", "haar", "auto", CAMERAS),
        NOON,
    )
    idle = CameraHealth(0.0, None, {}, 0)
    busy = CameraHealth(9.84, 0.083, {"detect": (5.804, 7.1)}, 3, latency_ms=(31.06, 48.2))
    for camera in (idle, busy):
        now = Health(61.0, 120.04, temperature_c=51.66, cameras=dict.fromkeys(CAMERAS, camera))
        yield messages.health(TOPICS, now, NOON)
    for name in CAMERAS:
        for status in ("online", "offline", "stale", "disabled"):
            yield messages.camera_status(TOPICS, name, status)
        shown = [track("uncertain", ())]
        for index, label in enumerate(LABELS):
            scores = tuple(float(np.float32(0.7 if i == index else 0.05)) for i in range(len(LABELS)))
            shown.append(track(label, scores))
        for tracks in ([], *([one] for one in shown), shown):
            yield messages.state(TOPICS, name, tracks, now=106.0, wall=NOON, empty_since=100.0)
        frame = Frame(np.zeros((480, 640), np.uint8), 106.0, NOON, 7, name)
        yield messages.faces(TOPICS, frame, shown)
        for kind in ("face_appeared", "emotion_changed", "face_left"):
            event = Event(kind, name, 12, "none", "happy", 0.81, NOON)
            yield messages.event(TOPICS, event, "b00t", 1)
            yield messages.log(TOPICS, event, "b00t", 1)
        for switch, values in (
            ("enabled", ("ON", "OFF")), ("min_confidence", ("0", "0.55", "1")), ("hold", ("0", "0.6", "60")),
        ):  # fmt: skip
            for value in values:
                yield messages.switch(TOPICS, name, switch, value)


def render(template: str | None, payload: bytes) -> str:
    """The template rendered as Home Assistant does; jinja2's error if it uses a missing key."""
    text = payload.decode()
    if template is None:
        return text
    try:
        value_json = json.loads(text)
    except ValueError:
        value_json = None
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(value=text, value_json=value_json)


def is_value(config: Config, value: str) -> bool:
    """Whether the entity can show *value*; "None" means unknown to Home Assistant."""
    match config["platform"]:
        case "binary_sensor":
            return value in (config.get("payload_on", "ON"), config.get("payload_off", "OFF"))
        case "switch":
            return value in ("ON", "OFF")
        case "number":
            return bool(config["min"] <= float(value) <= config["max"])
        case "event":
            return json.loads(value)["event_type"] in config["event_types"]
        case "sensor" if "options" in config:
            return value in config["options"]
        case "sensor" if "state_class" in config:
            return value == "None" or float(value) >= 0
    return 0 < len(value) <= 255


@pytest.mark.parametrize("form", FORMATS)
def test_home_assistant_accepts_every_payload(form: discovery.Format) -> None:
    found = announced(form)
    assert len(found) == 4 + 13 * len(CAMERAS)
    sizes = [len(message.payload) for message in reported(form)]
    print(f"{form}: {len(sizes)} payloads, the largest of {max(sizes)} bytes")


def test_both_formats_give_the_same_entities() -> None:
    def comparable(form: discovery.Format) -> dict[str, Config]:
        # The shared availability mode also reaches entities that have one topic or none.
        return {name: {**config, "availability_mode": "all"} for name, config in announced(form).items()}

    assert comparable("device") == comparable("component")


def test_topics_follow_the_contract() -> None:
    assert [message.topic for message in reported("device")] == [
        "homeassistant/device/kitchen-pi/config",
        "homeassistant/device/kitchen-pi/hall/config",
        "homeassistant/device/kitchen-pi/front-door/config",
    ]
    topics = [message.topic for message in reported("component", "hall", prefix="ha/x")]
    assert topics[0] == "ha/x/binary_sensor/kitchen-pi/connectivity/config"
    assert "ha/x/sensor/kitchen-pi/hall-emotion/config" in topics
    assert len(set(topics)) == 17


@pytest.mark.parametrize("form", FORMATS)
def test_camera_is_a_device_behind_its_node(form: discovery.Format) -> None:
    found = announced(form)
    camera, node = (found[name]["device"] for name in ("kitchen-pi_hall_emotion", "kitchen-pi_model"))
    assert camera["via_device"] == node["identifiers"] == "kitchen-pi"
    assert camera["name"] == "kitchen-pi hall"
    assert found["kitchen-pi_hall_emotion"]["origin"] == {"name": "emotion-edge", "sw_version": "0.1.0"}
    assert found["kitchen-pi_hall_emotion"]["options"] == [
        "none", "uncertain", "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral",
    ]  # fmt: skip
    off = {name for name, config in found.items() if not config.get("enabled_by_default", True)}
    assert off == {"kitchen-pi_hall_confidence", "kitchen-pi_front-door_confidence"}


@pytest.mark.parametrize("form", FORMATS)
def test_each_template_yields_a_value_for_every_message(form: discovery.Format) -> None:
    everything = list(sent_messages())
    seen = set()
    for name, config in announced(form).items():
        received = [message for message in everything if message.topic == config.get("state_topic")]
        assert received or config["platform"] == "button", name
        for message in received:
            value = render(config.get("value_template"), message.payload)
            assert is_value(config, value), (name, message, value)
            seen.add(value)
        for place in config["availability"]:
            statuses = [message for message in everything if message.topic == place["topic"]]
            assert len(statuses) in (2, 4), (name, place)
            for message in statuses:
                value = render(place.get("value_template"), message.payload)
                assert value == ("online" if message.payload == b"online" else "offline")
    assert {"none", "uncertain", *LABELS, "70.0", "None", "48.2", "51.7", "edge-s 1"} <= seen


@pytest.mark.parametrize("form", FORMATS)
def test_sensors_need_node_and_camera_and_controls_only_the_node(
    form: discovery.Format,
) -> None:
    node, camera = "emotion-edge/kitchen-pi/status", "emotion-edge/kitchen-pi/hall/status"
    for name, config in announced(form).items():
        if not name.startswith("kitchen-pi_hall_"):
            continue
        topics = [place["topic"] for place in config["availability"]]
        entity = name.removeprefix("kitchen-pi_hall_")
        # Events have none: returning from "unavailable" must not look like a new event.
        assert topics == ([node, camera] if entity in SHOWN else [] if entity == "event" else [node]), entity
        assert config["availability_mode"] == "all"


@pytest.mark.parametrize("form", FORMATS)
def test_commands_use_topics_and_payloads_the_daemon_accepts(form: discovery.Format) -> None:
    found = announced(form)
    for camera, (entity, payload, value) in itertools.product(
        CAMERAS, (("enabled", b"OFF", False), ("min_confidence", b"0.55", 0.55), ("hold", b"2.5", 2.5))
    ):
        config = found[f"kitchen-pi_{camera}_{entity}"]
        assert config["command_topic"] == f"emotion-edge/kitchen-pi/{camera}/{entity}/set"
        assert config["state_topic"] == f"emotion-edge/kitchen-pi/{camera}/{entity}/state"
        assert not config.get("retain", False)
        assert parse(entity, payload) == value
        button = found[f"kitchen-pi_{camera}_restart"]
        assert button["command_topic"] == "emotion-edge/kitchen-pi/request/restart_camera"
        request = parse_request("restart_camera", button["payload_press"].encode())
        assert request == Request("restart_camera", "ha", camera)


def test_board_without_temperature_sensor_announces_none() -> None:
    (node, *_) = discovery.messages(devices(temperature=False), "homeassistant", "device", {})
    assert set(json.loads(node.payload)["cmps"]) == {"connectivity", "model", "runtime"}


def test_removed_entity_is_listed_once_more_without_config() -> None:
    found = discovery.messages(devices(), "homeassistant", "device", {})
    before = {message.topic: platforms for message, platforms in found.items()}
    (node, *_) = discovery.messages(devices(temperature=False), "homeassistant", "device", before)
    assert json.loads(node.payload)["cmps"]["temperature"] == {"p": "sensor"}
    assert "kitchen-pi_temperature" not in node.payload.decode()


def test_longest_names_are_accepted_and_payloads_stay_small() -> None:
    topics = Topics("p" * 128, "n" * 64)
    found = discovery.devices(topics, ["c" * 64], "0.1.0", temperature=True)
    for form in FORMATS:
        for message in discovery.messages(found, "homeassistant", form, {}):
            assert entities(message.topic, message.payload)
            assert len(message.payload) < 16_384


NAMES = ("a", "b", "a_b", "b_a", "a_b_c", "a-b", "_", "__", "-", "model", "connectivity", "kitchen", "hall",
         "kitchen_hall", "front_door", "door", "emotion", "hall-emotion", "fps")  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_no_two_nodes_or_cameras_share_topic_device_or_id(form: discovery.Format) -> None:
    owners: dict[str, tuple[str, str, str]] = {}
    for node in NAMES:
        topics = Topics("emotion-edge", node)
        for camera in NAMES:
            if form == "device" or (node + camera).count("_"):
                found = discovery.devices(topics, [camera], "0.1.0", temperature=True)
                for message in discovery.messages(found, "homeassistant", form, {}):
                    for config in entities(message.topic, message.payload).values():
                        about = config["device"]
                        owner = (node, about["name"], about["model"])
                        for what in (message.topic, f"id {about['identifiers']}", config["unique_id"]):
                            assert owners.setdefault(what, owner) == owner, what


def test_underscores_are_escaped_in_ids_and_other_ids_are_stable() -> None:
    (_, hall) = discovery.devices(TOPICS, ["hall"], "0.1.0", temperature=False)
    (_, door) = discovery.devices(Topics("e", "a_b"), ["c-_d"], "0.1.0", temperature=False)
    assert (hall.id, door.id) == ("kitchen-pi_hall", "a.b_c-.d")
    assert not any("_" in entity for entity in devices()[0].entities)  # or a camera's id could collide
    assert all(re.fullmatch("[a-z0-9_]+", entity) for device in devices() for entity in device.entities)


@pytest.mark.parametrize("limit", [3000, 2048, 1024, 620])
def test_device_too_large_for_the_broker_is_sent_by_component(limit: int) -> None:
    def fits(message: Message) -> bool:
        return packet_bytes(message, five=True, expires=False) <= limit

    found = discovery.messages(devices(), "homeassistant", "device", {}, fits)
    assert all(fits(message) for message in found)
    names = [config["unique_id"] for it in found for config in entities(it.topic, it.payload).values()]
    assert sorted(names) == sorted(announced("device"))
    whole = [message.topic for message in found if "/device/" in message.topic]
    assert whole == (["homeassistant/device/kitchen-pi/config"] if limit >= 1200 else [])
    named = {f"{it.topic} {entity}" for it, platforms in found.items() for entity in platforms}
    assert len(named) == len(names)


def test_former_topics_of_the_same_entities_are_known() -> None:
    former = discovery.former_topics(devices("hall"), "homeassistant")
    assert {
        "homeassistant/device/kitchen-pi_hall/config",
        "homeassistant/sensor/kitchen-pi_hall/emotion/config",
        "homeassistant/sensor/kitchen-pi/hall-emotion/config",
    } <= former
    # Their unique ids changed: to Home Assistant they are different entities.
    underscore = discovery.devices(Topics("e", "a_b"), ["c"], "0.1.0", temperature=False)
    assert "homeassistant/device/a_b_c/config" not in discovery.former_topics(underscore, "homeassistant")
