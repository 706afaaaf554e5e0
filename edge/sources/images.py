"""Pictures in files as a camera: a folder of them one after the other, or a single one for ever."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge.sources.pace import Pace
from edge.types import EdgeError, EndOfStreamError, Image

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def read_image(path: Path) -> Image:
    """The picture in *path* as (height, width, 3) uint8 BGR; EdgeError names a file that is none."""
    try:
        # Not cv2.imread: it tells a missing file and a damaged one apart only on stderr.
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from error
    except cv2.error:  # an empty file
        image = None
    if image is None:
        raise EdgeError(f"{path}: not a readable image")
    return np.asarray(image, np.uint8)


def pictures_in(path: Path) -> Iterator[Path]:
    """The file *path*, or the pictures of the folder *path* and those below it, by name."""
    if path.is_file():
        yield path
        return
    yield from sorted(child for child in path.rglob("*") if child.is_file() and is_image(child))


class Images:
    """The pictures of *path* (a folder, by name, or one file), each for 1 / *fps* seconds.

    A single file is a still camera and repeats for ever; a folder ends unless *loop*. A file of the
    folder that cannot be read is logged once and passed over; EdgeError when no picture is left.
    """

    still = True  # equal pictures one after the other are no fault here

    def __init__(self, path: Path, *, fps: float, loop: bool = False, paced: bool = True) -> None:
        if path.is_dir():
            self._files = sorted(file for file in path.iterdir() if file.is_file() and is_image(file))
            if not self._files:
                raise EdgeError(f"{path}: no images in this folder; {', '.join(sorted(SUFFIXES))} are read")
            self._loop = loop
        else:
            self._files = [path]
            self._loop = True
        self._single = read_image(path) if self._files == [path] else None
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

    def close(self) -> None:
        self._pace.interrupt()

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
