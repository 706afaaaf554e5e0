"""From a face network's tensors to boxes, scores and eyes in the pixels of its input.

Scores are compared in the network's own steps; only the few cells that hold a face become real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from edge.analysis.card import Anchors, Center
from edge.analysis.tensors import dequantize
from edge.types import EdgeError, Tensor, TensorSpec

Doubles = npt.NDArray[np.float64]
WITHIN = 0.8  # of a box's area, in another one
SAME = 0.6  # IoU of two cells' boxes of one face
_LEAST = 1e-9  # of a score as a weight
_AT_ONCE = 64  # faces to blend: with a score near 0 there are thousands
_MOST = 8.0  # of a size's logarithm: a broken network's boxes stay finite


class Found(NamedTuple):
    """Candidates, *n* of them, in pixels of the network's input."""

    scores: Doubles  # (n,) 0..1
    boxes: Doubles  # (n, 4) x, y, width, height
    eyes: Doubles | None  # (n, 4) x, y, x, y


class CenterDecoder:
    """One face a cell: a logit; a box, eyes.

    A box: its center's offset from the cell's middle in strides, and the logarithm of its size over two
    strides; eyes: offsets from that middle in two strides.
    """

    def __init__(
        self, decode: Center, outputs: Sequence[TensorSpec], shape: tuple[int, int], name: str
    ) -> None:
        """*shape*: (height, width) of the input. EdgeError where *outputs* are not *decode*'s."""
        self._levels = []
        for level, stride in enumerate(decode.strides):
            size = math.ceil(shape[0] / stride), math.ceil(shape[1] / stride)
            wanted = [(decode.scores[level], 1), (decode.boxes[level], 4)]
            if decode.eyes:
                wanted.append((decode.eyes[level], 4))
            places = [_place(outputs, output, (1, *size, channels), name) for output, channels in wanted]
            self._levels.append((stride, size[1], places, [outputs[place] for place in places]))
        self._eyes = bool(decode.eyes)

    def found(self, tensors: Sequence[Tensor], min_score: float) -> Found:
        """The cells of *tensors* that score at least *min_score*."""
        parts: list[tuple[Doubles, Doubles, Doubles]] = []
        for stride, columns, places, specs in self._levels:
            kept = _at_least(tensors[places[0]], min_score, specs[0])
            if not len(kept):
                continue
            score, *rest = (
                dequantize(tensors[place].reshape(-1, spec.shape[-1])[kept], spec).astype(np.float64)
                for place, spec in zip(places, specs, strict=True)
            )
            middle = (np.column_stack((kept % columns, kept // columns)) + 0.5) * stride
            offset, size = rest[0][:, :2], 2 * stride * np.exp(np.minimum(rest[0][:, 2:], _MOST))
            box = np.hstack((middle + offset * stride - size / 2, size))
            eyes = np.tile(middle, 2) + rest[1] * 2 * stride if self._eyes else np.empty((len(kept), 4))
            parts.append((score[:, 0], box, eyes))
        if not parts:
            return Found(np.empty(0), np.empty((0, 4)), None)
        logit, boxes, points = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Found(_sigmoid(logit), boxes, points if self._eyes else None)


class AnchorDecoder:
    """Anchors of fixed size: a box's numbers are offsets from the cell's middle in parts of the input."""

    def __init__(
        self, decode: Anchors, outputs: Sequence[TensorSpec], shape: tuple[int, int], name: str
    ) -> None:
        """*shape*: (height, width) of the input. EdgeError where *outputs* are not *decode*'s."""
        height, width = shape
        middles = []
        for grid in decode.grids:
            rows, columns = math.ceil(height / grid.stride), math.ceil(width / grid.stride)
            y, x = np.mgrid[:rows, :columns]
            cells = (np.column_stack((x.ravel(), y.ravel())) + 0.5) * grid.stride
            middles.append(np.repeat(cells, grid.anchors, axis=0))
        self._middles = np.concatenate(middles)
        count = len(self._middles)
        self._scores = _place(outputs, decode.scores, (1, count, 1), name)
        self._boxes = _place(outputs, decode.boxes, (1, count, None), name)
        self._specs = outputs[self._scores], outputs[self._boxes]
        channels = self._specs[1].shape[2]
        least = 4 if decode.eyes is None else 6 + 2 * max(decode.eyes)
        if channels < least:
            raise EdgeError(f"{name}: {decode.boxes} has {channels} numbers an anchor, card needs {least}")
        self._decode = decode
        self._pixels = np.array((width, height)) / decode.scale  # of a box's unit

    def found(self, tensors: Sequence[Tensor], min_score: float) -> Found:
        """The anchors of *tensors* that score at least *min_score*."""
        scores, boxes = self._specs
        kept = _at_least(tensors[self._scores], min_score, scores)
        logit = dequantize(tensors[self._scores].reshape(-1)[kept], scores).astype(np.float64)
        rows = dequantize(tensors[self._boxes][0, kept], boxes).astype(np.float64)
        points = rows.reshape(len(kept), boxes.shape[2] // 2, 2) * self._pixels  # center, size, points
        middle, size = points[:, 0] + self._middles[kept], points[:, 1]
        eyes = None
        if self._decode.eyes is not None:
            eyes = np.hstack([points[:, 2 + point] + self._middles[kept] for point in self._decode.eyes])
        clip = self._decode.clip
        return Found(_sigmoid(np.clip(logit, -clip, clip)), np.hstack((middle - size / 2, size)), eyes)


def best(found: Found, max_overlap: float) -> list[int]:
    """Which candidates stay, the likeliest first.

    Of two that overlap by more than *max_overlap* (IoU) the lower score goes, and so does one WITHIN a larger
    one of a higher score: half a face is no second one.
    """
    whole = np.isfinite(found.boxes).all(1) & np.isfinite(found.scores) & (found.boxes[:, 2:] > 0).all(1)
    kept = np.flatnonzero(whole)
    if len(kept) == 0:
        return []
    boxes, scores = found.boxes[kept].tolist(), found.scores[kept].tolist()
    chosen = np.ravel(cv2.dnn.NMSBoxes(boxes, scores, score_threshold=0.0, nms_threshold=max_overlap))
    return _apart(found.boxes, [int(kept[index]) for index in chosen])


def _apart(boxes: Doubles, order: list[int]) -> list[int]:
    """*order* without those that lie in a larger one before them."""
    if len(order) < 2:
        return order
    chosen = boxes[order]
    area = chosen[:, 2:].prod(1)
    inside = (_common(chosen, chosen) > WITHIN * area[:, None]) & (area > area[:, None])
    stays = np.ones(len(order), bool)
    for place in np.flatnonzero(inside.any(1)):
        stays[place] = not (inside[place, :place] & stays[:place]).any()
    return [index for index, stay in zip(order, stays.tolist(), strict=True) if stay]


def blended(found: Found, kept: Sequence[int]) -> Found:
    """The candidates *kept*, each with the mean box and eyes of all around it, weighted by score squared.

    The mean of neighboring cells is nearer to the face than the likeliest cell's own box.
    """
    whole = np.isfinite(found.boxes).all(1) & np.isfinite(found.scores)
    parts = found.boxes if found.eyes is None else np.hstack((found.boxes, found.eyes))
    parts, weights = parts[whole], np.maximum(found.scores[whole], _LEAST) ** 2
    area = parts[:, 2:4].prod(1)
    means = np.empty((len(kept), parts.shape[1]))
    for start in range(0, len(kept), _AT_ONCE):
        boxes = found.boxes[kept[start : start + _AT_ONCE]]
        common = _common(boxes, parts)
        union = boxes[:, 2:].prod(1)[:, None] + area - common
        near = np.where(common > SAME * union, weights, 0.0)
        means[start : start + len(boxes)] = near @ parts / near.sum(1, keepdims=True)
    return Found(found.scores[kept], means[:, :4], None if found.eyes is None else means[:, 4:])


def _common(boxes: Doubles, others: Doubles) -> Doubles:
    """(n, m): the area that each of *boxes* (n, 4…) has in common with each of *others* (m, 4…)."""
    sides = [
        np.minimum(boxes[:, axis, None] + boxes[:, axis + 2, None], others[:, axis] + others[:, axis + 2])
        - np.maximum(boxes[:, axis, None], others[:, axis])
        for axis in (0, 1)
    ]
    return np.asarray(np.maximum(sides[0], 0) * np.maximum(sides[1], 0))


def least_step(min_score: float, spec: TensorSpec) -> float:
    """The least value of a logit tensor of *spec* whose sigmoid is *min_score* or more."""
    if not 0 < min_score < 1:
        return -math.inf if min_score <= 0 else math.inf
    logit = math.log(min_score / (1 - min_score))
    return logit if spec.dtype.kind == "f" else math.ceil(logit / spec.scale + spec.zero_point - 1e-9)


def _at_least(logits: Tensor, min_score: float, spec: TensorSpec) -> npt.NDArray[np.intp]:
    steps: npt.NDArray[Any] = logits.reshape(-1)
    return np.flatnonzero(steps >= least_step(min_score, spec))


def _sigmoid(logit: Doubles) -> Doubles:
    return np.asarray(0.5 * (1 + np.tanh(logit / 2)))


def _place(outputs: Sequence[TensorSpec], output: str, shape: tuple[int | None, ...], name: str) -> int:
    """Where *output* is among *outputs*: by its name, or by its shape where no other has it."""

    def fits(given: TensorSpec) -> bool:
        return len(given.shape) == len(shape) and all(
            side in (None, other) for side, other in zip(shape, given.shape, strict=True)
        )

    named = [place for place, given in enumerate(outputs) if given.name.partition(":")[0] == output]
    chosen = named or [place for place, given in enumerate(outputs) if fits(given)]
    if len(chosen) == 1 and fits(outputs[chosen[0]]):
        return chosen[0]
    wanted = str(shape).replace("None", "n")
    given_all = ", ".join(f"{given.name} {given.shape}" for given in outputs)
    raise EdgeError(f"{name}: card says output {output!r} of {wanted}, model gives {given_all}")
