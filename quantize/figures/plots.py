"""Plots of face detection: precision over recall, recall by size of face."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quantize.figures.canvas import COLORS, axes_of, png
from quantize.figures.detection import RATE, SIZES, Scores

Named = Mapping[str, Mapping[str, Scores]]  # data set -> detector or file -> its scores


def precision_recall(found: Named) -> bytes:
    """A panel per data set, a curve per detector; the mark is at RATE false positives per picture."""
    figure, axes = axes_of(1, len(found), (4.2 * len(found), 3.6))
    for axis, (data, rows) in zip(axes[0], found.items(), strict=True):
        for number, (name, scores) in enumerate(rows.items()):
            color, line = COLORS[number % len(COLORS)], "-" if number < len(COLORS) else "--"
            label = f"{name}: AP {scores.ap:.3f}"
            axis.plot(scores.recall, scores.precision, line, color=color, lw=1.4, label=label)
            recall, least = scores.at()
            place = np.flatnonzero(scores.score >= least)[-1:]
            axis.plot([recall] * len(place), scores.precision[place], "o", ms=4, color=color)
        axis.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", title=data)
        axis.legend(loc="lower left")
    axes[0][0].set_ylabel(f"precision (mark: {RATE:g} false positives a picture)")
    return png(figure)


def recall_by_size(found: Named) -> bytes:
    """A panel per data set, a group per size of face, a bar per detector."""
    figure, axes = axes_of(1, len(found), (4.2 * len(found), 3.0))
    for axis, (data, rows) in zip(axes[0], found.items(), strict=True):
        width = 0.8 / max(1, len(rows))
        for number, (name, scores) in enumerate(rows.items()):
            shares = scores.by_size(scores.at()[1])
            values = [shares.get(size, 0.0) for size in SIZES]
            x = np.arange(len(SIZES)) - 0.4 + (number + 0.5) * width
            hatch = None if number < len(COLORS) else "//"
            axis.bar(x, values, width * 0.92, color=COLORS[number % len(COLORS)], hatch=hatch, label=name)
            for place, value in zip(x, values, strict=True):
                axis.annotate(f"{value:.2f}", (place, value), xytext=(0, 2), textcoords="offset points",
                              ha="center", fontsize=6.5)  # fmt: skip
        faces = [f"{size} px\nn = {scores.of_size[size]:,}" for size in SIZES]
        axis.set_xticks(range(len(SIZES)), faces)
        axis.set(ylim=(0, 1.05), title=data)
        axis.grid(axis="x", visible=False)
    axes[0][0].set_ylabel(f"recall at {RATE:g} false positives a picture")
    axes[0][-1].legend(loc="lower left", bbox_to_anchor=(0, 1.08), ncols=3, fontsize=7)
    return png(figure)
