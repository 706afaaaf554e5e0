"""Accuracy and calibration of probabilities, and the temperature that calibrates them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.analysis.tensors import dequantise, quantise
from edge.types import Floats, Image, Runtime

Indices = npt.NDArray[np.int64]
BINS = 15  # of equal width, for the calibration error (Guo et al. 2017)


class Bin(NamedTuple):
    """The rows whose confidence lies in one of BINS equal parts of 0..1."""

    n: int
    confidence: float  # mean of these rows
    accuracy: float


def accuracy(probabilities: Floats, labels: Indices) -> float:
    """Share of rows (0..1) whose likeliest label is the right one."""
    return float((probabilities.argmax(1) == labels).mean())


def calibration_error(probabilities: Floats, labels: Indices) -> float:
    """Expected calibration error: mean distance between confidence and accuracy over BINS, 0..1."""
    bins = reliability(probabilities, labels)
    return sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / len(labels)


def reliability(probabilities: Floats, labels: Indices) -> list[Bin]:
    """How sure rows are and how often they are right, over the BINS that hold any, by rising confidence."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(index, minlength=BINS)
    sums = np.bincount(index, confidence, BINS), np.bincount(index, right.astype(float), BINS)
    return [Bin(int(n), float(a / n), float(b / n)) for n, a, b in zip(rows, *sums, strict=True) if n]


def recalls(probabilities: Floats, labels: Indices, count: int) -> list[float | None]:
    """For each of *count* labels the share of its rows (0..1) that are found; None where it has none."""
    right = probabilities.argmax(1) == labels
    return [
        float(right[labels == label].mean()) if (labels == label).any() else None for label in range(count)
    ]


def mcnemar(only_first: int, only_second: int) -> float:
    """How likely rows that only one of two has right split so unevenly, were both equally good.

    McNemar's test by the exact binomial, two-sided, mid-p: half of what was seen is left out, without
    which it is too careful (Fagerland, Lydersen and Laake 2013). 1 where the two never differ.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    seen = math.comb(n, least) / (1 << n)
    if only_first == only_second:
        return 1 - seen / 2
    return 2 * sum(math.comb(n, count) for count in range(least + 1)) / (1 << n) - seen


def fit_temperature(probabilities: Floats, labels: Indices) -> float:
    """The temperature (0.2 to 5) that makes *labels* likeliest: softmax(log p / T), by Guo et al. 2017."""
    # Logits and log-probabilities differ by a constant a row, which softmax takes away again.
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1))
    rows = np.arange(len(labels))

    def loss(inverse: float) -> float:
        scaled = logits * inverse
        return float((np.log(np.exp(scaled).sum(1)) - scaled[rows, labels]).mean())

    return 1 / _lowest(loss, 1 / 5, 1 / 0.2)


def probabilities_of(runtime: Runtime, images: Image, title: str = "measuring") -> Floats:
    """(n, labels) float32 of *images* (n, height, width) uint8, one inference each, as a device does."""
    from tqdm import tqdm

    tensors = quantise(images[:, np.newaxis, :, :, np.newaxis], runtime.input)
    shown = tqdm(tensors, desc=title, unit="picture", leave=False, disable=None)
    return dequantise(np.concatenate([runtime.run(tensor)[0] for tensor in shown]), runtime.outputs[0])


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a convex *function* is lowest (ternary search)."""
    for _ in range(60):
        third = (high - low) / 3
        if function(low + third) < function(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2
