"""The daemon's messages against its schemas, and the schemas themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edge.contract import schemas
from edge.contract.requests import COMMANDS, parse_request
from edge.contract.switches import NAMES, Refused, parse
from edge.settings.tables import TOPIC_WORDS
from tests.broker import Mosquitto, Subscriber, broker, eventually, free_port, subscriber  # noqa: F401
from tests.contract import MAX_BYTES, breach, breaches, extremes
from tests.process import Start, start  # noqa: F401

SCHEMAS = sorted(set(schemas.TOPICS.values()))
FILES = Path(schemas.__file__).parent
NODE = "emotion-edge/pi"

# A running daemon


def configuration(port: int, *more: str) -> str:
    camera = '[[camera]]\nname = "{}"\nsource = "{}"\nwidth = 320\nheight = 240\nfps = 8\n'
    cameras = camera.format("hall", "portraits") + "faces = 3\n" + camera.format("porch", "/dev/video99")
    return f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n' + cameras + "".join(more)


ATTIC = '[[camera]]\nname = "attic"\nsource = "portraits"\nwidth = 320\nheight = 240\nfps = 2\n'


def published(client: Subscriber) -> list[tuple[str, str]]:
    """The daemon's messages so far, without commands and requests."""
    sent_by_test = ("/set", *(f"/request/{command}" for command in COMMANDS))
    return [
        (topic, payload) for topic, payload, _ in list(client.messages) if not topic.endswith(sent_by_test)
    ]


def kinds(client: Subscriber) -> set[str]:
    return {
        json.loads(payload)["event_type"]
        for topic, payload, _ in list(client.messages)
        if topic.endswith("/event")
    }


def request(client: Subscriber, command: str, payload: bytes, status: str) -> None:
    topic = f"{NODE}/response/{command}"
    before = len(client.payloads(topic))
    client.publish(f"{NODE}/request/{command}", payload)
    assert eventually(lambda: len(client.payloads(topic)) > before), f"no answer to {command}"
    assert json.loads(client.payloads(topic)[-1])["status"] == status


def test_everything_published_follows_the_contract(
    broker: Mosquitto,
    start: Start,
) -> None:
    with subscriber(broker.port) as client:
        page = f'[web]\nenabled = true\nlisten = "127.0.0.1:{free_port()}"\n'
        daemon = start(configuration(broker.port, ATTIC) + page)
        assert eventually(lambda: {"face_appeared", "emotion_changed"} <= kinds(client))
        request(client, "info", b'{"transaction":"one"}', "ok")
        request(client, "info", b"[", "error")
        request(client, "clear_outbox", b'{"transaction":2.5}', "ok")
        request(client, "clear_outbox", b'{"path":"/etc/passwd","transaction":true}', "error")
        request(client, "restart_camera", b'{"camera":"hall"}', "ok")
        request(client, "restart_camera", b'{"camera":"cellar","transaction":1}', "error")
        for switch, payload in (("enabled", b"OFF"), ("min_confidence", b"0.95"), ("hold", b"2")):
            client.publish(f"{NODE}/hall/{switch}/set", payload)
        client.publish(f"{NODE}/hall/hold/set", b"for ever")
        assert eventually(lambda: client.last(f"{NODE}/hall/hold/state") == "2")
        assert eventually(lambda: client.last(f"{NODE}/hall/status") == "disabled")
        daemon.config.write_text("[mqtt]\nprot = 1\n")
        request(client, "reload", b"{}", "error")
        # The attic is removed; the new keepalive needs a restart.
        later = configuration(broker.port).replace("[mqtt]", "[mqtt]\nkeepalive_s = 20")
        daemon.config.write_text(later + page)
        request(client, "reload", b'{"transaction":"again"}', "ok")
        assert eventually(lambda: client.last(f"{NODE}/attic/state") == "")
        assert daemon.stop()[0] == 0
        assert eventually(lambda: client.last(f"{NODE}/status") == "offline")
        reported = published(client)
    assert breaches(reported) == []
    assert kinds(client) == {"face_appeared", "emotion_changed", "face_left"}
    # Every kind of message was published, except movements, which need a faster camera.
    found = {schemas.name_for(topic, "emotion-edge") for topic, _ in reported} - {None}
    assert found == {name for name in SCHEMAS if not name.startswith(("set-", "request-", "movement"))}
    healths = [json.loads(payload) for topic, payload in reported if topic == f"{NODE}/health"]
    assert {health["config"]["ok"] for health in healths} == {True, False}
    (restart,) = [health["config"]["restart"] for health in healths if "restart" in health["config"]]
    assert restart == ["mqtt.keepalive_s"]
    assert "Traceback" not in daemon.log


def test_idle_daemon_publishes_only_health(
    broker: Mosquitto,
    start: Start,
    tmp_path: Path,
) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((240, 320), 128, np.uint8))
    with subscriber(broker.port) as client:
        start(f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
              f'[[camera]]\nname = "hall"\nsource = "{tmp_path / "wall.png"}"\nfps = 8\n')  # fmt: skip
        reported = ("hall/status", "hall/state", "hall/hold/state", "info")
        assert eventually(lambda: all(client.last(f"{NODE}/{topic}") for topic in reported))
        assert eventually(lambda: client.last(f"{NODE}/hall/status") == "online")
        # Wait until startup messages have arrived.
        assert eventually(lambda: time.time() - client.times[-1] > 1.5)
        mark = len(client.messages)
        assert not eventually(lambda: len(client.messages) > mark + 1, 4)
        assert {topic for topic, _, _ in client.messages[mark:]} <= {f"{NODE}/health"}


# Largest messages


