"""A network's pixel range: detected if not given, and converted to 0 to 255."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge.types import EdgeError, Floats, Image
from quantize import convert
from quantize.figures.labelsets import LabelSet
from quantize.figures.scores import accuracy

# Names of --pixels: the network's values of black and white. Devices provide 0 to 255.
RANGES = {"255": (0.0, 255.0), "1": (0.0, 1.0), "signed": (-1.0, 1.0)}
_CENTRED = "127.5,1"  # Caffe's way; see limits()
_ASKED = 700  # pictures, enough to distinguish ranges
_ALIKE = 0.02  # accuracy: between ranges closer than this, the lower loss decides


class AtChanceError(EdgeError):
    """The float network is no better than always predicting one label."""

    exit_code = 3


class Asked(NamedTuple):
    """A network's figures with pixels in one of RANGES."""

    accuracy: float  # 0..1
    loss: float  # mean cross-entropy


def limits(name: str) -> tuple[float, float]:
    """The network's values of black and white for *name*: one of RANGES, or ``MEAN,STD`` of a normalization.

    MEAN and STD are of pixels 0 to 1 if neither is above 1, else of 0 to 255. ValueError for anything else.
    """
    if name in RANGES:
        return RANGES[name]
    mean, std = (float(number) for number in name.split(","))
    if not (0 <= mean <= 255 and 0 < std <= 255):
        raise ValueError(name)
    white = 1.0 if max(mean, std) <= 1 else 255.0
    return -mean / std, (white - mean) / std


def found(model: Any, images: Image, truth: LabelSet) -> tuple[str, str]:
    """The range, as limits() takes it, that suits *model* best on *images* (n, h, w) uint8, and why.

    One of RANGES; normalized or centred pixels only where these are clearly more accurate.
    """
    rows = np.flatnonzero(truth.rows)
    some = np.linspace(0, len(rows) - 1, min(len(rows), _ASKED)).astype(np.int64)
    pictures, labels = images[rows[some]], truth.truth[some]
    standard = f"{pictures.mean():.1f},{max(1.0, float(pictures.std())):.1f}"
    names = (*RANGES, standard, _CENTRED)
    asked = {name: _asked(convert.predict(with_pixels(model, name), pictures), labels) for name in names}
    most = max(asked[name].accuracy for name in RANGES)
    alike = [name for name in RANGES if asked[name].accuracy >= most - _ALIKE]
    best = min(alike, key=lambda name: asked[name].loss)
    other = max((standard, _CENTRED), key=lambda name: asked[name].accuracy)
    if asked[other].accuracy > most + _ALIKE:
        best = other
    right = {name: f"{text_of(name)}: {100 * one.accuracy:.1f} %" for name, one in asked.items()}
    others = ", ".join(right[name] for name in asked if name != best)
    return best, f"pixels {right[best]} of {len(some)} right; {others}"


def with_pixels(model: Any, name: str) -> Any:
    """*model* with pixel range *name* (see limits), as a network that takes 0 to 255."""
    low, high = limits(name)
    if (low, high) == RANGES["255"]:
        return model
    import keras

    pixels = keras.Input(model.input_shape[1:], name="pixels")
    scaled = keras.layers.Rescaling((high - low) / 255, offset=low, name="to_its_pixels")(pixels)
    return keras.Model(pixels, model(scaled), name=f"{model.name}_of_pixels")


def text_of(name: str) -> str:
    """The range *name* as text."""
    low, high = limits(name)
    return f"{low:.4g} to {high:.4g}"


def check_knows(probabilities: Floats, truth: LabelSet, path: Path, name: str) -> None:
    """AtChanceError if *probabilities* (n, labels) are no better than always predicting one label."""
    rows = len(truth.truth)
    right = accuracy(probabilities[truth.rows], truth.truth)
    chance = float(np.bincount(truth.truth).max()) / rows
    # Two standard errors: an untrained network passes once in forty times.
    if right <= chance + 2 * math.sqrt(chance * (1 - chance) / rows):
        raise AtChanceError(
            f"{path}: the float network has {100 * right:.1f} % of {rows} right ({truth.name}) with pixels "
            f"{text_of(name)}, a constant label {100 * chance:.1f} %; expected a trained network, labels "
            f"in our order, or other pixels (--pixels {', '.join(RANGES)} or MEAN,STD); nothing was written"
        )


def _asked(probabilities: Floats, labels: Any) -> Asked:
    likely = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return Asked(accuracy(probabilities, labels), float(-np.log(np.clip(likely, 1e-12, 1)).mean()))
