"""What each payload looks like: JSON Schemas (2020-12), strict, one file each, none needs another.

Nothing at run time depends on them: they are for users of the topics, and the tests check every message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from edge.types import LABELS

# Levels below the prefix, + for any name -> schema. Of type "string": the payload is that text, not JSON.
TOPICS: Mapping[str, str] = {
    "+/status": "node-status",
    "+/info": "info",
    "+/health": "health",
    "+/preview": "preview",
    "+/+/status": "camera-status",
    "+/+/state": "state",
    "+/+/faces": "faces",
    "+/+/event": "event",
    "+/+/log": "log",
    "+/+/movement": "movement",
    "+/+/enabled/state": "switch-enabled",
    "+/+/min_confidence/state": "switch-min_confidence",
    "+/+/hold/state": "switch-hold",
    "+/+/enabled/set": "set-enabled",
    "+/+/min_confidence/set": "set-min_confidence",
    "+/+/hold/set": "set-hold",
    "+/request/info": "request-info",
    "+/request/reload": "request-reload",
    "+/request/clear_outbox": "request-clear_outbox",
    "+/request/restart_camera": "request-restart_camera",
    "+/response/info": "response-info",
    "+/response/reload": "response-reload",
    "+/response/clear_outbox": "response-clear_outbox",
    "+/response/restart_camera": "response-restart_camera",
}

_NODE_LEVELS = {pattern.split("/")[1] for pattern in TOPICS} - {"+"}  # no camera may have these names


def name_for(topic: str, prefix: str) -> str | None:
    """The schema that payloads on *topic* keep to; None where the contract has no such topic."""
    if not topic.startswith(f"{prefix}/"):
        return None
    node, *levels = topic.removeprefix(f"{prefix}/").split("/")
    if levels and levels[0] not in _NODE_LEVELS:
        levels[0] = "+"
    return TOPICS.get("/".join(("+" if node else "", *levels)))


def schema(name: str, labels: Sequence[str] = LABELS) -> dict[str, Any]:
    """The schema *name*, one of TOPICS' values, of a node whose model distinguishes *labels*."""
    content: dict[str, Any] = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_bytes())
    if tuple(labels) != LABELS:
        content = _relabelled(content, labels)
    return content


def _relabelled(value: Any, labels: Sequence[str]) -> Any:
    """*value* with *labels* wherever it lists the seven: as values, or as keys of an object."""
    if isinstance(value, list):
        found = [_relabelled(one, labels) for one in value]
        if any(tuple(found[at : at + len(LABELS)]) == LABELS for at in range(len(found))):
            at = found.index(LABELS[0])
            found[at : at + len(LABELS)] = labels
        return found
    if isinstance(value, dict):
        if tuple(value) == LABELS:
            return dict.fromkeys(labels, next(iter(value.values())))
        return {key: _relabelled(one, labels) for key, one in value.items()}
    return value
