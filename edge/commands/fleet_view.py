"""What `emotion-edge fleet` shows: nodes gathered from their messages, and a table of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge.types import Incoming

HEADER = ("NODE", "STATUS", "VERSION", "MODEL", "RUNTIME", "CAMERAS", "TEMP", "QUEUE", "HEALTH")


@dataclass(frozen=True, slots=True)
class CameraRow:
    name: str
    status: str | None
    fps: float | None  # None also while it is not online


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of one node; None where it does not say."""

    node: str
    status: str | None
    version: str | None
    model: str | None
    runtime: str | None
    cameras: tuple[CameraRow, ...]
    temperature_c: float | None
    queued: int | None  # events that wait in the node
    outbox: int | None  # log messages that wait there
    health_age_s: float | None  # by the node's clock and ours


@dataclass(slots=True)
class _Node:
    status: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)  # name -> status


class Fleet:
    """The nodes below *prefix*, from what hear() is given; unknown messages are ignored."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}/"
        self._nodes: dict[str, _Node] = {}

    def hear(self, message: Incoming) -> None:
        levels = message.topic.removeprefix(self._prefix).split("/")
        node = self._nodes.setdefault(levels[0], _Node())
        match levels[1:]:
            case ["status"]:
                node.status = _word(message.payload)
            case ["info"]:
                node.info = _object(message.payload)
            case ["health"]:
                node.health = _object(message.payload)
            case [camera, "status"]:
                if (status := _word(message.payload)) is not None:
                    node.cameras[camera] = status
                else:  # cleared: the node no longer has that camera
                    node.cameras.pop(camera, None)
        if node == _Node():
            del self._nodes[levels[0]]

    def rows(self, wall: float) -> list[Row]:
        """Every node by name; *wall* is now in Unix s."""
        return [_row(name, node, wall) for name, node in sorted(self._nodes.items())]


def table(rows: list[Row]) -> str:
    """*rows* for people: a line for each camera of a node."""
    lines: list[tuple[str, ...]] = [HEADER]
    for row in rows:
        cameras = [_camera(camera) for camera in row.cameras] or [""]
        waiting = "" if row.outbox is None else f"{row.queued or 0}+{row.outbox}"
        temperature = "" if row.temperature_c is None else f"{row.temperature_c:.0f} °C"
        age = "never" if row.health_age_s is None else f"{row.health_age_s:.0f} s ago"
        known = (row.node, row.status or "?", row.version or "", row.model or "", row.runtime or "")
        lines.append((*known, cameras[0], temperature, waiting, age))
        lines += [("", "", "", "", "", camera, "", "", "") for camera in cameras[1:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _camera(camera: CameraRow) -> str:
    rate = "" if camera.fps is None else f" {camera.fps:.1f} fps"
    return f"{camera.name} {camera.status or '?'}{rate}"


def _camera_row(name: str, status: str | None, rates: Any) -> CameraRow:
    # The rate is from the last health, perhaps from before it went offline.
    return CameraRow(_plain(name), status, _number(rates, name, "fps") if status == "online" else None)


def _row(name: str, node: _Node, wall: float) -> Row:
    rates = _at(node.health, "cameras", kind=dict) or {}
    configured = _at(node.info, "cameras", kind=list) or []
    names = dict.fromkeys([*(it for it in configured if isinstance(it, str)), *sorted(node.cameras)])
    return Row(
        node=_plain(name),
        status=node.status,
        version=_text(node.info, "version"),
        model=_text(node.info, "model", "name"),
        runtime=_text(node.info, "runtime", "name"),
        cameras=tuple(_camera_row(it, node.cameras.get(it), rates) for it in names),
        temperature_c=_number(node.health, "temperature_c"),
        queued=_at(node.health, "mqtt", "queued", kind=int),
        outbox=_at(node.health, "mqtt", "outbox", "depth", kind=int),
        health_age_s=_age(_text(node.health, "ts"), wall),
    )


# A payload is untrusted: of any type, perhaps with escape sequences for the terminal.


def _plain(text: str) -> str:
    return text[:80] if text.isprintable() else ascii(text[:80])


def _word(payload: bytes) -> str | None:
    """A payload that is a plain word; None where it is empty: the topic was cleared."""
    return _plain(payload.decode(errors="replace")) or None


def _object(payload: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _at(body: Any, *keys: str, kind: type[Any]) -> Any:
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body if isinstance(body, kind) and not isinstance(body, bool) else None


def _text(body: Any, *keys: str) -> str | None:
    text = _at(body, *keys, kind=str)
    return None if text is None else _plain(text)


def _number(body: Any, *keys: str) -> float | None:
    number = _at(body, *keys, kind=(int, float))  # type: ignore[arg-type]
    return float(number) if number is not None and math.isfinite(number) else None


def _age(timestamp: str | None, wall: float) -> float | None:
    if timestamp is None:
        return None
    try:
        return max(0.0, round(wall - datetime.fromisoformat(timestamp).timestamp(), 1))
    except (ValueError, OverflowError):
        return None