def test_largest_messages_follow_the_contract() -> None:
    reported = [(message.topic, message.payload.decode()) for message in extremes()]
    assert breaches(reported) == []
    largest: dict[str, int] = {}
    for topic, payload in reported:
        name = str(schemas.name_for(topic, "emotion-edge"))
        largest[name] = max(largest.get(name, 0), len(payload.encode()))
    print(f"largest payloads in bytes, {MAX_BYTES} allowed: {largest}")
    assert max(largest.values()) <= MAX_BYTES


# Commands and requests


@pytest.mark.parametrize("switch", NAMES)
@pytest.mark.parametrize(
    "payload",
    ["ON", "off", "oN", "", "0", "1", "1.0", "1.001", "001.000", "0.5", "0000", "60", "60.0", "60.1", "59.9",
     "061", "059", "07", "-1", "+1", "1e1", " 1", "0x1", "NaN", "true", "١", ".5", "5.", "120",
     " OFF\n", "on\r\n", "+.5", "+5.", ".", "+", " ", "0.5\n", "1 2", "60.\n", "O N", "\u00a0ON"],
)  # fmt: skip
def test_switch_accepts_what_its_schema_allows(switch: str, payload: str) -> None:
    assert (breach(f"set-{switch}", payload) is None) == _accepted(lambda: parse(switch, payload.encode()))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "payload",
    ["{}", '{"transaction":"a"}', '{"transaction":null}', '{"transaction":1e15}', '{"transaction":1e17}',
     '{"transaction":[]}', '{"transaction":true,"camera":"hall"}', '{"camera":"hall"}', '{"camera":1}',
     '{"camera":"hall","path":"/"}', "[]", "1", '"info"', "", "{", '{"transaction":"' + "x" * 129 + '"}'],
)  # fmt: skip
def test_request_accepts_what_its_schema_allows(command: str, payload: str) -> None:
    taken = _accepted(lambda: parse_request(command, payload.encode()))
    assert (breach(f"request-{command}", payload) is None) == taken


def _accepted(read: Callable[[], object]) -> bool:
    try:
        read()
    except Refused:
        return False
    return True


# The schemas


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_is_valid_strict_and_self_contained(name: str) -> None:
    body = schemas.schema(name)
    Draft202012Validator.check_schema(body)
    assert body["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in _parts(body):
        if "properties" in part and part.get("type") == "object":
            assert part["additionalProperties"] is False
        assert part.get("$ref", "#").startswith("#")


def test_every_schema_has_a_topic_and_every_command_its_schemas() -> None:
    assert sorted(path.stem for path in FILES.glob("*.json")) == SCHEMAS
    for command in COMMANDS:
        assert {f"request-{command}", f"response-{command}"} <= set(SCHEMAS)
    for switch in NAMES:
        assert {f"set-{switch}", f"switch-{switch}"} <= set(SCHEMAS)


def test_shared_definitions_are_the_same_in_all_schemas() -> None:
    info, event, log = (schemas.schema(name) for name in ("info", "event", "log"))
    shared: dict[str, Any] = {"ts": info["$defs"]["ts"]}
    for name in SCHEMAS:
        for key, part in schemas.schema(name).get("$defs", {}).items():
            if (name.startswith("request-"), key) != (True, "transaction"):  # which also allows null
                assert shared.setdefault(key, part) == part, (name, key)
    assert shared["info"] == {key: info[key] for key in shared["info"]}
    replayed = log["properties"].pop("replayed")
    log["required"].remove("replayed")
    assert replayed["type"] == "boolean"
    rest = set(event) - {"title", "description"}
    assert {key: log[key] for key in rest} == {key: event[key] for key in rest}


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("emotion-edge/pi/status", "node-status"),
        ("emotion-edge/pi/hall/status", "camera-status"),
        ("emotion-edge/pi/hall/hold/set", "set-hold"),
        ("emotion-edge/pi/response/reload", "response-reload"),
        ("emotion-edge/pi/response/reboot", None),
        ("emotion-edge/pi", None),
        ("emotion-edge/pi/hall", None),
        ("emotion-edge/pi/hall/frame", None),
        ("emotion-edge/pi/hall/state/more", None),
        ("other/pi/status", None),
        ("emotion-edges/pi/status", None),
    ],
)  # fmt: skip
def test_topic_maps_to_its_schema(topic: str, name: str | None) -> None:
    assert schemas.name_for(topic, "emotion-edge") == name


def test_prefix_may_have_several_levels() -> None:
    assert schemas.name_for("house/1/pi/health", "house/1") == "health"


@pytest.mark.parametrize("word", TOPIC_WORDS)
def test_reserved_topic_words_are_not_cameras(word: str) -> None:
    assert schemas.name_for(f"emotion-edge/pi/{word}/state", "emotion-edge") is None


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("state", '{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","present":"OFF","faces":0,"emotion":"happy",'
                  '"confidence":0,"track":null,"since":"2026-03-01T12:00:00.123+00:00"}'),
        ("event", '{"event_type":"face_left","id":"' + "a" * 32 + ':1","ts":"2026-03-01T12:00:00.123+00:00",'
                  '"track":1,"from":"happy","to":"sad","confidence":0.5}'),
        ("node-status", "on"),
        ("switch-hold", "1.50"),
        ("switch-min_confidence", "1.5"),
        ("response-reload", '{"status":"ok","error":"no"}'),
        ("response-reload", '{"status":"error"}'),
        ("health", "{}"),
    ],
)  # fmt: skip
def test_contradictions_are_detected(name: str, payload: str) -> None:
    assert breach(name, payload)


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from _parts(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from _parts(inner)
