"""The file that remembers which retained topics a node has told, so that the next run can take them back."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from edge.homeassistant.discovery import Told
from edge.host.disk import read_whole

log = logging.getLogger(__name__)

_MAX_FILE_BYTES = 1 << 20


def read_told(path: Path) -> Told:
    """What *path* says was told; nothing where there is no file or, with a warning, none that can be used."""
    try:
        return _checked(json.loads(read_whole(path, _MAX_FILE_BYTES)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        log.warning("%s: %s; a camera that went while the daemon was off stays in Home Assistant", path,
                    str(reason).lower())  # fmt: skip
        return {}


def told_text(told: Told) -> str:
    """What read_told() reads."""
    return json.dumps({"v": 2, "topics": told})


def _checked(content: Any) -> Told:
    """ValueError where *content* is not what told_text() gave."""
    match content:
        case {"v": 2, "topics": dict() as told} if _is_told(told):
            return told
    raise ValueError("not the topics of this version")


def _is_told(told: Any) -> bool:
    return isinstance(told, dict) and all(
        topic
        and not set("+#\0") & set(topic)
        and isinstance(entities, dict)
        and all(isinstance(platform, str) for platform in entities.values())
        for topic, entities in told.items()
    )
