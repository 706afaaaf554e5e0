"""From probabilities and truth to figures: pure arithmetic, the same for every network and label set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge.types import LABELS

BINS = 15  # of equal width, for the calibration error (Guo et al. 2017)


@dataclass(frozen=True)
class Bin:
    """The rows whose confidence lies in one of BINS equal parts of 0..1."""

    n: int
    confidence: float  # mean of these rows
    accuracy: float


@dataclass(frozen=True)
class Figures:
    """One model's figures on one label set; shares are 0..1."""

    data: str  # data set and label set
    split: str
    n: int
    accuracy: float
    interval: tuple[float, float]  # 95 %, Wilson's
    balanced_accuracy: float  # mean of the recalls
    recall: dict[str, float | None]  # None where a label does not occur
    precision: dict[str, float | None]  # None where a label was never chosen
    f1: dict[str, float | None]  # None where recall is
    calibration_error: float  # ECE: mean distance of confidence and accuracy over BINS
    reliability: list[Bin]  # the bins that hold rows, by rising confidence
    confusion: list[list[int]]  # row: the truth, column: the model's choice, in LABELS' order


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows: how often only one of them is right, and how likely chance does that."""

    data: str
    first: str
    second: str
    only_first: int  # rows that only the first has right
    only_second: int
    p: float  # McNemar's test, two-sided, mid-p


def figures(probabilities: np.ndarray, labels: np.ndarray, name: str, split: str) -> Figures:
    """The figures of *probabilities* (n, 7) against *labels* (n,)."""
    n, chosen = len(labels), probabilities.argmax(1)
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (labels, chosen), 1)
    right, shown, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall, confidence = _shares(right, shown), probabilities.max(1)
    f1 = _shares(2 * right, np.where(shown > 0, shown + said, 0))
    return Figures(
        data=name, split=split, n=n, accuracy=float(right.sum() / n), interval=wilson(int(right.sum()), n),
        balanced_accuracy=float(np.mean([share for share in recall.values() if share is not None])),
        recall=recall, precision=_shares(right, said), f1=f1,
        calibration_error=calibration_error(confidence, chosen == labels),
        reliability=reliability(confidence, chosen == labels), confusion=confusion.tolist(),
    )  # fmt: skip


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of the share *right* of *n* (Wilson 1927), which stays within 0..1."""
    z = 1.959964
    share, denominator = right / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    return center - half, center + half


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over BINS of equal width, each weighted by its rows."""
    bins = reliability(confidence, right)
    return sum(one.n * abs(one.confidence - one.accuracy) for one in bins) / len(confidence)


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[Bin]:
    """What *confidence* (n,) 0..1 says and how often it is *right* (n,), over the BINS that hold rows."""
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = np.bincount(index, minlength=BINS)
    said = np.bincount(index, confidence, BINS)
    held = np.bincount(index, right.astype(float), BINS)
    return [
        Bin(int(n), float(a / n), float(b / n)) for n, a, b in zip(rows, said, held, strict=True) if n
    ]  # fmt: skip


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided mid-p of McNemar's test: were both equally good, how likely is so uneven a split?

    Exact binomial, less half of what is seen: holds its level where the exact test is too careful and
    the chi-square one too bold (Fagerland, Lydersen and Laake 2013). 1 where the two never differ.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    seen = math.comb(n, least) / 2**n
    if only_first == only_second:
        return 1 - seen / 2
    return 2 * (sum(math.comb(n, i) for i in range(least + 1)) / 2**n) - seen


def pair(
    first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], labels: np.ndarray, data: str
) -> Pair:
    """Two (name, choices (n,)) held against *labels* (n,)."""
    (name, chosen), (other, others) = first, second
    a = int(((chosen == labels) & (others != labels)).sum())
    b = int(((chosen != labels) & (others == labels)).sum())
    return Pair(data, name, other, a, b, mcnemar(a, b))


def _shares(parts: np.ndarray, wholes: np.ndarray) -> dict[str, float | None]:
    return {
        label: float(part / whole) if whole else None
        for label, part, whole in zip(LABELS, parts, wholes, strict=True)
    }
