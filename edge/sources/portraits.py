"""The built-in camera: mean faces that change their expression, and the truth about each picture.

It needs no hardware and shows nobody: each face is the mean of many (``emotion-train portraits``).
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.sources.pace import Pace
from edge.types import LABELS, Box, EdgeError, Image

FILE = Path(__file__).parent.parent / "models" / "portraits.npz"
SHOW_S = 5.0  # how long a face shows a label fully
BLEND_S = 1.0  # how long it takes to change into the next
MAX_FACES = 6

_SHARPEN = 2.0  # how much of the fine detail is added to a mean face
_CONTRAST = 40.0  # standard deviation of a face's gray values
_SLACK = 64, 48  # pixels by which the wall is larger than the picture and moves behind it


class Portrait(NamedTuple):
    """What one face of one picture shows."""

    box: Box  # as FER2013 frames its faces
    label: str
    weight: float  # how fully it shows *label*: 1, or down to 0.5 while it changes


class Portraits:
    """A camera of *width* x *height* pixels (BGR) with *faces* faces, *fps* pictures a second, without end.

    Picture n depends on n, *seed* and the settings alone. ``truth``: what the last picture read shows, from
    left to right. EdgeError where *file* has no array ``faces``, (7, 48, 48) uint8 in LABELS' order.
    """

    still = False

    def __init__(
        self,
        *,
        width: int = 640,
        height: int = 480,
        fps: float = 10.0,
        faces: int = 2,
        seed: int = 0,
        paced: bool = True,
        file: Path = FILE,
    ) -> None:
        if not 0 <= faces <= MAX_FACES:
            raise EdgeError(f"portraits: {faces} faces; expected 0 to {MAX_FACES}")
        if not (160 <= width <= 4096 and 120 <= height <= 4096):
            raise EdgeError(f"portraits: {width}x{height} pixels; expected 160x120 to 4096x4096")
        self._size = width, height
        self._fps = fps
        self._faces = faces
        # A face and its soft edge fill most of its column; in few wide columns the height is the limit.
        self._side = round(min(0.5 * height, 0.8 * width / max(faces, 1)))
        self._means = mean_faces(file)
        self._mask = _mask(self._side)
        self._wall = _wall(width, height)
        draw = np.random.default_rng(seed)
        self._orders = [[int(label) for label in draw.permutation(len(LABELS))] for _ in range(MAX_FACES)]
        self._phases = draw.uniform(0, 2 * math.pi, (MAX_FACES + 1, 2))
        self._pace = Pace(paced=paced)
        self._next = 0
        self.truth: tuple[Portrait, ...] = ()

    def read(self) -> Image:
        self._pace.wait(self._next / self._fps)
        image, self.truth = self.render(self._next)
        self._next += 1
        return image

    def interrupt(self) -> None:
        self._pace.interrupt()

    close = interrupt

    def render(self, n: int) -> tuple[Image, tuple[Portrait, ...]]:
        """Picture *n* (0 or more) and what it shows."""
        now = n / self._fps
        width, height = self._size
        left, top = self._sway(now, MAX_FACES, _SLACK)
        image = self._wall[top : top + height, left : left + width].copy()
        truth = []
        for face in range(self._faces):
            mean, label, weight = self._expression(now, face)
            x, y = self._place(now, face)
            side = self._side
            patch = cv2.cvtColor(cv2.resize(mean, (side, side)), cv2.COLOR_GRAY2BGR)
            behind = image[y : y + side, x : x + side]
            behind[:] = cv2.blendLinear(patch, behind, self._mask, 1 - self._mask)
            truth.append(Portrait(Box(x, y, side, side), label, weight))
        return image, tuple(truth)

    def _expression(self, now: float, face: int) -> tuple[Image, str, float]:
        """What *face* shows at *now* seconds: (48, 48) uint8, the label it shows most, how fully."""
        order = self._orders[face]
        period = SHOW_S + BLEND_S
        # Staggered, so that with several faces something changes every second or two.
        turn, since = divmod(now + period * face / max(self._faces, 1), period)
        before = order[int(turn) % len(order)]
        after = order[(int(turn) + 1) % len(order)]
        if since <= SHOW_S:
            return self._means[before], LABELS[before], 1.0
        share = (since - SHOW_S) / BLEND_S
        mean = cv2.addWeighted(self._means[before], 1 - share, self._means[after], share, 0)
        label = LABELS[before if share < 0.5 else after]
        return np.asarray(mean, np.uint8), label, max(share, 1 - share)

    def _place(self, now: float, face: int) -> tuple[int, int]:
        """Left top corner of *face*, which wanders slowly within its column and never leaves the picture."""
        column = self._size[0] / self._faces
        row = self._size[1]
        # At most a face's size to either side, so that small faces are not fast ones.
        reach = int(min(column, 2 * self._side)), min(row, 2 * self._side)
        x, y = self._sway(now, face, (reach[0] - self._side, reach[1] - self._side))
        return int(column * (face + 0.5) - reach[0] / 2) + x, int((row - reach[1]) / 2) + y

    def _sway(self, now: float, which: int, room: tuple[int, int]) -> tuple[int, int]:
        """A Lissajous curve through (0..room[0], 0..room[1]) with its own periods of 13 s and more."""
        phase_x, phase_y = self._phases[which]
        x = math.sin(2 * math.pi * now / (17 + which) + phase_x)
        y = math.sin(2 * math.pi * now / (13 + which) + phase_y)
        return round(room[0] * (0.5 + 0.5 * x)), round(room[1] * (0.5 + 0.5 * y))


def mean_faces(file: Path = FILE) -> list[Image]:
    """The faces of *file* as they are shown, (48, 48) uint8, in LABELS' order; EdgeError as of Portraits."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            faces = arrays["faces"]
    except FileNotFoundError as error:
        raise EdgeError(f"{file}: not found; emotion-train portraits makes it") from error
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise EdgeError(f"{file}: no portraits in it; emotion-train portraits makes it") from error
    if faces.shape != (len(LABELS), 48, 48) or faces.dtype != np.uint8:
        raise EdgeError(f"{file}: faces are {faces.shape} {faces.dtype}; expected (7, 48, 48) uint8")
    return _sharpen(faces)


