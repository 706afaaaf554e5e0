"""From what FFmpeg decodes to a picture: luma in its full range, the right way up."""

from __future__ import annotations

import struct
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange

from edge.types import Image

# Formats whose first plane is 8-bit luma; J are the full-range ones of old.
_LUMA_FIRST = frozenset(
    {"yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuva420p", "yuva422p", "yuva444p",
     "nv12", "nv16", "nv21", "nv24", "nv42"}
)  # fmt: skip
_FULL_RANGE = frozenset({"yuvj411p", "yuvj420p", "yuvj422p", "yuvj440p", "yuvj444p", "gray"})
# Video has its black at 16 and its white at 235 unless it says otherwise; the networks know photos.
_BLACK, _STRETCH = 16, 255 / 219
# RGB as it lies in memory, and what makes luma of it; others are converted first.
_TO_LUMA = {
    "bgr24": cv2.COLOR_BGR2GRAY, "rgb24": cv2.COLOR_RGB2GRAY, "bgra": cv2.COLOR_BGRA2GRAY,
    "rgba": cv2.COLOR_RGBA2GRAY,
}  # fmt: skip


class Pictures:
    """Makes pictures of one stream's frames; remembers how they are to be turned."""

    def __init__(self) -> None:
        self._rotation: int | None = None  # degrees, of the frame whose matrix was read
        self._matrix: tuple[int, int, int, int] | None = None

    def picture(self, frame: av.VideoFrame) -> Image:
        """(height, width) luma of *frame*, 0 to 255, turned as its display matrix says."""
        return self._upright(_flat(frame), frame)

    def color(self, frame: av.VideoFrame) -> Image:
        """(height, width, 3) BGR of *frame*, turned likewise."""
        return self._upright(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8), frame)

    def _upright(self, image: Image, frame: av.VideoFrame) -> Image:
        # The matrix itself is seldom read: that ties the frame (4 MB at 1080p) into a cycle, which only the
        # garbage collector frees.
        if frame.rotation != self._rotation:
            self._rotation, self._matrix = frame.rotation, _matrix(frame)
        return image if self._matrix is None else upright(image, self._matrix)


def _flat(frame: av.VideoFrame) -> Image:
    name = frame.format.name
    if name in _LUMA_FIRST or name in _FULL_RANGE:
        plane: Any = VideoPlane(frame, 0)  # frame.planes makes all of them, each time
        luma: Image = np.ndarray((frame.height, frame.width), np.uint8, plane, 0, (plane.line_size, 1))
        full = frame.color_range == ColorRange.JPEG or (
            name in _FULL_RANGE and frame.color_range != ColorRange.MPEG
        )
        if full:
            return luma.copy()  # FFmpeg uses its buffers again
        # One pass, which clips: half of a table's time.
        stretched: Any = cv2.addWeighted(luma, _STRETCH, luma, 0.0, -_BLACK * _STRETCH)
        return np.asarray(stretched, np.uint8)
    if frame.format.is_rgb or name == "pal8":
        given = name if name in _TO_LUMA else "bgr24"
        return np.asarray(cv2.cvtColor(frame.to_ndarray(format=given), _TO_LUMA[given]), np.uint8)
    # More than 8 bits, packed: the conversion stretches what it takes for limited.
    return np.asarray(frame.to_ndarray(format="gray"), np.uint8)


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of *frame*'s display matrix: a pixel (x, y) goes to (a x + c y, b x + d y)."""
    side_data: Any = frame.side_data  # its stubs say a dictionary of strings
    try:
        a, b, _, c, d = struct.unpack_from("=5i", bytes(side_data[Type.DISPLAYMATRIX]))
    except (KeyError, struct.error):
        return None
    return a, b, c, d


def upright(image: Image, matrix: tuple[int, int, int, int]) -> Image:
    """*image* turned and mirrored by quarter turns, as *matrix* says."""
    a, b, c, d = matrix
    if abs(a) >= abs(b):  # as it is, mirrored or upside down
        turned = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    else:
        across = image.swapaxes(0, 1)
        turned = across[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return np.ascontiguousarray(turned)
