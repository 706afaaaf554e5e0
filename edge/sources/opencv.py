"""What OpenCV opens: GStreamer pipelines here, USB cameras in v4l2.py."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import cv2
import numpy as np
from cv2 import videoio_registry

from edge.host.opencv_log import SILENT, log_level
from edge.host.redaction import masked
from edge.sources.pace import RateLimit
from edge.types import EdgeError, Image

# OpenCV's own messages stay off the user's terminal: what matters is in our errors.
if "OPENCV_LOG_LEVEL" not in os.environ:
    log_level(SILENT)


class Handle:
    """A cv2.VideoCapture that another thread may interrupt.

    Releasing it under a reader crashes the process: only the reader closes it. *name* begins
    each error; EdgeError "<name>: <refused>" when it does not open.
    """

    def __init__(self, name: str, source: str, backend: int, options: Sequence[int], refused: str) -> None:
        self.name = name
        self._interrupted = False
        self._capture = cv2.VideoCapture(source, backend, list(options))
        if not self._capture.isOpened():
            raise EdgeError(f"{name}: {refused}")

    @property
    def capture(self) -> cv2.VideoCapture:
        """For the next call to it; EdgeError once interrupted or closed."""
        if self._interrupted:
            raise EdgeError(f"{self.name}: closed while it was read")
        return self._capture

    def interrupt(self) -> None:
        self._interrupted = True

    def close(self) -> None:
        self._interrupted = True
        self._capture.release()


class Stream:
    """A camera that OpenCV reads at the camera's own pace, at most *fps* pictures a second.

    It never ends regularly: when the sender stops, read() raises EdgeError, and it has to be opened again.
    """

    still = False

    def __init__(self, handle: Handle, *, fps: float | None = None) -> None:
        self._handle = handle
        self._limit = RateLimit(fps)

    def read(self) -> Image:
        while self._handle.capture.grab():
            if not self._limit.passes(time.monotonic()):
                continue
            decoded, image = self._handle.capture.retrieve()
            if decoded:
                return np.asarray(image, np.uint8)
        raise EdgeError(f"{self._handle.name}: no picture came; the sender stopped or the network fails")

    def interrupt(self) -> None:
        self._handle.interrupt()

    def close(self) -> None:
        self._handle.close()


def gstreamer(pipeline: str, *, fps: float | None = None) -> Stream:
    """The pictures of a GStreamer *pipeline* that ends in appsink (Jetson CSI cameras)."""
    name = masked(pipeline)
    if not videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise EdgeError(
            f"{name}: this OpenCV is built without GStreamer; use the system's (Jetson: python3-opencv "
            "and a venv with --system-site-packages)"
        )
    return Stream(Handle(name, pipeline, cv2.CAP_GSTREAMER, [], "the pipeline does not start"), fps=fps)
