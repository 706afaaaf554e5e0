"""A face held still: its crop follows the head, picture by picture, to a hundredth of an eye distance.

The detector's eyes, which jump by more than that, only start it. From then on an affine map is fitted to a
reference picture of the same face (inverse compositional Lucas-Kanade, Baker and Matthews 2004), with gain
and offset, so that light is no motion, and without mouth and eyes.
"""

from __future__ import annotations

import cv2
import numpy as np

from edge.analysis.preprocess import luma, warped
from edge.types import Floats, Image, Point

UNIT = 48  # pixels between the eyes in the crop
# What the crop shows, eye distances from the eyes' midpoint.
LEFT, TOP, RIGHT, BOTTOM = -1.05, -0.75, 1.05, 1.85
SIZE = round((RIGHT - LEFT) * UNIT), round((BOTTOM - TOP) * UNIT)  # (width, height)

_HALF = SIZE[0] // 2, SIZE[1] // 2  # the head's motion is found in a crop of half the size
_MARGIN = 0.35  # eye distances around the crop, for a head that moves on
_ALIKE = 0.4  # correlation with the reference below which it is no longer the face
_ROUNDS = 3
_ENOUGH = 0.01  # pixels by which a round may still move the crop's corners

_TO_HALF = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1.0]])  # its pixels to the crop's


class Aligned:
    """The crop of one face. ``matrix`` (2, 3): from the crop's pixels to the picture's."""

    def __init__(self, eyes: tuple[Point, Point]) -> None:
        (x0, y0), (x1, y1) = eyes
        across = np.array([x1 - x0, y1 - y0]) / UNIT
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        turn = np.array([[across[0], -across[1]], [across[1], across[0]]])
        self.matrix = np.column_stack([turn, middle - turn @ [-LEFT * UNIT - 0.5, -TOP * UNIT - 0.5]])
        self._reference: _Reference | None = None

    @property
    def eyes(self) -> tuple[Point, Point]:
        """Where the eyes are by now, in the picture's pixels."""
        left, right = (
            self.matrix @ [(side - LEFT) * UNIT - 0.5, -TOP * UNIT - 0.5, 1.0] for side in (-0.5, 0.5)
        )
        return (float(left[0]), float(left[1])), (float(right[0]), float(right[1]))

    def follow(self, image: Image) -> Floats | None:
        """The face in *image* as the first one showed it, (height, width) gray; None where it is lost."""
        part, matrix, to_image = self._part(image)
        if part is None:
            return None
        if self._reference is not None:
            half = matrix @ _TO_HALF
            for _ in range(_ROUNDS):
                step = self._reference.step(warped(part, half[:2], _HALF))
                if step is None:
                    return None
                half = half @ step
                if np.abs(step[:2] @ _CORNERS - _CORNERS[:2]).max() < _ENOUGH:
                    break
            matrix = half @ np.linalg.inv(_TO_HALF)
        self.matrix = (to_image @ matrix)[:2]
        crop = cv2.GaussianBlur(warped(part, matrix[:2], SIZE), (3, 3), 0.7)
        self._part_now = part, matrix
        if self._reference is None:
            self.renew()
        return np.asarray(crop, np.float32)

    def renew(self) -> None:
        """Make the picture last followed the reference."""
        part, matrix = self._part_now
        self._reference = _Reference(warped(part, (matrix @ _TO_HALF)[:2], _HALF))

    def _part(self, image: Image) -> tuple[Floats | None, np.ndarray, np.ndarray]:
        """(*image* around the face, smaller and gray; crop to part, part to image: (3, 3) each)."""
        corners = self.matrix @ [[-1, SIZE[0], -1, SIZE[0]], [-1, -1, SIZE[1], SIZE[1]], [1, 1, 1, 1]]
        scale = float(np.hypot(self.matrix[0, 0], self.matrix[1, 0]))  # picture's pixels a crop's pixel
        margin = _MARGIN * UNIT * scale
        left, top = np.floor(corners.min(1) - margin).astype(int)
        right, bottom = np.ceil(corners.max(1) + margin).astype(int)
        high, wide = image.shape[:2]
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, wide), min(bottom, high)
        shrink = max(1, int(scale))
        width, height = (right - left) // shrink, (bottom - top) // shrink
        if width < _HALF[0] or height < _HALF[1] or not 0.2 < scale < 40:
            return None, np.eye(3), np.eye(3)
        part = luma(image[top : top + height * shrink, left : left + width * shrink])
        if shrink > 1:
            part = np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        to_image = np.array([
            [shrink, 0, left + (shrink - 1) / 2], [0, shrink, top + (shrink - 1) / 2], [0, 0, 1.0],
        ])  # fmt: skip
        full = np.vstack([self.matrix, [0, 0, 1.0]])
        return part.astype(np.float32), np.linalg.inv(to_image) @ full, to_image


