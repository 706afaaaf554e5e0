"""Shared by all detectors: shrink the picture, map back, frame the face."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import cv2
import numpy as np

from edge.analysis.preprocess import luma, tilt
from edge.types import Box, Face, Image

if TYPE_CHECKING:  # needs pydantic, which a machine that only trains may lack
    from edge.analysis.card import DetectorCard
    from edge.analysis.runtimes.chain import Chosen


class Framing(NamedTuple):
    """From a detector's box to the box that FER2013 would have drawn, in widths of the detector's box.

    Measured by `emotion-train framing`; no shift sideways, because a mirrored face has the mirrored box.
    """

    down: float  # from the anchor (middle of the eyes, else of the box) to the center, along the face
    size: float  # side of the framed square


class Finder(Protocol):
    """The bare detector."""

    name: str
    shareable: bool  # keeps no state for a picture's size, so cameras may share it
    zoom: float  # times `detector.long_side` at which it wants to see a picture; 1 and more

    @property
    def description(self) -> str:
        """Which file, and what runs it now."""

    @property
    def chosen(self) -> Chosen[DetectorCard] | None:
        """Its network in the runtime that was chosen; None where OpenCV runs it."""

    color: Literal["luma", "bgr"]  # what find() wants to see
    framing: Framing

    def find(self, image: Image) -> list[Face]:
        """Faces as it draws them, in pixels of *image*, which is already small."""


@dataclass(eq=False)
class FaceDetector:
    """A Detector: *finder* on a small copy of each picture, its boxes framed as FER2013 frames faces."""

    finder: Finder
    long_side: int  # pixels
    min_face: float  # framed side, as a fraction of the picture's long side
    because: str = ""  # why those before it were not taken

    @property
    def description(self) -> str:
        """What it is, what runs it now, and why it was chosen; for people."""
        because = f", because {self.because}" if self.because else ""
        return f"{self.finder.name} ({self.finder.description}){because}"

    @property
    def state(self) -> str:
        """ "ok", or why it is not the configured one, or not on the configured chip."""
        return self.because or (self.finder.chosen.state if self.finder.chosen else "ok")

    def detect(self, image: Image) -> list[Face]:
        """Faces of *image* (BGR or luma), in its pixels; boxes may reach beyond its edge."""
        smallest = self.min_face * max(image.shape[:2])
        faces = (framed(face, self.finder.framing) for face in self.find(image))
        return [face for face in faces if face.box.width >= smallest]

    def find(self, image: Image) -> list[Face]:
        """Every face of *image* (BGR or luma) as the finder draws it, in the pixels of *image*."""
        return search(image, self.finder, self.long_side)


def search(image: Image, finder: Finder, long_side: int) -> list[Face]:
    """Every face that *finder* finds in *image* (BGR or luma) shrunk to *long_side*, in *image*'s pixels."""
    small = shrink(image, long_side, finder.color, finder.zoom)
    scale_x, scale_y = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
    return [enlarged(face, scale_x, scale_y) for face in finder.find(small)]


def shrink(image: Image, long_side: int, color: Literal["luma", "bgr"], zoom: float = 1.0) -> Image:
    """*image* with at most *long_side* pixels on its long side, times *zoom*, in *color*.

    Bilinear: it finds the faces that INTER_AREA finds (tests), and at 1280x720 it takes 0.12 ms where
    that takes 1 ms. Colors are converted afterwards, when there are few pixels left.
    """
    rows, columns = image.shape[:2]
    scale = zoom * min(1.0, long_side / max(rows, columns))
    if scale != 1:
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        image = _bilinear(image, size)
    if color == "luma":
        return luma(image)
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return image


def _bilinear(image: Image, size: tuple[int, int]) -> Image:
    """*image* in *size*, (columns, rows).

    On a PC, Intel's routine takes half the time for a gray picture and is at most one level off OpenCV's own;
    OpenCV leaves it off. In color, and for halving a picture, it is the slower one.
    """
    rows, columns = image.shape[:2]
    faster = image.ndim == 2 and (columns, rows) != (2 * size[0], 2 * size[1])
    before = cv2.ipp.useIPP_NotExact()  # of this thread; always False where OpenCV lacks Intel's library
    cv2.ipp.setUseIPP_NotExact(faster)
    try:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    finally:
        cv2.ipp.setUseIPP_NotExact(before)


def enlarged(face: Face, scale_x: float, scale_y: float) -> Face:
    """*face* in the pixels of a picture larger by these factors."""
    box = face.box
    eyes = face.eyes
    if eyes is not None:
        (left_x, left_y), (right_x, right_y) = eyes
        eyes = (left_x * scale_x, left_y * scale_y), (right_x * scale_x, right_y * scale_y)
    return Face(
        Box(box.x * scale_x, box.y * scale_y, box.width * scale_x, box.height * scale_y), face.score, eyes
    )


def framed(face: Face, framing: Framing) -> Face:
    """*face*, as its detector drew it, in the square box that FER2013 would have."""
    x, y = anchor(face)
    angle, width = tilt(face), face.box.width
    x -= math.sin(angle) * framing.down * width
    y += math.cos(angle) * framing.down * width
    side = framing.size * width
    return Face(Box(x - side / 2, y - side / 2, side, side), face.score, face.eyes)


def anchor(face: Face) -> tuple[float, float]:
    """Where framing starts: the middle of the eyes, else of the box."""
    if face.eyes is None:
        return face.box.center
    (left_x, left_y), (right_x, right_y) = face.eyes
    return (left_x + right_x) / 2, (left_y + right_y) / 2
