"""The report's plots: small PNGs, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantize.costs import Cost
from quantize.figures import canvas
from quantize.figures.canvas import COLORS, INK, PALE, axes_of, png
from quantize.figures.scores import Bin, p_text
from quantize.report.latency import BATCHES, THREADS, Latency
from quantize.report.sqnr import Layer, worst


def accuracy(costs: Sequence[Cost]) -> bytes:
    """A panel per label set: accuracy of the float network and each file, with McNemar's p."""
    names = list(dict.fromkeys(cost.data for cost in costs))
    files = list(dict.fromkeys(cost.file for cost in costs))
    figure, axes = axes_of(1, len(names), (4.4 * len(names), 1.3 + 0.36 * len(files)))
    for axis, name in zip(axes[0], names, strict=True):
        chosen = [cost for cost in costs if cost.data == name]
        shares = [100 * chosen[0].float_accuracy, *(100 * cost.accuracy for cost in chosen)]
        notes = ["", *(f"  (p {p_text(cost.p)})" for cost in chosen)]
        _bars(axis, shares, [f"{share:.2f}{note}" for share, note in zip(shares, notes, strict=True)],
              [PALE, *[COLORS[0]] * len(chosen)])  # fmt: skip
        axis.set(xlim=(0, max(shares) * 1.42), xlabel="accuracy, %", title=f"{name}, n = {chosen[0].n:,}")
        axis.set_yticks(range(len(shares)), ["float network", *files] if axis is axes[0][0] else [])
    return png(figure)


def latency(found: Latency) -> bytes:
    """Milliseconds per face of each file, by threads and batch; lower is better."""
    files = list(dict.fromkeys(one.file for one in found.times))
    ways = [(threads, batch) for threads in THREADS for batch in BATCHES]
    figure, axes = axes_of(1, 1, (7.6, 1.2 + 0.72 * len(files)))
    axis = axes[0][0]
    for number, (threads, batch) in enumerate(ways):
        y = np.arange(len(files)) + (number - 1.5) * 0.2
        values = [found.of(file, threads, batch).ms for file in files]
        label = f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"
        axis.barh(y, values, height=0.18, color=COLORS[number], label=label)
        for place, value in zip(y, values, strict=True):
            axis.annotate(f"{value:.2f}", (value, place), xytext=(3, 0), textcoords="offset points",
                          va="center", fontsize=7.5)  # fmt: skip
    axis.set_yticks(range(len(files)), files)
    axis.invert_yaxis()
    axis.set(xlabel=f"ms a face (Keras' model.predict on one image: {found.keras_ms:.0f} ms)")
    axis.margins(x=0.1)
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    return png(figure)


def layers(found: Sequence[Layer]) -> bytes:
    """Each layer's SQNR, first layer on top; the layer that adds the most error in another color."""
    figure, axes = axes_of(1, 1, (7.6, 1.2 + 0.2 * len(found)))
    axis = axes[0][0]
    colors = [COLORS[1] if layer is worst(found) else COLORS[0] for layer in found]
    values, middles = [layer.db for layer in found], [layer.middle_db for layer in found]
    _bars(axis, values, [""] * len(values), colors)
    for place, value in enumerate(values):  # at the bar's foot: the mark is at its end
        axis.annotate(f"{value:.1f}", (0, place), xytext=(4, 0), textcoords="offset points", va="center",
                      fontsize=7.5, color="white" if value > 4 else INK)  # fmt: skip
    axis.plot(middles, range(len(found)), "o", ms=4, color=INK, label="its median channel")
    axis.barh([0], [0], color=COLORS[1], label="adds the most error")
    axis.set_yticks(range(len(found)), [f"{layer.name}  {layer.op}" for layer in found], fontsize=7.5)
    axis.set(xlabel="signal over error of each layer's output, dB (6 dB: a bit)")
    axis.set_ylim(len(found) - 0.3, -0.7)
    axis.set_xlim(min(0, *values, *middles), max(*values, *middles) * 1.1 + 1)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    return png(figure)


def reliability(before: Sequence[Bin], after: Sequence[Bin], titles: tuple[str, str]) -> bytes:
    """Accuracy over confidence, before and after; the line is perfect calibration."""
    figure, axes = axes_of(1, 2, (7.2, 3.6))
    for axis, bins, title, color in zip(axes[0], (before, after), titles, (INK, COLORS[0]), strict=True):
        canvas.reliability(axis, bins, color)
        axis.set(xlabel="confidence", title=title)
    axes[0][0].set_ylabel("share right")
    return png(figure)


def _bars(axis: Any, values: Sequence[float], texts: Sequence[str], colors: Sequence[str]) -> None:
    axis.barh(range(len(values)), values, height=0.7, color=colors)
    for place, (value, text) in enumerate(zip(values, texts, strict=True)):
        axis.annotate(text, (max(value, 0), place), xytext=(4, 0), textcoords="offset points", va="center",
                      fontsize=8)  # fmt: skip
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
