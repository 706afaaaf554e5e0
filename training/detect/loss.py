"""A detector's loss: quality focal loss of the scores, IoU loss of the boxes, distance of the eyes.

After X. Li et al., "Generalized Focal Loss", NeurIPS 2020 (a score's target is its box's IoU) and
Y.-F. Zhang et al., "Focal and Efficient IOU Loss", 2021 (IoU with a centre and a size term).
"""

from __future__ import annotations

from keras import ops

_LEAST_QUALITY = 0.3  # minimum score target of a positive: at first no box overlaps
_BOXES, _EYES = 2.0, 2.0  # loss weights; the scores' is 1


def flat(outputs):
    """*outputs* with all levels concatenated: logits (b, cells), boxes (b, cells, 4), eyes (b, cells, 4)."""

    def together(part: str):
        levels = [value for name, value in outputs.items() if name.startswith(part)]
        return ops.concatenate([ops.reshape(v, (ops.shape(v)[0], -1, v.shape[-1])) for v in levels], 1)

    return together("score")[..., 0], together("box"), together("eyes")


def boxes_of(raw, grid):
    """Centre x, y, width and height in pixels of *raw* (b, cells, 4) at *grid* (cells, 3)."""
    stride = grid[:, 2:]
    return ops.concatenate(
        [grid[:, :2] + raw[..., :2] * stride, 2 * stride * ops.exp(ops.clip(raw[..., 2:], -4.0, 4.0))], -1
    )


def detection_loss(outputs, wanted, grid):
    """Loss of *outputs* per positive cell, against *wanted* (b, cells, 11) from `targets`."""
    logits, raw, eyes = flat(outputs)
    weight, positive, box, true_eyes, known = (
        wanted[..., 0], wanted[..., 1], wanted[..., 2:6], wanted[..., 6:10], wanted[..., 10],
    )  # fmt: skip
    count = ops.maximum(ops.sum(positive), 1.0)

    overlap, far = _iou_loss(boxes_of(raw, grid), box)
    quality = positive * ops.maximum(ops.stop_gradient(overlap), _LEAST_QUALITY)
    # Binary cross-entropy with soft targets, from logits.
    entropy = ops.maximum(logits, 0.0) - logits * quality + ops.log1p(ops.exp(-ops.abs(logits)))
    scores = ops.sum(weight * ops.square(quality - ops.sigmoid(logits)) * entropy)

    stride = grid[:, 2:]
    at = ops.tile(grid[:, :2], (1, 2)) + 2 * stride * eyes
    off = ops.abs(at - true_eyes) / ops.maximum(box[..., 2:3], 1.0)
    smooth = ops.where(off < 0.1, 5.0 * ops.square(off), off - 0.05)
    return (
        scores + _BOXES * ops.sum(positive * far) + _EYES * ops.sum((positive * known)[..., None] * smooth)
    ) / count


def _iou_loss(box, true):
    """IoU (b, cells) of *box* and *true*, and 1 - IoU plus the distances of centres and sides."""
    low = ops.maximum(box[..., :2] - box[..., 2:] / 2, true[..., :2] - true[..., 2:] / 2)
    high = ops.minimum(box[..., :2] + box[..., 2:] / 2, true[..., :2] + true[..., 2:] / 2)
    common = ops.prod(ops.maximum(high - low, 0.0), -1)
    union = ops.prod(box[..., 2:], -1) + ops.prod(true[..., 2:], -1) - common
    overlap = common / ops.maximum(union, 1e-6)
    # The rectangle that encloses both.
    left = ops.minimum(box[..., :2] - box[..., 2:] / 2, true[..., :2] - true[..., 2:] / 2)
    right = ops.maximum(box[..., :2] + box[..., 2:] / 2, true[..., :2] + true[..., 2:] / 2)
    around = ops.maximum(right - left, 1e-3)
    apart = ops.sum(ops.square(box[..., :2] - true[..., :2]), -1) / ops.sum(ops.square(around), -1)
    sizes = ops.sum(ops.square((box[..., 2:] - true[..., 2:]) / around), -1)
    return overlap, 1 - overlap + apart + sizes
