"""What each payload looks like: JSON Schemas (2020-12), strict, one file each, none needs another.

docs/mqtt.md describes the same in words. Nothing at run time depends on them: they are for whoever reads or
writes these topics, and the tests hold every message of the daemon to them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

# Levels below the prefix, + for any name -> schema. Of type "string": the payload is that text, not JSON.
TOPICS: Mapping[str, str] = {
    "+/status": "node-status",
    "+/info": "info",
    "+/health": "health",
    "+/+/status": "camera-status",
    "+/+/state": "state",
    "+/+/faces": "faces",
    "+/+/event": "event",
    "+/+/log": "log",
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

_NODE_LEVELS = {pattern.split("/")[1] for pattern in TOPICS} - {"+"}  # where no camera's name may stand


def name_for(topic: str, prefix: str) -> str | None:
    """The schema that payloads on *topic* keep to; None where the contract has no such topic."""
    if not topic.startswith(f"{prefix}/"):
        return None
    node, *levels = topic.removeprefix(f"{prefix}/").split("/")
    if levels and levels[0] not in _NODE_LEVELS:
        levels[0] = "+"
    return TOPICS.get("/".join(("+" if node else "", *levels)))


def schema(name: str) -> dict[str, Any]:
    """The schema *name*, one of TOPICS' values."""
    content: dict[str, Any] = json.loads(resources.files(__name__).joinpath(f"{name}.json").read_bytes())
    return content
