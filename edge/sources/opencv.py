"""What OpenCV opens: video files and network streams (FFmpeg), GStreamer pipelines."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from cv2 import videoio_registry

from edge.host.opencv_log import SILENT, log_level
from edge.secrecy import masked
from edge.sources.pace import Pace, RateLimit
from edge.types import EdgeError, EndOfStreamError, Image

# OpenCV's and FFmpeg's own messages stay off the user's terminal: what matters is in our errors.
# FFmpeg's level is read once, when the first video is opened; -8 is AV_LOG_QUIET.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# RTSP over TCP where the camera can: what OpenCV asks by itself, but 4.11 (Bookworm's) asks nothing, and most
# cameras' UDP does not come through a firewall.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp")
if "OPENCV_LOG_LEVEL" not in os.environ:
    log_level(SILENT)

# OpenCV waits 30 s by itself, and a handle that stalled stays dead: it is reopened. With RTSP OpenCV
# tries a second time: 8 s (measured), by when the capture's watch has given the handle up.
OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 4.0
# A file's picture that stands longer than this would be taken for a stalled camera.
_LONGEST_GAP_S = 4.0
# One thread decodes 1080p H.264 in 6 ms; each further one holds pictures of its own.
_DECODER_THREADS = 1


class Handle:
    """A cv2.VideoCapture that another thread may interrupt.

    To release it under a reader would crash the process: only the reader closes it. *name* stands
    before each error; EdgeError "<name>: <refused>" when it does not open.
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


class VideoFile:
    """The video in *path*, played once (or again and again) at its own pace, at most *fps* pictures a second.

    Nothing is left out for a slow reader: that is the capture thread's business. With *paced* false
    each picture comes as soon as it is decoded. EdgeError when FFmpeg finds no video in it.
    """

    still = False

    def __init__(
        self, path: Path, *, fps: float | None = None, loop: bool = False, paced: bool = True
    ) -> None:
        self._path = path
        self._loop = loop
        self._pace = Pace(paced=paced)
        self._limit = RateLimit(fps)
        self._offset = 0.0  # s, of this turn's first picture since the first turn's
        self._stamp = 0.0  # s, of the last picture
        self._open()

    def read(self) -> Image:
        while True:
            grabbed = self._handle.capture.grab()
            stamp = self._handle.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not grabbed:
                self._rewind()
                continue
            self._place(stamp)
            if not self._limit.passes(self._stamp):
                continue
            decoded, image = self._handle.capture.retrieve()
            if not decoded:  # one damaged picture is no reason to stop
                continue
            self._pace.wait(self._stamp)
            return np.asarray(image, np.uint8)

    def interrupt(self) -> None:
        self._pace.interrupt()
        self._handle.interrupt()

    def close(self) -> None:
        self._pace.interrupt()
        self._handle.close()

    def _open(self) -> None:
        options = [cv2.CAP_PROP_N_THREADS, _DECODER_THREADS]
        # An absolute path: FFmpeg takes what stands before a colon for a protocol.
        self._handle = Handle(
            str(self._path),
            str(self._path.absolute()),
            cv2.CAP_FFMPEG,
            options,
            "no video that FFmpeg can read",
        )
        fps = self._handle.capture.get(cv2.CAP_PROP_FPS)
        self._period = 1 / fps if 0 < fps <= 1000 else 0.04
        self._first: float | None = None

    def _place(self, stamp: float) -> None:
        """Put the picture that the file stamps *stamp* on the time line, which never falls or halts."""
        if self._first is None:
            self._first = stamp
            return
        gap = self._offset + stamp - self._first - self._stamp
        if gap <= 0:  # some containers stamp nothing, or all alike
            gap = self._period
        if gap > _LONGEST_GAP_S:
            self._offset -= gap - _LONGEST_GAP_S
            gap = _LONGEST_GAP_S
        self._stamp += gap

    def _rewind(self) -> None:
        if self._first is None:
            raise EdgeError(f"{self._path}: no picture in it")
        if not self._loop:
            self._pace.wait(self._stamp + self._period)  # the last picture has its time too
            raise EndOfStreamError(f"{self._path}: played to its end")
        # Opened anew and not sought: not every container can be sought in.
        self._handle.close()
        self._open()
        self._stamp += self._period
        self._offset = self._stamp


class Stream:
    """A camera that OpenCV reads at the camera's own pace, at most *fps* pictures a second.

    It never ends regularly: when nothing comes for READ_TIMEOUT_S (network) or the sender stops,
    read() raises EdgeError, and the stream has to be opened anew.
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


def network(address: str, *, fps: float | None = None) -> Stream:
    """The stream at *address* (rtsp, rtsps, http, https); RTSP over TCP where it can."""
    options = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(OPEN_TIMEOUT_S * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(READ_TIMEOUT_S * 1000),
        cv2.CAP_PROP_N_THREADS, _DECODER_THREADS,
    ]  # fmt: skip
    refused = "no stream; is the camera on, the address and the password right?"
    return Stream(Handle(masked(address), address, cv2.CAP_FFMPEG, options, refused), fps=fps)


def gstreamer(pipeline: str, *, fps: float | None = None) -> Stream:
    """The pictures of a GStreamer *pipeline* that ends in appsink (Jetson CSI cameras)."""
    name = masked(pipeline)
    if not videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise EdgeError(
            f"{name}: this OpenCV is built without GStreamer; use the system's (Jetson: python3-opencv "
            "and a venv with --system-site-packages)"
        )
    return Stream(Handle(name, pipeline, cv2.CAP_GSTREAMER, [], "the pipeline does not start"), fps=fps)
