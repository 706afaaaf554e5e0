"""The reports' plots: small PNGs, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.types import EdgeError
from quantize.figures import canvas
from quantize.figures.canvas import COLORS, INK, PALE
from training.measure.compare import Row, count
from training.measure.figures import Figures
from training.measure.history import History


def confusion(found: Sequence[Figures], out: Path) -> None:
    """One matrix per label set: percentage of each true label's rows predicted as each label."""
    figure, axes = _figure(1, len(found), (4.3 * len(found), 4.1))
    for axis, one in zip(axes[0], found, strict=True):
        counts = np.array(one.confusion)
        rows = counts.sum(1)
        shares = 100 * counts / np.maximum(rows, 1)[:, None]
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
        for (i, j), share in np.ndenumerate(shares):
            if rows[i] and counts[i, j]:
                color = "white" if share > 55 else INK if share >= 0.5 else "#9a9a9a"
                axis.text(j, i, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8.5)
        axis.set_xticks(range(len(rows)), one.labels, rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(rows)), [f"{la} ({n})" for la, n in zip(one.labels, rows, strict=True)])
        axis.set(xlabel="predicted label", title=f"{one.data}: {100 * one.accuracy:.1f} %")
        axis.grid(False)
        axis.spines[:].set_visible(False)
    axes[0][0].set_ylabel("true label (rows)")
    _save(figure, out)


def reliability(found: Sequence[Figures], out: Path) -> None:
    """Accuracy over confidence, one panel per label set."""
    figure, axes = _figure(2, len(found), (3.6 * len(found), 4.3), (4, 1), sharex=True)
    for column, one in enumerate(found):
        axis, below, color = axes[0][column], axes[1][column], COLORS[column]
        canvas.reliability(axis, one.reliability, color)
        axis.set(title=f"{one.data}: ECE {one.calibration_error:.3f}")
        confidence = [part.confidence for part in one.reliability]
        rows = np.array([part.n for part in one.reliability])
        below.bar(confidence, 100 * rows / rows.sum(), width=0.05, color=color)
        below.set(xlabel="confidence", xlim=(0, 1))
    axes[0][0].set_ylabel("share right")
    axes[1][0].set_ylabel("% of rows")
    _save(figure, out)


def curves(runs: Mapping[str, History], out: Path) -> None:
    """Loss and accuracy of each run by epoch."""
    many = len(runs) > len(COLORS)
    figure, axes = _figure(1, 2, (10.4, max(3.5, 0.6 + 0.15 * len(runs))) if many else (8.6, 3.5))
    palette = _rainbow(len(runs)) if many else COLORS
    styles = {"loss": "-", "accuracy_plus7": "-", "accuracy_fer2013": (0, (3, 1.5))}
    for number, (name, history) in enumerate(runs.items()):
        color, epochs = palette[number], history["epoch"]
        mark = "o" if len(epochs) == 1 else None
        for column, style in styles.items():
            values = np.array(history.get(column, ()))
            if not len(values) or np.isnan(values).all():
                continue
            side = axes[0][0] if column == "loss" else axes[0][1]
            side.plot(
                epochs, values if column == "loss" else 100 * values, color=color, ls=style, lw=1.5,
                marker=mark, label=name if column == "loss" else None,
            )  # fmt: skip
    axes[0][0].set(title="training loss", xlabel="epoch")
    axes[0][1].set(title="PublicTest: accuracy, %", xlabel="epoch")
    for name, style in (("FER+ majority", "-"), ("FER2013", styles["accuracy_fer2013"])):
        axes[0][1].plot([], [], color="#555555", ls=style, lw=1.5, label=name)
    if many:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    else:
        axes[0][0].legend()
    axes[0][1].legend(loc="lower right")
    for axis in axes[0]:
        axis.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, out)


