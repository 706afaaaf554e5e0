"""USB and other V4L2 cameras: which there are, and luma from one of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import numpy as np

from edge.host.places import content_of
from edge.sources.opencv import Stream
from edge.types import EdgeError, Image

_SYSFS = Path("/sys/class/video4linux")
_DEV = Path("/dev")
# Names that drivers give nodes of codecs, and of raw sensor data or another program's pictures (libcamera's).
_NO_CAMERA = re.compile(r"codec|[-_]v?(dec|enc)\b|(de|en)coder$|bcm2835-isp|unicam|rp1-cfe|pispbe", re.I)
_MODEL = Path("/proc/device-tree/model")
FIRST_CODEC = 10  # on a Raspberry Pi; to open one may hang


def capture_devices(sysfs: Path = _SYSFS, dev: Path = _DEV, model: Path = _MODEL) -> list[tuple[str, str]]:
    """("/dev/video0", the driver's name) of the nodes that give pictures, by number.

    None is opened: of a camera's nodes the first gives pictures (index 0), the others metadata; codecs and
    raw sensor data go by their names. On a Raspberry Pi, as *model* says, all from number 10 on are codecs.
    """
    nodes = {int(node.name[5:]): node for node in sysfs.glob("video*") if node.name[5:].isdigit()}
    devices = []
    for number, node in sorted(nodes.items()):
        name, first = content_of(node / "name"), content_of(node / "index") == "0"
        codec = number >= FIRST_CODEC and is_raspberry_pi(model)
        if first and not codec and not _NO_CAMERA.search(name) and (dev / node.name).exists():
            devices.append((str(dev / node.name), name))
    return devices


def is_raspberry_pi(model: Path = _MODEL) -> bool:
    """Whether the device tree's *model* says so."""
    return "Raspberry Pi" in content_of(model)


class Camera(Stream):
    """The V4L2 camera at *path*, as luma where the driver's format contains it.

    Asked for is YUYV, and MJPEG where YUYV cannot give *width* x *height* at *fps* (a USB 2 camera beyond
    640x480). The driver may choose another size. At most *fps* pictures a second (None: all). EdgeError when
    it does not open, and from read() when it is unplugged or gives nothing for 10 s (OpenCV's own time-out).
    """

    stopped = "unplugged?"

    def __init__(self, path: str, *, width: int = 640, height: int = 480, fps: float | None = None) -> None:
        if not os.path.exists(path):
            raise EdgeError(f"{path}: no such device; is the camera plugged in?")
        if not os.access(path, os.R_OK | os.W_OK):
            raise EdgeError(f"{path}: permission denied; add the user to the group 'video'")
        refused = "the driver refuses; is another program using it?"
        super().__init__(path, path, cv2.CAP_V4L2, refused, fps=fps)
        wanted_fps = fps or 15.0
        capture = self._capture
        for fourcc in ("YUYV", "MJPG"):
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            capture.set(cv2.CAP_PROP_FPS, wanted_fps)
            given = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
            given_fps = capture.get(cv2.CAP_PROP_FPS)
            # Drivers that do not know their rate say 0 or -1.
            if given == (width, height) and not 0 < given_fps < 0.9 * wanted_fps:
                break
        # The format in force, not the one asked for. Unknown ones are left to OpenCV, as BGR.
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        self._fourcc = code.to_bytes(4, "little").decode("latin-1") if code >= 0 else ""
        if self._fourcc in RAW_FORMATS:
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        self._size = (
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        )  # fmt: skip
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)  # a picture that waits in the driver is an old one

    def _picture(self, raw: Image) -> Image | None:
        return picture(raw, self._fourcc, *self._size)


RAW_FORMATS = frozenset({"YUYV", "NV12", "NV21", "YU12", "YV12", "GREY", "MJPG", "JPEG"})


def picture(raw: Image, fourcc: str, width: int, height: int) -> Image | None:
    """(height, width) luma of *raw*, as the V4L2 format *fourcc* packs it; None when it is damaged.

    Only the order of the bytes is relied on: OpenCV shapes these buffers differently from version to version.
    A format that is not in RAW_FORMATS was converted by OpenCV and passes as BGR.
    """
    if fourcc not in RAW_FORMATS:
        return raw
    if fourcc in ("MJPG", "JPEG"):
        decoded = cv2.imdecode(raw.reshape(-1), cv2.IMREAD_GRAYSCALE)
        return None if decoded is None else np.asarray(decoded, np.uint8)
    buffer = raw.reshape(-1)
    step = 2 if fourcc == "YUYV" else 1  # Y U Y V …, or the whole luma first
    if buffer.size < width * height * step:
        return None
    return np.ascontiguousarray(buffer[: width * height * step : step].reshape(height, width))
