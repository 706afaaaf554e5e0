"""Metrics of recognition from a confusion matrix: rows true, columns predicted."""

from __future__ import annotations

import numpy as np


def uf1(confusion: np.ndarray) -> float:
    """Unweighted F1, 0..1: the mean over classes."""
    right = np.diag(confusion).astype(float)
    both = confusion.sum(0) + confusion.sum(1)
    there = confusion.sum(1) > 0
    return float((2 * right / np.maximum(both, 1))[there].mean())


def uar(confusion: np.ndarray) -> float:
    """Unweighted average recall, 0..1; chance is 1 / number of classes."""
    there = confusion.sum(1) > 0
    return float((np.diag(confusion)[there] / confusion.sum(1)[there]).mean())


def accuracy(confusion: np.ndarray) -> float:
    """Fraction of correct predictions, 0..1."""
    return float(np.trace(confusion) / max(int(confusion.sum()), 1))
