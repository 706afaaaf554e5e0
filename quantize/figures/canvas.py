"""The common style of the reports' plots: small PNGs, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from quantize.figures.scores import Bin

COLORS = ("#1f6f9f", "#d97b1f", "#3f8f5f", "#9a4f96", "#b5433c", "#6b6b6b", "#8a7a1f", "#2f9e9e")
INK, PALE = "#222222", "#a9bfcc"
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.edgecolor": "#999999",
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#ececec",
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8, "xtick.major.size": 0,
    "ytick.major.size": 0,
}  # fmt: skip


def axes_of(
    rows: int, columns: int, size: tuple[float, float], heights: Sequence[float] | None = None,
    sharex: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """A figure of *size* inches and its axes (rows, columns), in the reports' style.

    *heights*: of the rows, relative to each other. ImportError without matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams.update(_STYLE)
    return pyplot.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained", sharex="col" if sharex else False,
        gridspec_kw={"height_ratios": heights} if heights else None,
    )  # fmt: skip


def png(figure: Any, colors: int = 64) -> bytes:
    """*figure* as a PNG with at most *colors* colors (up to 256), a third of the size."""
    from matplotlib import pyplot
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    pyplot.close(figure)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(colors).save(small, format="PNG", optimize=True)
    return small.getvalue()


def reliability(axis: Any, bins: Sequence[Bin], color: str) -> None:
    """Accuracy over confidence; the dashed line is perfect calibration."""
    confidence, accuracy = [one.confidence for one in bins], [one.accuracy for one in bins]
    rows = np.array([one.n for one in bins])
    axis.plot((0, 1), (0, 1), color="#9a9a9a", lw=1, ls=(0, (4, 3)))
    axis.vlines(confidence, confidence, accuracy, color=color, alpha=0.35, lw=4)
    axis.plot(confidence, accuracy, color=color, lw=1, alpha=0.6, clip_on=False)
    # A mark's area shows the number of rows in its bin.
    axis.scatter(confidence, accuracy, 6 + 250 * rows / rows.sum(), color=color, zorder=3, clip_on=False)
    axis.set(xlim=(0, 1), ylim=(0, 1))
