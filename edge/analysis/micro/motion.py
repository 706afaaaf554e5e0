"""How far each region of a face has moved within its crop, picture by picture."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from edge.analysis.micro.align import LEFT, SIZE, TOP, UNIT, Aligned
from edge.analysis.micro.regions import EYES, REGIONS, Region
from edge.types import Floats, Image, Point

RENEW_S = 0.8  # how old a reference may become
FAR = 1.2  # pixels of the crop beyond which a region's motion is measured against a newer reference
_PRIOR = 0.02  # of a region's mean squared gradient: what has no detail is taken to stand still
_BLINK_S = 0.03  # between two pictures whose eyes are compared


class Moved(NamedTuple):
    """What moved in one picture."""

    regions: Floats  # (regions, 2) eye distances since the start
    eyes: Floats  # (2,) gray levels by which each changed within _BLINK_S
    crop: Image  # the face held still, gray


class FaceMotion:
    """Follows one face from its *eyes* in the first picture on."""

    def __init__(self, eyes: tuple[Point, Point]) -> None:
        self.aligned = Aligned(eyes)
        self._reference: list[_Patch] = []
        self._referred = 0.0
        self._carried: np.ndarray = np.zeros((len(REGIONS), 2), np.float32)  # up to the reference
        self._eyes: list[tuple[float, list[Floats]]] = []

    def step(self, image: Image, taken: float) -> Moved | None:
        """What moved in *image*, taken at that many s; None where the face was lost."""
        crop = self.aligned.follow(image)
        if crop is None:
            return None
        if not self._reference:
            self._refer(crop, taken)
        since = np.stack([patch.moved(crop) for patch in self._reference])
        at = self._carried + since / UNIT
        eyes = self._blinked(crop, taken)
        if taken - self._referred > RENEW_S or np.abs(since).max() > FAR:
            self._carried = at
            self.aligned.renew()
            self._refer(crop, taken)
        return Moved(at.astype(np.float32), eyes, np.clip(crop + 0.5, 0, 255).astype(np.uint8))

    def _refer(self, crop: Floats, taken: float) -> None:
        self._reference = [_Patch(crop, region) for region in REGIONS.values()]
        self._referred = taken

    def _blinked(self, crop: Floats, taken: float) -> Floats:
        now = [crop[place(eye)] for eye in EYES]
        self._eyes.append((taken, now))
        while len(self._eyes) > 2 and taken - self._eyes[1][0] >= _BLINK_S:
            self._eyes.pop(0)
        before = self._eyes[0][1]
        changes = [one - other for one, other in zip(now, before, strict=True)]
        return np.array([np.std(change) for change in changes], np.float32)


class _Patch:
    """A region of the reference: by how much its gray levels follow its motion."""

    def __init__(self, crop: Floats, region: Region) -> None:
        self._where = place(region)
        self._before = crop[self._where].copy()
        dx = cv2.Sobel(crop, cv2.CV_32F, 1, 0, ksize=3)[self._where] / 8
        dy = cv2.Sobel(crop, cv2.CV_32F, 0, 1, ksize=3)[self._where] / 8
        height, width = self._before.shape
        window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]) ** 0.5
        # Light that flickers under a rolling shutter differs from row to row.
        rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        light = self._before / 64
        columns = [dx, dy, light, light * rows, light * rows * rows, np.ones_like(dx)]
        stacked = np.stack([column.ravel() for column in columns])
        weighted = stacked * window.ravel()
        normal = weighted @ stacked.T
        prior = _PRIOR * (normal[0, 0] + normal[1, 1]) / 2 + 1e-3
        normal[[0, 1], [0, 1]] += prior
        normal[[2, 3, 4, 5], [2, 3, 4, 5]] += 1e-2
        self._solve = np.linalg.solve(normal, weighted)[:2].astype(np.float32)

    def moved(self, crop: Floats) -> Floats:
        """(x, y) in the crop's pixels since the reference."""
        # What moved by d shows the gray levels of -d: hence the sign.
        return -self._solve @ (crop[self._where] - self._before).ravel()


def place(region: Region) -> tuple[slice, slice]:
    """Its rows and columns in the crop."""
    left = round((region.x - region.half_width - LEFT) * UNIT)
    right = round((region.x + region.half_width - LEFT) * UNIT)
    top = round((region.y - region.half_height - TOP) * UNIT)
    bottom = round((region.y + region.half_height - TOP) * UNIT)
    return slice(max(top, 0), min(bottom, SIZE[1])), slice(max(left, 0), min(right, SIZE[0]))
