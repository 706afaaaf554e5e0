"""Skin that moved, told from something new: a hand, a mug, hair, an opening mouth.

Skin that moves takes its texture along: a smooth motion and the light explain all of the change but noise. An
object brings a texture of its own, which no motion of what was there explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge.analysis.micro.motion import place
from edge.analysis.micro.regions import REGIONS, Region
from edge.types import Floats, Image

# Eyes are left out, for they open and close.
PARTS = *REGIONS.values(), Region(-0.58, 0.5, 0.26, 0.3), Region(0.58, 0.5, 0.26, 0.3)  # and cheeks
NEW = 0.35  # novelty from which on it is no skin that moved
AROUND_S = 0.5  # before and after a movement
_APART_S = 0.1  # from one moment that is compared to the next
_MEAN_S = 0.02  # pictures so far from a moment are averaged, against noise
_FAINT = 3.0  # gray levels: less contrast than this is noise
_PRIOR = 0.02  # as for the motion


def novelty(pictures: Sequence[tuple[float, Image]], onset: float, offset: float) -> Floats:
    """(PARTS,): how much of each is new around a movement, as a share of its contrast, 0 to 1 and more.

    *pictures*: (s, crop) in order. The crop at *onset* is compared to those from AROUND_S before it to
    AROUND_S after *offset*; the most alike shows what noise alone leaves.
    """
    times = np.array([taken for taken, _ in pictures])
    first, last = max(onset - AROUND_S, times[0]), min(offset + AROUND_S, times[-1])
    moments = np.linspace(first, last, max(round((last - first) / _APART_S), 1) + 1)
    at_onset = _mean(times, pictures, onset)
    others = np.stack([_mean(times, pictures, at) for at in moments if abs(at - onset) > 2 * _MEAN_S])
    found = []
    for part in PARTS:
        where = place(part)
        contrast, left = _unexplained(at_onset[where], others[(slice(None), *where)])
        found.append(np.sqrt(left.max() - left.min()) / max(contrast, _FAINT))
    return np.array(found, np.float32)


def _mean(times: np.ndarray, pictures: Sequence[tuple[float, Image]], at: float) -> Floats:
    first, last = np.searchsorted(times, (at - _MEAN_S, at + _MEAN_S))
    first = min(first, len(times) - 1)
    some = np.stack([crop for _, crop in pictures[first : max(last, first + 1)]])
    return np.asarray(cv2.GaussianBlur(some.mean(0, dtype=np.float32), (3, 3), 0.7), np.float32)


def _unexplained(before: Floats, others: Floats) -> tuple[float, Floats]:
    """(*before*'s contrast in gray levels, mean square of what neither motion nor light explains of each)."""
    height, width = before.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).ravel() ** 0.5
    window = (window / window.sum()).astype(np.float32)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    dx, dy = (cv2.Sobel(before, cv2.CV_32F, one, 1 - one, ksize=3) / 8 for one in (1, 0))
    light = before / 64
    columns = [dx, dy, dx * x, dx * y, dy * x, dy * y, light, light * x, light * y, np.ones_like(x), x, y]
    stacked = np.stack([column.ravel() for column in columns]).astype(np.float32)
    weighted = stacked * window
    normal = weighted @ stacked.T
    prior = np.full(len(columns), 1e-2)
    prior[:6] = _PRIOR * (normal[0, 0] + normal[1, 1]) / 2 + 1e-3
    changes = (others - before).reshape(len(others), -1)
    found = np.linalg.solve(normal + np.diag(prior), weighted @ changes.T)
    left = changes - found.T @ stacked
    flat = before.ravel()
    contrast = float(np.sqrt(window @ (flat - window @ flat) ** 2))
    return contrast, np.asarray(left**2 @ window, np.float32)
