"""Metrics of face detection: average precision, recall at a rate of false positives, recall by size.

The same rules for every detector. Ground truth is scaled to pictures of 320 px. Faces under 16 px there are
ignored, and so are detections on them, second detections of a face, and detections under .8 of that size.
Matching is greedy by score within a picture; IoU >= .4 is a hit, because data sets draw boxes differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.types import Box, Face

LONG_SIDE, SMALLEST, IOU = 320.0, 16.0, 0.4
ON_ANOTHER = 0.2  # IoU from which a detection belongs to an ignored face
SIZES = ("16-32", "32-64", "64-")  # pixels of the longer side, in pictures of LONG_SIDE
RATE = 0.1  # false positives per picture at which recall is given


@dataclass(frozen=True)
class Found:
    """Detections and ground truth of one picture; boxes in its pixels."""

    size: tuple[int, int]  # width, height
    faces: Sequence[Face]
    truth: Sequence[Box]


@dataclass(frozen=True)
class Scores:
    """A detector's metrics over some pictures."""

    pictures: int
    faces: int  # scored faces
    precision: npt.NDArray[np.float64]  # by falling score
    recall: npt.NDArray[np.float64]
    false: npt.NDArray[np.int64]  # false positives so far
    score: npt.NDArray[np.float64]
    hits: dict[str, npt.NDArray[np.float64]]  # size -> scores of the faces found
    of_size: dict[str, int]  # size -> faces

    @property
    def ap(self) -> float:
        """Average precision over all recalls, 0..1."""
        best = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float((np.diff(self.recall, prepend=0.0) * best).sum())

    def at(self, rate: float = RATE) -> tuple[float, float]:
        """Recall at *rate* false positives per picture at most, and the score for it; (0, 1) if none."""
        within = np.flatnonzero(self.false <= rate * self.pictures)
        if not len(within):
            return 0.0, 1.0
        return float(self.recall[within[-1]]), float(self.score[within[-1]])

    def by_size(self, least: float) -> dict[str, float]:
        """Recall of each of SIZES at the score threshold *least*."""
        return {
            size: float((self.hits[size] >= least).sum() / self.of_size[size])
            for size in SIZES
            if self.of_size[size]
        }

    def recall_at_score(self, least: float) -> float:
        """Recall at the score threshold *least*, 0..1."""
        return float(sum((hits >= least).sum() for hits in self.hits.values()) / max(1, self.faces))


def scored(pictures: Sequence[Found]) -> Scores:
    """The metrics of one detector over *pictures* with its detections at any score."""
    events: list[tuple[float, bool]] = []
    hits: dict[str, list[float]] = {size: [] for size in SIZES}
    of_size = dict.fromkeys(SIZES, 0)
    for picture in pictures:
        scale = min(1.0, LONG_SIDE / max(picture.size))
        truth = [box for box in picture.truth if _side(box) * scale >= SMALLEST]
        tiny = [box for box in picture.truth if _side(box) * scale < SMALLEST]
        for box in truth:
            of_size[_size(_side(box) * scale)] += 1
        used: set[int] = set()
        for face in sorted(picture.faces, key=lambda face: -face.score):
            overlaps = [(face.box.iou(box), i) for i, box in enumerate(truth) if i not in used]
            overlap, i = max(overlaps, default=(0.0, -1))
            if overlap >= IOU:
                used.add(i)
                events.append((face.score, True))
                hits[_size(_side(truth[i]) * scale)].append(face.score)
            elif _side(face.box) * scale >= 0.8 * SMALLEST and not any(
                face.box.iou(box) >= ON_ANOTHER for box in (*tiny, *(truth[k] for k in used))
            ):
                events.append((face.score, False))
    events.sort(key=lambda event: -event[0])
    right = np.array([hit for _, hit in events], np.int64)
    faces = sum(of_size.values())
    true = np.cumsum(right)
    return Scores(
        len(pictures), faces, true / np.maximum(1, np.arange(1, len(right) + 1)), true / max(1, faces),
        np.cumsum(1 - right), np.array([score for score, _ in events]),
        {size: np.array(some) for size, some in hits.items()}, of_size,
    )  # fmt: skip


def _side(box: Box) -> float:
    return max(box.width, box.height)


def _size(side: float) -> str:
    return SIZES[0] if side < 32 else SIZES[1] if side < 64 else SIZES[2]
