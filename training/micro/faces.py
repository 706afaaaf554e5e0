"""The faces of synthetic clips: the built-in mean faces with drawn detail, or any folder of pictures.

All are gray, ``SIDE`` pixels square, with the eyes' midpoint in the centre and the eyes ``UNIT`` pixels
apart. Face coordinates start at that midpoint and are in eye distances, x to the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge.analysis.preprocess import luma
from edge.sources.images import is_still
from edge.sources.portraits import mean_faces
from edge.types import EdgeError, Face

UNIT = 160  # pixels between the eyes
SIDE = 4 * UNIT
LEAST = 40.0  # pixels between the eyes; warping a smaller face shows nothing

_EYES = ((15.0, 17.0), (33.0, 17.0))  # in the built-in portraits of 48 x 48 pixels
_SKIN = ((1.2, 5.0), (4.0, 4.0), (16.0, 4.0))  # grain: (scale in pixels, gray levels)


@dataclass(frozen=True, slots=True)
class Person:
    """A face to animate: *canvas* (SIDE, SIDE) uint8; *drawn*: its lids are where _drawn() put them."""

    name: str
    canvas: np.ndarray


def built_in(seed: int) -> Person:
    """Two of the seven mean faces blended, with skin, brows, eyes and lips drawn by *seed*.

    A mean face is too smooth to show a movement of a hundredth of an eye distance.
    """
    rng = np.random.default_rng((seed, 1))
    means = mean_faces()
    one, other = rng.choice(len(means), 2, replace=False)
    mixed = cv2.addWeighted(means[one], 0.6, means[other], 0.4, 0)
    canvas = framed(mixed, _EYES).astype(np.float32)
    canvas = 128 + (canvas - 128) * rng.uniform(0.6, 1.0) + rng.uniform(-15, 25)
    return Person(f"portrait {one}", _drawn(canvas, rng))


def of_folder(folder: Path) -> list[Person]:
    """The pictures in and below *folder* whose largest face has eyes LEAST or more pixels apart."""
    from edge.analysis.detectors import open_detector

    if not folder.is_dir():
        raise EdgeError(f"{folder}: no such folder; expected one with pictures of faces")
    detector = open_detector("auto")
    people = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and is_still(path)):
        image = cv2.imread(str(path))
        if image is None:
            continue
        faces = [face for face in detector.detect(image) if face.eyes and _apart(face) >= LEAST]
        if faces:
            largest = max(faces, key=lambda face: face.box.area)
            people.append(Person(path.name, framed(luma(image), largest.eyes)))
    if not people:
        raise EdgeError(f"{folder}: no face with eyes {LEAST:g} pixels apart; expected pictures of faces")
    return people


def _apart(face: Face) -> float:
    (left, top), (right, bottom) = face.eyes or ((0, 0), (0, 0))
    return float(np.hypot(right - left, bottom - top))


def framed(image: np.ndarray, eyes: tuple[tuple[float, float], tuple[float, float]]) -> np.ndarray:
    """*image* rotated and scaled so that *eyes* are in this module's position."""
    (x0, y0), (x1, y1) = eyes
    a, b = x1 - x0, y1 - y0
    scale = UNIT / (a * a + b * b)
    turn = np.array([[a, b], [-b, a]]) * scale
    middle = turn @ np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    matrix = np.column_stack([turn, SIDE / 2 - middle])
    return cv2.warpAffine(
        image, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )


def _drawn(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, x = (np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) - SIDE / 2) / UNIT
    for scale, level in _SKIN:
        grain = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), scale)
        canvas = canvas + grain / grain.std() * level * rng.uniform(0.6, 1.2)
    hairs = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), 1.5, sigmaY=4)
    hairs = hairs / hairs.std()
    dark, arch = rng.uniform(30, 70), rng.uniform(0.1, 0.3)
    brow_y, thick = rng.uniform(-0.38, -0.3), rng.uniform(0.05, 0.08)
    open_by = rng.uniform(0.09, 0.12)
    for side in (-0.5, 0.5):
        u = x - side
        bend = brow_y + arch * u * u * 2
        brow = np.exp(-(((y - bend) / thick) ** 2)) / (1 + np.exp((np.abs(u) - 0.33) / 0.03))
        canvas = canvas - brow * (dark + 14 * hairs)
        lid = open_by * np.clip(1 - (u / 0.21) ** 2, 0, None)
        inside = np.clip((lid - np.abs(y)) * UNIT / 2, 0, 1)
        iris = np.clip((0.09 - np.hypot(u, y)) * UNIT / 2, 0, 1)
        canvas = canvas * (1 - inside) + inside * (185 - 135 * iris)
        lash = np.exp(-(((y + lid) / 0.02) ** 2)) * (np.abs(u) < 0.21)
        canvas = canvas - 60 * lash
    mouth_y, wide = 1.2, rng.uniform(0.34, 0.42)
    line = mouth_y + 0.06 * (x / wide) ** 2 * rng.uniform(-1, 1)
    canvas = canvas - 55 * np.exp(-(((y - line) / 0.02) ** 2)) / (1 + np.exp((np.abs(x) - wide) / 0.02))
    lips = np.exp(-(((y - line) / 0.1) ** 4)) / (1 + np.exp((np.abs(x) - wide) / 0.04))
    canvas = canvas - 18 * lips
    for side in (-0.13, 0.13):
        canvas = canvas - 50 * np.exp(-(((x - side) / 0.06) ** 2) - ((y - 0.72) / 0.035) ** 2)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
