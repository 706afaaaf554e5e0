"""Pictures in files as a camera: a folder of them one after the other, or a single one forever."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.sources.pace import Pace
from edge.types import EdgeError, EndOfStreamError, Image, named

log = logging.getLogger(__name__)

SUFFIXES = frozenset({
    ".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".ras", ".tif", ".tiff", ".webp",
})  # fmt: skip
# Formats that cannot be read, by their bytes from the fourth on, or their first.
_HEIC = (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")
_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")
_UNREAD = frozenset({".heic", ".heif", ".jxl"})  # looked at all the same, and named


def is_image(path: Path) -> bool:
    """Whether *path* is named as a picture, if only as one that cannot be read."""
    return path.suffix.lower() in SUFFIXES | _UNREAD


def is_still(path: Path) -> bool:
    """As is_image(), but for an animated GIF, which is a clip."""
    return is_image(path) and (path.suffix.lower() != ".gif" or cv2.imcount(str(path)) <= 1)


def read_image(path: Path) -> Image:
    """The picture in *path* as (height, width, 3) uint8 BGR; EdgeError where it is none."""
    with named(path):  # cv2.imread distinguishes a missing and a damaged file only on stderr
        content = np.fromfile(path, np.uint8)
    image = None
    with contextlib.suppress(cv2.error):  # an empty file
        image = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise EdgeError(f"{path}: {_why_not(content[:16].tobytes())}")
    return _eight_bits(np.asarray(image))


def _eight_bits(image: npt.NDArray[Any]) -> Image:
    """*image* of any depth as uint8.

    Sixteen bits often hold only ten or twelve (infrared and industrial cameras), of which OpenCV's upper
    eight are black: the fewest even bits that hold the brightest pixel count as all.
    """
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "f":
        image = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0).clip(0)
        most = max(1.0, float(image.max(initial=0)))
    else:
        bits = max(8, int(image.max(initial=0)).bit_length())
        most = 2.0 ** (bits + bits % 2) - 1
    return np.asarray(cv2.convertScaleAbs(image, alpha=255 / most), np.uint8)


def _why_not(head: bytes) -> str:
    """Why a file that begins with *head* cannot be read."""
    if head[4:].startswith(_HEIC):
        return "HEIC, which is not read here; save it as JPEG (`heif-convert` does)"
    if head.startswith(_JPEG_XL):
        return "JPEG XL, which is not read here; save it as JPEG or PNG (`djxl`)"
    return "not a readable image"


def pictures_in(path: Path) -> Iterator[Path]:
    """The file *path*, or the pictures of the folder *path* and those below it, by name."""
    if path.is_file():
        yield path
        return
    yield from sorted(child for child in path.rglob("*") if child.is_file() and is_image(child))


class Images:
    """The pictures of *path* (a folder, by name, or one file), each for 1 / *fps* seconds.

    A single file repeats forever; a folder ends unless *loop*. A file of the folder that cannot be read is
    logged once and left out; EdgeError when no picture is left.
    """

    still = True

    def __init__(self, path: Path, *, fps: float, loop: bool = False, paced: bool = True) -> None:
        self._single = None if path.is_dir() else read_image(path)
        self._files: list[Path] = []
        if self._single is None:
            self._files = sorted(file for file in path.iterdir() if file.is_file() and is_image(file))
            if not self._files:
                raise EdgeError(f"{path}: no images in this folder; {', '.join(sorted(SUFFIXES))} are read")
        self._loop = loop
        self._fps = fps
        self._pace = Pace(paced=paced)
        self._index = 0  # of the next file
        self._shown = 0

    def read(self) -> Image:
        image = self._single if self._single is not None else self._next()
        self._pace.wait(self._shown / self._fps)
        if image is None:  # after the wait: the last picture has its time too
            raise EndOfStreamError("all images shown")
        self._shown += 1
        return image

    def interrupt(self) -> None:
        self._pace.interrupt()

    close = interrupt

    def _next(self) -> Image | None:
        while self._files:
            if self._index >= len(self._files):
                if not self._loop:
                    return None
                self._index = 0
            try:
                image = read_image(self._files[self._index])
            except EdgeError as error:
                log.warning("%s; left out", error)
                del self._files[self._index]
                continue
            self._index += 1
            return image
        raise EdgeError("none of the folder's images can be read")
