"""Figures from probabilities and true labels: pure arithmetic, the same for every network and label set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.types import LABELS
from quantize.figures import scores
from quantize.figures.scores import Bin


@dataclass(frozen=True)
class Figures:
    """One model's figures on one label set; fractions are 0..1."""

    data: str  # data set and label set
    split: str
    n: int
    accuracy: float
    interval: tuple[float, float]  # 95 %, Wilson's
    balanced_accuracy: float  # mean of the recalls
    recall: dict[str, float | None]  # None for a label that does not occur
    precision: dict[str, float | None]  # None for a label that was never predicted
    f1: dict[str, float | None]  # None if recall is
    calibration_error: float  # ECE: mean distance of confidence and accuracy over bins
    reliability: list[Bin]  # the non-empty bins, by rising confidence
    confusion: list[list[int]]  # rows: true, columns: predicted, in the labels' order

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels."""
        return tuple(self.recall)


@dataclass(frozen=True)
class Pair:
    """Two models on the same rows: how often only one is correct, and the p-value of that."""

    data: str
    first: str
    second: str
    only_first: int  # rows that only the first classifies correctly
    only_second: int
    p: float  # McNemar's test, two-sided, mid-p


def figures(
    probabilities: np.ndarray, truth: np.ndarray, name: str, split: str, labels: Sequence[str] = LABELS
) -> Figures:
    """The figures of *probabilities* (n, labels) against *truth* (n,), indices into *labels*."""
    n, chosen = len(truth), probabilities.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, chosen), 1)
    right, shown, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = dict(zip(labels, scores.recalls(probabilities, truth, len(labels)), strict=True))
    f1 = _shares(labels, 2 * right, np.where(shown > 0, shown + predicted, 0))
    return Figures(
        data=name, split=split, n=n,
        accuracy=float(right.sum() / n), interval=scores.wilson(int(right.sum()), n),
        balanced_accuracy=float(np.mean([share for share in recall.values() if share is not None])),
        recall=recall, precision=_shares(labels, right, predicted), f1=f1,
        calibration_error=scores.calibration_error(probabilities, truth),
        reliability=scores.reliability(probabilities, truth), confusion=confusion.tolist(),
    )  # fmt: skip


def pair(
    first: tuple[str, np.ndarray], second: tuple[str, np.ndarray], labels: np.ndarray, data: str
) -> Pair:
    """Compare two (name, predictions (n,)) against *labels* (n,)."""
    (name, chosen), (other, others) = first, second
    only = scores.split(chosen == labels, others == labels)
    return Pair(data, name, other, *only, scores.mcnemar(*only))


def _shares(labels: Sequence[str], parts: np.ndarray, wholes: np.ndarray) -> dict[str, float | None]:
    return {
        label: float(part / whole) if whole else None
        for label, part, whole in zip(labels, parts, wholes, strict=True)
    }
