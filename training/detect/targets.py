"""Assigns faces to the cells of each level.

A face's size in the crop selects its level; the cells around its centre are positive. Cells that are neither
clearly a face of this level nor clearly background have weight 0.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from training.detect.network import STRIDES

# Sizes (square root of the area, pixels) of each level's faces; where ranges overlap, both levels learn.
SIZES = ((0.0, 40.0), (28.0, 104.0), (80.0, float("inf")))
WIDTH = 11  # values per cell: weight, positive, box (4), eyes (4), eyes known


@lru_cache(maxsize=8)
def cells(height: int, width: int | None = None) -> np.ndarray:
    """Centre x, y and stride of each cell of a picture, level by level: (n, 3) float32.

    *height* and *width* in pixels, multiples of the strides; square without *width*.
    """
    found = []
    for stride in STRIDES:
        columns, rows = (
            (np.arange(side // stride, dtype=np.float32) + 0.5) * stride for side in (width or height, height)
        )
        x, y = np.meshgrid(columns, rows)
        found.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride, np.float32)], 1))
    return np.concatenate(found)


def targets(boxes: np.ndarray, eyes: np.ndarray, ignore: np.ndarray, side: int) -> np.ndarray:
    """Targets of the cells for a crop with *boxes* (n, 4), *eyes* (n, 4) and *ignore* (m, 4), in pixels.

    Returns (cells, WIDTH) float32: weight of the score, whether the cell is positive, its face's centre x, y,
    width and height, its eyes, and whether these are known.
    """
    grid = cells(side)
    made = np.zeros((len(grid), WIDTH), np.float32)
    made[:, 0] = 1.0
    for box in ignore:
        made[_inside(grid, box), 0] = 0.0
    # Largest first: a smaller face, which has fewer cells, wins a contested one.
    for i in np.argsort(-boxes[:, 2] * boxes[:, 3]):
        x, y, width, height = boxes[i]
        center_x, center_y = x + width / 2, y + height / 2
        size = float(np.sqrt(width * height))
        far = np.abs(grid[:, :2] - (center_x, center_y))
        near = (far <= np.maximum(0.75 * grid[:, 2:], 0.18 * np.array([[width, height]]))).all(1)
        inside = _inside(grid, boxes[i])
        for stride, (least, most) in zip(STRIDES, SIZES, strict=True):
            level = grid[:, 2] == stride
            if not least <= size < most:
                made[level & (inside | near), 0] = 0.0
                continue
            # Next to a small face's centre is not clearly background; inside a large face it is skin.
            edge = level & inside & ~near & (made[:, 1] == 0)
            made[edge, 0] = np.minimum(made[edge, 0], 0.25 + 0.75 * min(1.0, max(0.0, size / stride - 1) / 4))
            here = level & near
            known = bool(np.isfinite(eyes[i]).all())
            made[here, 0:2] = 1.0
            made[here, 2:6] = center_x, center_y, width, height
            made[here, 6:10] = eyes[i] if known else 0.0
            made[here, 10] = known
    return made


def _inside(grid: np.ndarray, box: np.ndarray) -> np.ndarray:
    x, y, width, height = box
    return (grid[:, 0] >= x) & (grid[:, 0] <= x + width) & (grid[:, 1] >= y) & (grid[:, 1] <= y + height)
