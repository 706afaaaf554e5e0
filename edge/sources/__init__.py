"""Cameras: from the words of a configuration to an open source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from edge.host.addresses import standard
from edge.host.redaction import masked
from edge.types import EdgeError, Source

KNOWN = (
    "auto, portraits, picamera, /dev/video0, rtsp://…, http://…, a video file, an image, a folder of images, "
    "a GStreamer pipeline (a ! b)"
)
SCHEMES = ("rtsp", "rtsps", "http", "https")
DEFAULT_FPS = 10.0  # of what has no pace of its own
DEFAULT_SIZE = 640, 480

Kind = Literal["auto", "portraits", "picamera", "v4l2", "network", "gstreamer", "images", "video"]


def source_kind(source: str) -> Kind:
    """What *source* names, a path by what is there now; EdgeError, with the list, where it names nothing."""
    if source in ("auto", "portraits"):
        return "auto" if source == "auto" else "portraits"
    if re.fullmatch(r"picamera(:\d)?", source):
        return "picamera"
    if scheme := re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*)://", source):
        if scheme[1].lower() in SCHEMES:
            return "network"
        raise EdgeError(f"source {scheme[0]}…: this scheme is not read; known are {KNOWN}")
    if re.search(r"\s!\s", source):
        return "gstreamer"
    if source.startswith("/dev/"):
        return "v4l2"
    from edge.sources.images import is_still

    path = Path(source)
    if path.is_dir() or (path.is_file() and is_still(path)):
        return "images"
    if path.is_file():
        return "video"
    raise EdgeError(f"source {masked(source)!r}: no such file and no known name; known are {KNOWN}")


def open_source(
    source: str,
    *,
    fps: float | None = None,
    width: int | None = None,
    height: int | None = None,
    loop: bool = False,
    faces: int = 2,
    paced: bool = True,
    rtsp_transport: Literal["tcp", "udp"] = "tcp",
) -> Source:
    """The camera that *source* names, opened; one in the network opens with the first read(). EdgeError.

    *fps* limits what is handed on (None: all there is, and 10 from what has no pace of its own); *width* and
    *height* (None: 640x480) hold for cameras and portraits; *loop* repeats a file, one on a web server too,
    or a folder; *faces* is for portraits; *paced* false reads files, images and portraits as fast as it can.
    """
    wide, high = width or DEFAULT_SIZE[0], height or DEFAULT_SIZE[1]
    match source_kind(source):
        case "auto":
            return open_source(_found(), fps=fps, width=width, height=height)
        case "portraits":
            from edge.sources.portraits import Portraits

            return Portraits(width=wide, height=high, fps=fps or DEFAULT_FPS, faces=faces, paced=paced)
        case "picamera":
            from edge.sources.picamera import PiCamera

            number = int(source.partition(":")[2] or 0)
            return PiCamera(number, width=wide, height=high, fps=fps or DEFAULT_FPS)
        case "v4l2":
            from edge.sources.v4l2 import Camera

            return Camera(source, width=wide, height=high, fps=fps)
        case "network":
            from edge.sources.network import Network

            return Network(standard(source), fps=fps, loop=loop, paced=paced, transport=rtsp_transport)
        case "gstreamer":
            from edge.sources.opencv import gstreamer

            return gstreamer(source, fps=fps)
        case "images":
            from edge.sources.images import Images

            return Images(Path(source), fps=fps or DEFAULT_FPS, loop=loop, paced=paced)
        case "video":
            from edge.sources.video import open_file

            return open_file(Path(source), fps=fps, loop=loop, paced=paced)


def describe_cameras() -> list[tuple[str, str]]:
    """What ``auto`` chooses from, best first: (source, what it is) of each camera found."""
    from edge.sources.picamera import cameras
    from edge.sources.v4l2 import capture_devices

    return [*cameras(), *capture_devices()]


def _found() -> str:
    found = describe_cameras()
    if found:
        return found[0][0]
    from edge.sources.picamera import installed

    raise EdgeError(
        f"source auto: no camera: picamera2 {'sees none' if installed() else 'is not installed'}, "
        'no /dev/video* gives pictures; plug one in, or set source = "portraits" to try without'
    )