def _sharpen(faces: Image) -> list[Image]:
    """Each face with the edges, brightness and contrast of a photograph, which averaging took.

    Unsharp masking, then mean 128 and a standard deviation of _CONTRAST: of plain means a foreign network
    (``fer``) names 2 of 7 rightly, of these 5.
    """
    sharpened = []
    for face in faces.astype(np.float32):
        edges = face + _SHARPEN * (face - cv2.GaussianBlur(face, (0, 0), 4))
        spread = max(float(edges.std()), 1.0)
        sharpened.append(np.clip((edges - edges.mean()) / spread * _CONTRAST + 128, 0, 255).astype(np.uint8))
    return sharpened


def _mask(side: int) -> npt.NDArray[np.float32]:
    """(side, side), 1 within a rounded square, falling to 0 at its edge, without a rim.

    With an ellipse, which cuts the corners of the forehead, Haar finds a quarter less.
    """
    axis = np.abs((np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1)
    radius = (axis[None, :] ** 6 + axis[:, None] ** 6) ** (1 / 6)
    return np.asarray(np.clip((1.0 - radius) / 0.12, 0, 1), np.float32)


def _wall(width: int, height: int) -> Image:
    """A softly colored wall, _SLACK larger than the picture: wide waves, nothing like eyes and a mouth."""
    x = np.arange(width + _SLACK[0], dtype=np.float32)[None, :] / width
    y = np.arange(height + _SLACK[1], dtype=np.float32)[:, None] / height
    folds = 128 + 22 * np.sin(2 * np.pi * (0.7 * y - 0.9 * x))
    channels = [folds + 30 * np.sin(2 * np.pi * (1.1 * x + 0.4 * y) + shift) for shift in (0.0, 0.9, 1.8)]
    return np.asarray(np.dstack(channels), np.uint8)
