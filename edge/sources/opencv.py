"""What OpenCV opens: GStreamer pipelines here, USB cameras in v4l2.py."""

from __future__ import annotations

import os
import time

import cv2
import numpy as np
from cv2 import videoio_registry

from edge.host.quiet import SILENT, log_level
from edge.host.redaction import masked
from edge.sources.pace import RateLimit
from edge.types import EdgeError, Image

# OpenCV's own messages stay off the user's terminal: what matters is in our errors.
if "OPENCV_LOG_LEVEL" not in os.environ:
    log_level(SILENT)


class Stream:
    """What OpenCV reads from *source* at its own pace, at most *fps* pictures a second (None: all).

    It never ends regularly: when the sender stops, read() raises EdgeError. EdgeError "<name>: <refused>"
    when it does not open. Only the reader closes it: releasing it under a reader crashes the process.
    """

    still = False
    stopped = "the sender stopped or the network fails"  # why no picture came

    def __init__(self, name: str, source: str, backend: int, refused: str, *, fps: float | None) -> None:
        self._name = name
        self._interrupted = False
        self._limit = RateLimit(fps)
        self._capture = cv2.VideoCapture(source, backend, [])
        if not self._capture.isOpened():
            raise EdgeError(f"{name}: {refused}")

    def read(self) -> Image:
        while self._opened().grab():
            if not self._limit.passes(time.monotonic()):
                continue
            filled, raw = self._opened().retrieve()
            image = self._picture(np.asarray(raw, np.uint8)) if filled else None
            if image is not None:
                return image
        raise EdgeError(f"{self._name}: no picture came; {self.stopped}")

    def interrupt(self) -> None:
        self._interrupted = True

    def close(self) -> None:
        self._interrupted = True
        self._capture.release()

    def _opened(self) -> cv2.VideoCapture:
        """For the next call to it; EdgeError once interrupted or closed."""
        if self._interrupted:
            raise EdgeError(f"{self._name}: closed while it was read")
        return self._capture

    def _picture(self, raw: Image) -> Image | None:
        """The picture in what OpenCV gives; None where it is damaged."""
        return raw


def gstreamer(pipeline: str, *, fps: float | None = None) -> Stream:
    """The pictures of a GStreamer *pipeline* that ends in appsink (Jetson CSI cameras)."""
    name = masked(pipeline)
    if not videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise EdgeError(
            f"{name}: this OpenCV is built without GStreamer; use the system's (Jetson: python3-opencv "
            "and a venv with --system-site-packages)"
        )
    return Stream(name, pipeline, cv2.CAP_GSTREAMER, "the pipeline does not start", fps=fps)
