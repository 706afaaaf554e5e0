"""What docs/mqtt.md promises, held against messages: each by its topic."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from edge.mqtt import schemas
from tests.home_assistant_rules import entities

MAX_BYTES = 2048


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schemas.schema(name))


def breach(name: str, payload: str) -> str | None:
    """How *payload* differs from what schema *name* asks for; None where it does not."""
    validator = _validator(name)
    body: Any = payload
    if validator.schema.get("type") != "string":
        try:
            body = json.loads(payload)
        except ValueError:
            return f"{name}: not JSON: {payload}"
    error = next(iter(validator.iter_errors(body)), None)
    return error and f"{name}: {error.json_path}: {error.message}"


def breaches(messages: Iterable[tuple[str, str]], prefix: str = "emotion-edge") -> list[str]:
    """What in *messages*, (topic, payload) each, the contract does not know; empty payloads take back."""
    found = []
    for topic, payload in messages:
        if topic.startswith("homeassistant/") and topic.endswith("/config"):
            if payload:
                entities(topic, payload.encode())  # its own rules
            continue
        name = schemas.name_for(topic, prefix)
        if name is None:
            found.append(f"{topic}: no such topic")
        elif len(payload.encode()) > MAX_BYTES:
            found.append(f"{topic}: {len(payload.encode())} bytes")
        elif payload and (told := breach(name, payload)):
            found.append(f"{topic}: {told}")
    return found
