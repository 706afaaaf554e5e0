"""Accuracy, calibration and chance of what networks say: each defined once, for training and quantize."""

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
    """The rows whose confidence lies in one of BINS equal parts of 0..1."""

    n: int
    confidence: float  # mean of these rows
    accuracy: float


def accuracy(probabilities: Floats, labels: Indices) -> float:
    """Share of rows (0..1) whose likeliest label is the right one."""
    return float((probabilities.argmax(1) == labels).mean())


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of the share *right* of *n* (Wilson 1927), which stays within 0..1."""
    z = 1.959964
    share, denominator = right / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    return center - half, center + half


def recalls(probabilities: Floats, labels: Indices, count: int) -> list[float | None]:
    """For each of *count* labels the share of its rows (0..1) that are found; None where it has none."""
    right = probabilities.argmax(1) == labels
    return [
        float(right[labels == label].mean()) if (labels == label).any() else None for label in range(count)
    ]


def calibration_error(probabilities: Floats, labels: Indices) -> float:
    """Expected calibration error (ECE): mean distance between confidence and accuracy over BINS, 0..1."""
    bins = reliability(probabilities, labels)
    return sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / len(labels)


def reliability(probabilities: Floats, labels: Indices) -> list[Bin]:
    """How sure rows are and how often they are right, over the BINS that hold any, by rising confidence."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(index, minlength=BINS)
    sums = np.bincount(index, confidence, BINS), np.bincount(index, right.astype(float), BINS)
    return [Bin(int(n), float(a / n), float(b / n)) for n, a, b in zip(rows, *sums, strict=True) if n]


def split(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Rows that only the *first* of two has right, and those that only the *second* has: both (n,)."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def mcnemar(only_first: int, only_second: int) -> float:
    """How likely chance splits rows that only one of two has right so unevenly, were both equally good.

    McNemar's test by the exact binomial, two-sided, mid-p: it holds its level where the exact test is too
    careful and the chi-square one too bold (Fagerland, Lydersen and Laake 2013). 1 where the two never
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
    """A probability for a table."""
    return "< .001" if p < 0.001 else f"= {p:.3f}".replace("0.", ".")
