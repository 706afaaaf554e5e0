"""USB and other V4L2 cameras: which there are, and luma from one of them."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edge.sources.opencv import Handle
from edge.sources.pace import RateLimit
from edge.types import EdgeError, Image

_SYSFS = Path("/sys/class/video4linux")
_DEV = Path("/dev")

# linux/videodev2.h: struct v4l2_capability and VIDIOC_QUERYCAP = _IOR('V', 0, struct v4l2_capability).
_CAPABILITY = struct.Struct("=16s32s32sIII3I")  # driver, card, bus, version, capabilities, of this node
_QUERYCAP = (2 << 30) | (_CAPABILITY.size << 16) | (ord("V") << 8) | 0
_VIDEO_CAPTURE = 0x00000001
_VIDEO_CAPTURE_MPLANE = 0x00001000
_STREAMING = 0x04000000
_DEVICE_CAPS = 0x80000000
# Nodes of the Raspberry Pi that stream, but raw sensor data or another program's pictures: libcamera's.
_LIBCAMERA_DRIVERS = (b"bcm2835-isp", b"bcm2835-codec", b"unicam", b"rp1-cfe", b"pispbe")
_MODEL = Path("/proc/device-tree/model")
FIRST_CODEC = 10  # on a Raspberry Pi; to open one may hang


class Device(NamedTuple):
    """A V4L2 node that gives pictures."""

    path: str  # "/dev/video0"
    name: str  # as the driver calls it


def capture_devices(sysfs: Path = _SYSFS, dev: Path = _DEV, model: Path = _MODEL) -> list[Device]:
    """The nodes that give pictures, by number; nodes for metadata, output and codecs are left out.

    On a Raspberry Pi, as *model* says, those from number 10 on are not even opened.
    A node that may not be opened is listed too: the error on use says why.
    """
    nodes = [node for node in sysfs.glob("video*") if re.fullmatch(r"video\d+", node.name)]
    if is_raspberry_pi(model):
        nodes = [node for node in nodes if int(node.name[5:]) < FIRST_CODEC]
    devices = []
    for node in sorted(nodes, key=lambda node: int(node.name[5:])):
        try:
            name = (node / "name").read_text(errors="replace").strip()
        except OSError:
            continue  # unplugged since it was listed
        path = dev / node.name
        if _captures(path):
            devices.append(Device(str(path), name))
    return devices


def is_raspberry_pi(model: Path = _MODEL) -> bool:
    """Whether the board calls itself one in the device tree's *model*."""
    try:
        return "Raspberry Pi" in model.read_text(errors="replace")
    except OSError:
        return False


def is_capture(capability: bytes) -> bool:
    """Whether the struct v4l2_capability in *capability* is of a node that streams usable pictures."""
    driver, _, _, _, whole, node, *_ = _CAPABILITY.unpack(capability)
    if driver.rstrip(b"\0") in _LIBCAMERA_DRIVERS:
        return False
    flags = node if whole & _DEVICE_CAPS else whole
    return bool(flags & _STREAMING and flags & (_VIDEO_CAPTURE | _VIDEO_CAPTURE_MPLANE))


def _captures(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        answer = bytearray(_CAPABILITY.size)
        fcntl.ioctl(descriptor, _QUERYCAP, answer)
        return is_capture(bytes(answer))
    except OSError:  # not a V4L2 node after all
        return False
    finally:
        os.close(descriptor)


class Camera:
    """The V4L2 camera at *path*, as luma where the driver's format contains it.

    Asked for is YUYV, and MJPEG where YUYV cannot give *width* x *height* at *fps* (a USB 2 camera
    beyond 640x480); of a JPEG only the luma is decoded. The driver may choose another size: what
    comes is passed on. At most *fps* pictures a second (None: all). EdgeError when it does not open,
    and from read() when it is unplugged or gives nothing for 10 s (OpenCV's own time-out).
    """

    still = False

    def __init__(self, path: str, *, width: int = 640, height: int = 480, fps: float | None = None) -> None:
        if not os.path.exists(path):
            raise EdgeError(f"{path}: no such device; is the camera plugged in?")
        if not os.access(path, os.R_OK | os.W_OK):
            raise EdgeError(f"{path}: permission denied; add the user to the group 'video'")
        self._limit = RateLimit(fps)
        refused = "the driver refuses; is another program using it?"
        self._handle = Handle(path, path, cv2.CAP_V4L2, [], refused)
        wanted_fps = fps or 15.0
        capture = self._handle.capture
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

    def read(self) -> Image:
        while self._handle.capture.grab():
            if not self._limit.passes(time.monotonic()):
                continue
            filled, raw = self._handle.capture.retrieve()
            image = picture(np.asarray(raw, np.uint8), self._fourcc, *self._size) if filled else None
            if image is not None:
                return image
        raise EdgeError(f"{self._handle.name}: no picture came; unplugged?")

    def interrupt(self) -> None:
        self._handle.interrupt()

    def close(self) -> None:
        self._handle.close()


RAW_FORMATS = frozenset({"YUYV", "NV12", "NV21", "YU12", "YV12", "GREY", "MJPG", "JPEG"})


def picture(raw: Image, fourcc: str, width: int, height: int) -> Image | None:
    """(height, width) luma of *raw*, as the V4L2 format *fourcc* packs it; None when it is damaged.

    OpenCV shapes these buffers differently from version to version, so only the order of their bytes
    is relied on. A format that is not in RAW_FORMATS was converted by OpenCV and passes as BGR.
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