def comparison(rows: Sequence[Row], split: str, out: Path) -> None:
    """Accuracy with its 95 % interval: a line per network, a color per label set, the best on top."""
    ordered = sorted(rows, key=lambda row: row.figures[-1].accuracy)
    figure, axes = _figure(1, 1, (7.6, 1.1 + 0.5 * len(rows)))
    axis = axes[0][0]
    for number in range(len(rows[0].figures)):
        found = [row.figures[number] for row in ordered]
        x = np.array([100 * one.accuracy for one in found])
        left, right = (abs(x - [100 * one.interval[end] for one in found]) for end in (0, 1))
        axis.errorbar(
            x, range(len(found)), xerr=(left, right), fmt="o", ms=6, color=COLORS[number],
            elinewidth=2, label=f"{found[0].data}, n = {found[0].n:,}",
        )  # fmt: skip
        aside = 7 if number % 2 == 0 else -14  # above or below: they may be close
        for y, value in enumerate(x):
            axis.annotate(
                f"{value:.1f}", (value, y), xytext=(0, aside), textcoords="offset points", ha="center",
                fontsize=8, color=COLORS[number],
            )  # fmt: skip
    names = [
        f"{row.name}\n{count(row.cost.parameters)} parameters, {row.size / 1000:,.0f} kB" for row in ordered
    ]
    axis.set_yticks(range(len(ordered)), names, fontsize=8.5)
    axis.set(xlabel=f"{split}: accuracy with its 95 % interval, %", ylim=(-0.6, len(rows) - 0.3))
    axis.grid(axis="y", visible=False)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    _save(figure, out)


def grid(
    tiles: Sequence[tuple[np.ndarray, str, Sequence[float] | None]], labels: Sequence[str], out: Path
) -> None:
    """Pictures (BGR or luma, uint8) with their names and, if any, their scores of *labels*."""
    columns = min(6, len(tiles))
    rows = -(-len(tiles) // columns)
    figure, axes = _figure(2 * rows, columns, (1.75 * columns, 2.55 * rows), (3, 1.15) * rows)
    for axis in axes.ravel():
        axis.axis("off")
    for number, (image, name, scores) in enumerate(tiles):
        row, column = divmod(number, columns)
        axis, below = axes[2 * row][column], axes[2 * row + 1][column]
        axis.imshow(image if image.ndim == 2 else image[:, :, ::-1], cmap="gray", vmin=0, vmax=255)
        axis.set_title(name if len(name) <= 24 else f"{name[:11]}…{name[-12:]}", fontsize=7, color="#777777")
        if scores is None:
            axis.text(0.5, -0.03, "no face", transform=axis.transAxes, ha="center", va="top", fontsize=9)
            continue
        best = sorted(range(len(labels)), key=lambda label: -scores[label])[:3]
        for place, label in enumerate(best):
            y, color = -place, COLORS[0] if place == 0 else PALE
            below.barh(y, 1, height=0.72, color="#f0f0f0")
            below.barh(y, scores[label], height=0.72, color=color)
            style = {"va": "center", "fontsize": 7.5, "weight": "bold" if place == 0 else "normal"}
            below.text(-0.04, y, labels[label], ha="right", **style)
            below.text(1.04, y, f"{100 * scores[label]:.0f}", ha="left", **style)
        below.set(xlim=(-0.75, 1.3), ylim=(-2.6, 0.6))
    _save(figure, out)


def _rainbow(count: int) -> Sequence[Any]:
    from matplotlib import colormaps

    return list(colormaps["turbo"](np.linspace(0.05, 0.95, count)))


def _figure(
    rows: int, columns: int, size: tuple[float, float], heights: Sequence[float] | None = None,
    sharex: bool = False,
) -> tuple[Any, np.ndarray]:  # fmt: skip
    try:
        return canvas.axes_of(rows, columns, size, heights, sharex)
    except ImportError as error:
        raise EdgeError(f"{error}; run `pip install emotion-edge[train]`") from error


def _save(figure: Any, out: Path) -> None:
    """Save *figure* to the PNG *out* with 256 colors, since it may contain photos."""
    try:
        out.write_bytes(canvas.png(figure, 256))
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror or error}") from error
