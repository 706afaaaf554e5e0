"""What a trained network adds to the labels: heads that their teacher doubted, backgrounds taken for faces.

A teacher that draws boxes leaves out the hard ones, profiles and hats and hands; its pupil, seen at several
sizes and mirrored, is sure of many of them. And of 1,600 photos without a face few teach anything any more:
those it is still wrong about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import keras
import numpy as np

from quantize.figures.photos import Photo
from training.detect.crops import Hard
from training.detect.loss import boxes_of, flat
from training.detect.targets import cells

_SIDES = (224, 320, 480)  # pixels: the sizes of a photo's looks, each mirrored too
_EMPTY_SIDE = 320  # of a photo without a face: what it says at one size is enough
_AGREEING = 3  # looks that must find the same head; a small one is seen at the larger sizes alone
_SAME_HEAD, _SAME_FACE = 0.3, 0.5  # IoU with the box it is looked for in; between looks
_FOOLED = 0.25  # a score from which a background is worth a crop of its own
_BATCH = 16


def mine(photos: Sequence[Photo], model: keras.Model, least: float) -> tuple[list[Photo], Hard]:
    """*photos* with those ignored boxes among their faces that *model* finds with *least* or more, and all
    that is hard in them."""
    looks: list[list[tuple[np.ndarray, ...]]] = [[] for _ in photos]
    for side in _SIDES:
        chosen = [
            i for i, photo in enumerate(photos)
            if len(photo.ignore) or (not len(photo.boxes) and side == _EMPTY_SIDE)
        ]  # fmt: skip
        for mirror in (False, True):
            for i, found in zip(
                chosen, _found([photos[i] for i in chosen], model, side, mirror), strict=True
            ):
                looks[i].append(found)
    mined, hard = [], Hard([], [])
    for i, (photo, some) in enumerate(zip(photos, looks, strict=True)):
        known = len(photo.boxes)
        if len(photo.ignore):
            photo = _with_heads(photo, some, least)
            hard.heads.extend((i, box) for box in photo.boxes[known:])
        else:
            hard.fooling.extend(
                (i, boxes[np.argmax(scores)]) for scores, boxes, _ in some if scores.max() >= _FOOLED
            )
        mined.append(photo)
    return mined, hard


def _with_heads(photo: Photo, looks: Sequence[tuple[np.ndarray, ...]], least: float) -> Photo:
    boxes, eyes, ignore = list(photo.boxes), list(photo.eyes), []
    for head in photo.ignore:
        best = []
        for scores, found, found_eyes in looks:
            fits = _iou(found, head) >= _SAME_HEAD
            for face in boxes:
                fits &= _iou(found, face) < _SAME_HEAD
            if fits.any():
                k = int(np.argmax(np.where(fits, scores, -1)))
                best.append((scores[k], found[k], found_eyes[k]))
        best = sorted(best, key=lambda look: -look[0])[:_AGREEING]
        same = (
            len(best) == _AGREEING and min(_iou(np.array([b for _, b, _ in best]), best[0][1])) >= _SAME_FACE
        )
        if same and np.mean([score for score, *_ in best]) >= least:
            boxes.append(np.mean([box for _, box, _ in best], 0))
            eyes.append(np.mean([points for *_, points in best], 0))
        else:
            ignore.append(head)
    return replace(
        photo,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        eyes=np.array(eyes, np.float32).reshape(-1, 4),
        ignore=np.array(ignore, np.float32).reshape(-1, 4),
    )


def _found(
    photos: Sequence[Photo], model: keras.Model, side: int, mirror: bool
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each photo, shown at *side* pixels: scores (cells,), boxes and eyes (cells, 4) in its own pixels."""
    grid = cells(side)
    at = np.tile(grid[:, :2], (1, 2))
    for start in range(0, len(photos), _BATCH):
        images = [photo.read() for photo in photos[start : start + _BATCH]]
        scales = [side / max(image.shape) for image in images]
        shown = np.zeros((len(images), side, side, 1), np.float32)
        for k, (image, scale) in enumerate(zip(images, scales, strict=True)):
            size = [max(1, min(side, round(length * scale))) for length in image.shape[::-1]]
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
            shown[k, : size[1], : size[0], 0] = small[:, ::-1] if mirror else small
        logits, raw, points = flat(model(shown, training=False))
        scores = 1 / (1 + np.exp(-np.asarray(logits)))
        boxes = np.array(boxes_of(raw, grid))
        boxes[..., :2] -= boxes[..., 2:] / 2
        eyes = at + 2 * grid[:, 2:] * np.asarray(points)
        for k, (image, scale) in enumerate(zip(images, scales, strict=True)):
            one, two = boxes[k] / scale, eyes[k] / scale
            if mirror:
                one[:, 0] = image.shape[1] - one[:, 0] - one[:, 2]
                two[:, [0, 2]] = image.shape[1] - two[:, [2, 0]]
                two[:, [1, 3]] = two[:, [3, 1]]
            yield scores[k], one, two


def _iou(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    common = np.maximum(high - low, 0).prod(1)
    return common / (boxes[:, 2:].prod(1) + box[2:].prod() - common)
