"""OpenCV's own log level, in any version."""

from __future__ import annotations

from typing import Any

import cv2

SILENT = 0  # LOG_LEVEL_SILENT, which only newer versions name


def log_level(level: int) -> int:
    """Set OpenCV's log level; the level before."""
    # Seen: 4.14 has cv2.utils.logging; 4.11, the last that works with numpy 1, has the two in cv2 itself.
    home: Any = getattr(cv2.utils, "logging", cv2)
    before = int(home.getLogLevel())
    home.setLogLevel(level)
    return before
