"""Pictures of how recognition was trained and of what it takes for what, as PNGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from quantize.figures.canvas import COLORS, PALE, axes_of, png

_MEAN_OF = 9  # batches: one alone jumps


def confusions(found: Sequence[tuple[str, Sequence[str], np.ndarray]]) -> bytes:
    """(title, classes, (classes, classes) counts) each."""
    figure, axes = axes_of(1, len(found), (3.2 * len(found), 3.4))
    for axis, (title, names, confusion) in zip(axes[0], found, strict=True):
        shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.grid(visible=False)
        for (row, column), count in np.ndenumerate(confusion):
            axis.text(column, row, str(count), ha="center", va="center", fontsize=8)
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axis.set_yticks(range(len(names)), names)
        axis.set_title(title)
    return png(figure)


def losses(of: Mapping[str, np.ndarray]) -> bytes:
    """Title -> (trainings, batches): each training's loss by batch, and their mean; one panel a title."""
    figure, axes = axes_of(1, len(of), (3.2 * len(of), 2.6))
    for axis, color, (title, each) in zip(axes[0], COLORS, of.items(), strict=False):
        smooth = [np.convolve(one, np.ones(_MEAN_OF) / _MEAN_OF, "valid") for one in each]
        batches = np.arange(len(smooth[0])) + _MEAN_OF // 2 + 1
        for one in smooth:
            axis.plot(batches, one, color=PALE, lw=0.8)
        axis.plot(batches, np.mean(smooth, axis=0), color=color, lw=1.6)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("batch")
        axis.set_ylabel("loss")
        axis.set_title(title)
    return png(figure)
