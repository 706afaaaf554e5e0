"""Checks messages against the contract in docs/mqtt.md, by topic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from edge.contract import messages, schemas
from edge.contract.messages import CameraHealth, ConfigHealth, Health, Info, MicroHealth, RateHealth, Topics
from edge.contract.requests import COMMANDS
from edge.mqtt.health import MqttHealth, OutboxHealth
from edge.mqtt.limits import LimitsHealth
from edge.node.announce import Announcer, EventIds
from edge.node.control import MAX_ERROR_BYTES
from edge.node.reload import MAX_ERROR
from edge.types import LABELS, Box, Event, Face, Message, Movement, Track
from tests.fakes import frame
from tests.home_assistant_rules import entities
from tests.sink import node_status

MAX_BYTES = 2048
NOON = 1772366400.123
MICRO = MicroHealth("measuring", None, None, 0, 8, 10**9, 10**6, 10**9)
TOPICS = Topics("emotion-edge", "n" * 64)
CAMERA = "c" * 64
WORDS = "the reason in as many words as there may be of it, and not one of them more than that"


@cache
def _validator(name: str, labels: tuple[str, ...]) -> Draft202012Validator:
    return Draft202012Validator(schemas.schema(name, labels))


def breach(name: str, payload: str, labels: tuple[str, ...] = LABELS) -> str | None:
    """How *payload* violates schema *name*; None if it does not."""
    validator = _validator(name, labels)
    body: Any = payload
    if validator.schema.get("type") != "string":
        try:
            body = json.loads(payload)
        except ValueError:
            return f"{name}: not JSON: {payload}"
    error = next(iter(validator.iter_errors(body)), None)
    return error and f"{name}: {error.json_path}: {error.message}"


def breaches(
    reported: Iterable[tuple[str, str]], prefix: str = "emotion-edge", labels: tuple[str, ...] = LABELS
) -> list[str]:
    """Violations of the contract in *reported*, (topic, payload) each; an empty payload clears a topic."""
    found = []
    for topic, payload in reported:
        if topic.startswith("homeassistant/") and topic.endswith("/config"):
            if payload:
                entities(topic, payload.encode())  # checked by Home Assistant's rules
            continue
        name = schemas.name_for(topic, prefix)
        if name is None:
            found.append(f"{topic}: no such topic")
        elif len(payload.encode()) > MAX_BYTES:
            found.append(f"{topic}: {len(payload.encode())} bytes")
        elif payload and (why := breach(name, payload, labels)):
            found.append(f"{topic}: {why}")
    return found


def tracks(count: int, emotion: str = "surprise") -> list[Track]:
    face = Face(Box(123.456, 67.89, 111.111, 99.999), 0.98765)
    scores = tuple(0.1234 for _ in LABELS)
    return [
        Track(100_000 + number, face, 3.0, 7.0, announced=True, scores=scores, emotion=emotion)
        for number in range(count)
    ]


def extremes() -> Iterator[Message]:
    """Every kind of message, at its largest for eight faces and three cameras."""
    ids = EventIds()
    eight = tracks(8)
    announcer = Announcer(CAMERA, TOPICS, 10.0, ids, started=0.0)
    events = [
        Event("emotion_changed", CAMERA, track.number, "disgust", "surprise", 0.12345, NOON)
        for track in eight
    ]
    yield from announcer.frame(frame(10.0, seq=10**9, camera=CAMERA), eight, events)
    yield from announcer.state([], [], 30.0, NOON)
    yield from announcer.frame(frame(40.0, camera=CAMERA), tracks(8, "uncertain"), [])
    for state in ("online", "offline", "stale", "disabled"):
        yield messages.camera_status(TOPICS, CAMERA, state)
    names = [f"camera-at-the-back-{number}" for number in range(3)]
    yield messages.info(
        TOPICS,
        Info("0.1.0", WORDS, "ab" * 32, True, LABELS, WORDS, WORDS, WORDS, WORDS, names),
        NOON,
    )
    percentiles = (1234.567, 12345.678)
    stages = dict.fromkeys(("detect", "track", "classify", "report"), percentiles)
    camera = CameraHealth(119.94, 1234.567, stages, 10**9, percentiles, 10**9)
    outbox = OutboxHealth(100_000, 64 * 2**20, 10**9, 10**3, f"{WORDS}; kept in memory")
    yield messages.health(
        TOPICS,
        Health(
            1e9, 4096.04, 101.23, ("under-voltage", "frequency capped", "throttled"),
            dict.fromkeys(names, camera), MqttHealth(10**6, 1000, 10**9, outbox, True, True),
            config=ConfigHealth("e" * MAX_ERROR, ("mqtt.host", "mqtt.port", "outbox.max_rows")),
            rate=RateHealth(0.2, "throttled"),
        ),
        NOON,
    )  # fmt: skip
    limited = MqttHealth(limits=LimitsHealth(2048, False, 0, 10**4, ("t" * 200,) * 3))
    yield messages.health(
        TOPICS,
        Health(0.0, 0.0, cameras={CAMERA: CameraHealth(0, None, {}, 0, micro=MICRO)}, mqtt=limited),
        NOON,
    )
    for name, value in (("enabled", "OFF"), ("min_confidence", "0.123"), ("hold", "59.999")):
        yield messages.switch(TOPICS, CAMERA, name, value)
    yield messages.movement(
        TOPICS, Movement(CAMERA, 100_000, "mouth_right", NOON, NOON, NOON, 0.0123456, NOON)
    )
    yield node_status(TOPICS, True)
    yield messages.preview(TOPICS, False)
    for command in COMMANDS:
        body = {"status": "error", "error": "e" * MAX_ERROR_BYTES, "transaction": "t" * 128}
        yield messages.response(TOPICS, command, body)
