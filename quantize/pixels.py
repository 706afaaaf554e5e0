"""What values a network takes its pixels for, found out where nobody says, and brought to 0 to 255."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge.types import EdgeError, Floats, Image
from quantize import convert
from quantize.figures.labelsets import LabelSet
from quantize.figures.scores import accuracy

# As --pixels names them: what black and white are to the network. The device gives 0 to 255.
RANGES = {"255": (0.0, 255.0), "1": (0.0, 1.0), "signed": (-1.0, 1.0)}
_ASKED = 700  # pictures that are enough to tell ranges apart
_ALIKE = 0.02  # of accuracy: between ranges as close as this, the surer one is taken


class AtChanceError(EdgeError):
    """The float network knows no more than one label for all would."""

    exit_code = 3


class Asked(NamedTuple):
    """How a network does where pixels are given in one of RANGES."""

    accuracy: float  # 0..1
    loss: float  # mean of -log of the right label's probability


def found(model: Any, images: Image, truth: LabelSet) -> tuple[str, str]:
    """The name in RANGES that suits *model* best on *images* (n, h, w) uint8, and a line that says why."""
    rows = np.flatnonzero(truth.rows)
    some = np.linspace(0, len(rows) - 1, min(len(rows), _ASKED)).astype(np.int64)
    pictures, labels = images[rows[some]], truth.truth[some]
    asked = {name: _asked(convert.predict(with_pixels(model, name), pictures), labels) for name in RANGES}
    most = max(one.accuracy for one in asked.values())
    alike = [name for name, one in asked.items() if one.accuracy >= most - _ALIKE]
    best = min(alike, key=lambda name: asked[name].loss)
    right = {name: f"{said(name)}: {100 * one.accuracy:.1f} %" for name, one in asked.items()}
    others = ", ".join(right[name] for name in asked if name != best)
    return best, f"pixels {right[best]} of {len(some)} right; {others}"


def with_pixels(model: Any, name: str) -> Any:
    """*model*, which takes pixels in RANGES' *name*, as a network that takes 0 to 255."""
    low, high = RANGES[name]
    if (low, high) == RANGES["255"]:
        return model
    import keras

    pixels = keras.Input(model.input_shape[1:], name="pixels")
    scaled = keras.layers.Rescaling((high - low) / 255, offset=low, name="to_its_pixels")(pixels)
    return keras.Model(pixels, model(scaled), name=f"{model.name}_of_pixels")


def said(name: str) -> str:
    """RANGES' *name* in words."""
    low, high = RANGES[name]
    return f"{low:g} to {high:g}"


def check_knows(probabilities: Floats, truth: LabelSet, path: Path, name: str) -> None:
    """AtChanceError where *probabilities* (n, labels) are right no more often than one label for all."""
    rows = len(truth.truth)
    right = accuracy(probabilities[truth.rows], truth.truth)
    chance = float(np.bincount(truth.truth).max()) / rows
    # Two standard errors: what a network without any knowledge passes once in forty times.
    if right <= chance + 2 * math.sqrt(chance * (1 - chance) / rows):
        raise AtChanceError(
            f"{path}: right in {100 * right:.1f} % of {rows} ({truth.name}) as a float network, given pixels "
            f"{said(name)}; one label for all is in {100 * chance:.1f} %; expected a trained network, labels "
            f"in our order, or other pixels (--pixels {', '.join(RANGES)}); nothing was written"
        )


def _asked(probabilities: Floats, labels: Any) -> Asked:
    likely = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Asked(accuracy(probabilities, labels), float(-np.log(np.clip(likely, 1e-12, 1)).mean()))
