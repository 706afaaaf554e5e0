"""Raspberry Pi cameras through picamera2: the luma plane, which costs nothing."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np

from edge.types import EdgeError, Image

_READ_TIMEOUT_S = 5.0


def installed() -> bool:
    """Whether picamera2 is there; it is not imported, because that takes a second."""
    return importlib.util.find_spec("picamera2") is not None


def cameras() -> list[tuple[str, str]]:
    """(source, sensor's name) of each camera on the board's own connectors; empty without picamera2.

    libcamera's USB cameras are left to V4L2, which reads them in more formats.
    """
    if not installed():
        return []
    try:
        infos = _picamera2().global_camera_info()
    except (ImportError, RuntimeError, OSError):  # installed, but unusable on this machine
        return []
    return [
        (f"picamera:{info['Num']}", str(info.get("Model", "camera")))
        for info in infos
        if "/usb" not in str(info.get("Id", "")).lower()
    ]


def _picamera2() -> Any:
    # libcamera logs to stderr.
    os.environ.setdefault("LIBCAMERA_LOG_LEVELS", "*:ERROR")
    from picamera2 import Picamera2

    return Picamera2


class PiCamera:
    """Camera *number* of the board, *width* x *height* luma; the sensor runs at *fps* pictures a second.

    EdgeError where picamera2 or the camera is missing, and from read() when no picture comes for 5 s.
    """

    still = False

    def __init__(self, number: int = 0, *, width: int = 640, height: int = 480, fps: float = 15.0) -> None:
        self._name = f"picamera:{number}"
        try:
            picamera2 = _picamera2()
        except ImportError as error:
            raise EdgeError(
                f"{self._name}: picamera2 not found ({error}); apt install python3-picamera2 "
                "(a venv sees it if made with --system-site-packages)"
            ) from error
        self._interrupted = False
        self._camera: Any = None
        try:
            self._camera = picamera2(number)
            # YUV420: (height * 3 / 2) rows of `stride` bytes, the first `height` of them luma.
            configuration = self._camera.create_video_configuration(
                main={"size": (width, height), "format": "YUV420"}, controls={"FrameRate": fps}
            )
            self._camera.configure(configuration)
            # libcamera may have chosen another size.
            self._width, self._height = self._camera.camera_configuration()["main"]["size"]
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            self.close()
            raise EdgeError(
                f"{self._name}: {str(error) or type(error).__name__}; is it connected (rpicam-hello "
                "--list-cameras) and free?"
            ) from error

    def read(self) -> Image:
        if self._interrupted:
            raise EdgeError(f"{self._name}: closed while it was read")
        try:
            planes = self._camera.capture_array("main", wait=_READ_TIMEOUT_S)
        except (RuntimeError, OSError, TimeoutError) as error:
            raise EdgeError(f"{self._name}: no picture came ({error or 'timed out'})") from error
        # A copy without the padding at the rows' ends; the color planes are let go.
        return np.ascontiguousarray(planes[: self._height, : self._width], np.uint8)

    def interrupt(self) -> None:
        self._interrupted = True

    def close(self) -> None:
        self._interrupted = True
        if (camera := self._camera) is not None:
            self._camera = None
            camera.close()  # stops it as well
