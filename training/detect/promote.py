"""Makes faces of the boxes to ignore in which a trained detector sees one (self-training).

Most of these boxes hold a face that the labels' own detector missed or half believed: in profile, under a
hat, behind a hand. Leaving them out teaches a network to miss the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import keras
import numpy as np

from edge.analysis.detectors.decode import Found, best
from edge.types import Box
from quantize.figures.photos import Photo
from training.detect.loss import boxes_of, flat
from training.detect.network import STRIDES
from training.detect.targets import cells

_SIDE = 480  # pixels, the longest side of a photo as looked at
_ENLARGED = (1.0, 1.5)  # looks at it, of its size
_SAME = 0.4  # IoU of a find with a box to ignore: people drew some of these around the whole head
_OVERLAP = 0.4  # IoU of two boxes of one face


def promote(photos: Sequence[Photo], network: keras.Model, least: float) -> list[Photo]:
    """*photos* with a face more for each box to ignore that holds one by *network*.

    A find counts from the score *least* (0..1) on, where no face is labelled yet. The boxes to ignore stay:
    what they hold around the face is not clearly background.
    """
    return [_promoted(photo, network, least) if len(photo.ignore) else photo for photo in photos]


def _promoted(photo: Photo, network: keras.Model, least: float) -> Photo:
    found, eyes = _finds(photo.read(), network, least)
    known = [Box(*box.tolist()) for box in photo.boxes]
    asked = [Box(*box.tolist()) for box in photo.ignore]

    def new(box: Box) -> bool:
        return max(map(box.iou, asked)) >= _SAME and max(map(box.iou, known), default=0.0) < _OVERLAP

    kept = [i for i in best(found, _OVERLAP) if new(Box(*found.boxes[i].tolist()))]
    return replace(
        photo,
        boxes=np.concatenate([photo.boxes, found.boxes[kept]]).astype(np.float32),
        eyes=np.concatenate([photo.eyes, eyes[kept]]).astype(np.float32),
    )


def _finds(image: np.ndarray, network: keras.Model, least: float) -> tuple[Found, np.ndarray]:
    """Faces that *network* sees in *image* (h, w) uint8 at each size and mirrored; their eyes (n, 4)."""
    looks = []
    for enlarged in _ENLARGED:
        scale = enlarged * min(1.0, _SIDE / max(image.shape))
        seen = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        below, beside = (-side % max(STRIDES) for side in seen.shape)
        seen = cv2.copyMakeBorder(seen, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        scores, boxes, eyes = _look(seen, network, least)
        looks.append((scores, boxes / scale, eyes / scale))
        scores, boxes, eyes = _look(np.ascontiguousarray(seen[:, ::-1]), network, least)
        boxes[:, 0] = seen.shape[1] - boxes[:, 0] - boxes[:, 2]
        eyes[:, ::2] = seen.shape[1] - eyes[:, ::2]
        looks.append((scores, boxes / scale, eyes[:, [2, 3, 0, 1]] / scale))
    scores, boxes, eyes = (np.concatenate(parts) for parts in zip(*looks, strict=True))
    return Found(scores, boxes, eyes), eyes


def _look(image: np.ndarray, network: keras.Model, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (n,), boxes (n, 4) and eyes (n, 4) of the cells of *image* that score at least *least*."""
    outputs = flat(network(image[None, ..., None].astype(np.float32), training=False))
    logits, raw, eyes = (np.asarray(part, np.float64)[0] for part in outputs)
    scores = 1 / (1 + np.exp(-logits))
    kept = scores >= least
    grid = cells(*image.shape)[kept]
    boxes = np.array(boxes_of(raw[kept], grid), np.float64)
    boxes[:, :2] -= boxes[:, 2:] / 2
    return scores[kept], boxes, np.tile(grid[:, :2], 2) + 2 * grid[:, 2:] * eyes[kept]
