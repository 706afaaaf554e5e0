"""What the reports' pictures have alike: small PNGs, drawn without a screen."""

from __future__ import annotations

import io
from typing import Any

COLOURS = ("#1f6f9f", "#d97b1f", "#3f8f5f", "#9a4f96")
INK, PALE = "#222222", "#a9bfcc"
_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.titlelocation": "left", "axes.edgecolor": "#999999",
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#ececec",
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8, "xtick.major.size": 0,
    "ytick.major.size": 0,
}  # fmt: skip


def canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its axes (rows, columns), in the reports' style; ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    mpl.rcParams.update(_STYLE)
    return pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")


def png(figure: Any) -> bytes:
    """*figure* as a PNG of at most 64 colours, which is a third of the bytes."""
    from matplotlib import pyplot
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    pyplot.close(figure)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(64).save(small, format="PNG", optimize=True)
    return small.getvalue()