_CORNERS = np.array([[0, _HALF[0], 0, _HALF[0]], [0, 0, _HALF[1], _HALF[1]], [1, 1, 1, 1.0]])


class _Reference:
    """What the head's motion is measured against, and how its gray levels follow each kind of motion."""

    def __init__(self, crop: Floats) -> None:
        width, height = _HALF
        smooth = cv2.GaussianBlur(crop, (3, 3), 0.8)
        dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3) / 8
        dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3) / 8
        self._x = (np.arange(width, dtype=np.float32) - width / 2) / width
        self._y = (np.arange(height, dtype=np.float32) - height / 2) / width
        x, y = np.meshgrid(self._x, self._y)
        light = smooth / 64
        columns = [dx, dy, dx * x, dx * y, dy * x, dy * y, light, light * y, light * y * y, np.ones_like(dx)]
        self._columns = np.stack([column.ravel() for column in columns])
        self._weights = _WEIGHTS.ravel()
        self._smooth = smooth

    def step(self, crop: Floats) -> np.ndarray | None:
        """(3, 3), to be applied after what gave *crop*; None where they show nothing alike."""
        smooth = cv2.GaussianBlur(crop, (3, 3), 0.8)
        if _alike(smooth, self._smooth) < _ALIKE:
            return None
        error = (smooth - self._smooth).ravel()
        # Twice: what is not explained by the head's motion then counts for less.
        weights = self._weights
        found = _solved(self._columns, weights, error)
        rest = np.abs(error - found @ self._columns)
        spread = 1.5 * float(np.median(rest[weights > 0])) + 1.0
        found = _solved(self._columns, weights / (1 + (rest / (2 * spread)) ** 2), error)
        if not np.isfinite(found).all():
            return None
        u, v, ux, uy, vx, vy = found[:6].astype(float)
        width, height = _HALF
        inverse = np.array([
            [1 + ux / width, uy / width, u - (ux * width + uy * height) / (2 * width)],
            [vx / width, 1 + vy / width, v - (vx * width + vy * height) / (2 * width)],
            [0, 0, 1],
        ])  # fmt: skip
        if not 0.7 < np.linalg.det(inverse) < 1.4:
            return None
        return np.linalg.inv(inverse)


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Their correlation, -1..1, on what moves with the skull."""
    one, other = ((part - np.average(part, weights=_WEIGHTS)) * np.sqrt(_WEIGHTS) for part in (one, other))
    return float((one * other).sum() / max(float(np.linalg.norm(one) * np.linalg.norm(other)), 1e-6))


def _solved(columns: np.ndarray, weights: np.ndarray, error: np.ndarray) -> np.ndarray:
    weighted = columns * weights
    normal = weighted @ columns.T
    normal += np.eye(len(normal), dtype=np.float32) * (1e-4 * float(np.trace(normal)) / len(normal))
    return np.linalg.solve(normal, weighted @ error)


def _head_weights() -> Floats:
    """(height, width) of the half crop: 1 on what moves with the skull, little on mouth, chin and eyes."""
    x = LEFT + (np.arange(_HALF[0]) + 0.5) * 2 / UNIT
    y = TOP + (np.arange(_HALF[1]) + 0.5) * 2 / UNIT
    x, y = np.meshgrid(x, y)
    oval = 1 / (1 + np.exp((np.hypot(x / 0.95, (y - 0.45) / 1.25) - 1) / 0.08))
    mouth = np.exp(-((x / 0.55) ** 4) - ((y - 1.3) / 0.4) ** 4)
    eyes = np.exp(-(((np.abs(x) - 0.5) / 0.27) ** 4) - (y / 0.15) ** 4)
    return (oval * (1 - 0.85 * mouth) * (1 - 0.85 * eyes)).astype(np.float32)


_WEIGHTS = _head_weights()
