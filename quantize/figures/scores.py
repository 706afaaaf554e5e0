"""Accuracy, calibration and significance, each defined once for training and quantize."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.types import Floats

Indices = npt.NDArray[np.int64]
BINS = 15  # of equal width, for the calibration error (Guo et al. 2017)


@dataclass(frozen=True)
class Bin:
    """The rows with confidence in one of BINS equal parts of 0..1."""

    n: int
    confidence: float  # mean of these rows
    accuracy: float


def accuracy(probabilities: Floats, labels: Indices) -> float:
    """Fraction of rows (0..1) whose most likely label is correct."""
    return float((probabilities.argmax(1) == labels).mean())


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of the fraction *right* of *n* (Wilson 1927), within 0..1."""
    z = 1.959964
    share, denominator = right / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    return center - half, center + half


def recalls(probabilities: Floats, labels: Indices, count: int) -> list[float | None]:
    """Recall (0..1) of each of *count* labels; None for one without rows."""
    right = probabilities.argmax(1) == labels
    return [
        float(right[labels == label].mean()) if (labels == label).any() else None for label in range(count)
    ]


def calibration_error(probabilities: Floats, labels: Indices) -> float:
    """Expected calibration error (ECE): mean distance between confidence and accuracy over BINS, 0..1."""
    bins = reliability(probabilities, labels)
    return sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / len(labels)


def reliability(probabilities: Floats, labels: Indices) -> list[Bin]:
    """Confidence and accuracy over the non-empty BINS, by rising confidence."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(index, minlength=BINS)
    sums = np.bincount(index, confidence, BINS), np.bincount(index, right.astype(float), BINS)
    return [Bin(int(n), float(a / n), float(b / n)) for n, a, b in zip(rows, *sums, strict=True) if n]


def split(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Number of rows only the *first* has right, and of those only the *second* has; both (n,)."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of the split of rows that only one of two has right, if both were equally good.

    McNemar's test with the exact binomial, two-sided, mid-p: it keeps its level where the exact test is too
    conservative and the chi-square test too liberal (Fagerland, Lydersen and Laake 2013). 1 if they never
    differ.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    seen = math.comb(n, least) / (1 << n)
    if only_first == only_second:
        return 1 - seen / 2
    return 2 * sum(math.comb(n, count) for count in range(least + 1)) / (1 << n) - seen


def p_text(p: float) -> str:
    """A p-value for a table."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".")
