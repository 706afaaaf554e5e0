"""The file that remembers which retained topics a node has told, so that the next run can take them back."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from edge.host.disk import write_whole
from edge.mqtt.discovery import Told

log = logging.getLogger(__name__)

_MAX_FILE_BYTES = 1 << 20


def read_told(path: Path, node: str) -> Told:
    """What *path* says that *node* told; nothing where there is no file or, with a warning, a damaged one."""
    return dict(_read(path).get(node, {}))


def write_told(path: Path, node: str, told: Told) -> None:
    """Remember *told* of *node* in *path*, whole or not at all; OSError where it cannot be written.

    Other nodes' entries stay: a machine may run two daemons as one user.
    """
    nodes = {**_read(path), node: told}
    write_whole(path, json.dumps({"v": 1, "nodes": nodes}))


def _read(path: Path) -> dict[str, Told]:
    try:
        with path.open("rb") as file:
            return _checked(json.loads(file.read(_MAX_FILE_BYTES)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        log.warning("%s: %s; what was told before is not taken back", path, str(reason).lower())
        return {}


def _checked(content: Any) -> dict[str, Told]:
    """ValueError where *content* is not what write_told() wrote."""
    match content:
        case {"v": 1, "nodes": dict() as nodes} if all(map(_is_told, nodes.values())):
            return nodes
    raise ValueError("not the topics of this version")


def _is_told(told: Any) -> bool:
    return isinstance(told, dict) and all(
        topic
        and not set("+#\0") & set(topic)
        and isinstance(entities, dict)
        and all(isinstance(platform, str) for platform in entities.values())
        for topic, entities in told.items()
    )
