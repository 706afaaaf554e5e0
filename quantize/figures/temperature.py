"""Temperature scaling: calibrates a network's confidence to its accuracy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.types import Floats
from quantize.figures.scores import Indices


def fit_temperature(probabilities: Floats, labels: Indices) -> float:
    """The temperature (0.2 to 5) of maximum likelihood of *labels*: softmax(log p / T), Guo et al. 2017."""
    # Logits and log-probabilities differ by a constant per row, which softmax cancels.
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1))
    rows = np.arange(len(labels))

    def loss(inverse: float) -> float:
        scaled = logits * inverse
        return float((np.log(np.exp(scaled).sum(1)) - scaled[rows, labels]).mean())

    return 1 / _lowest(loss, 1 / 5, 1 / 0.2)


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a convex *function* (ternary search)."""
    for _ in range(60):
        third = (high - low) / 3
        if function(low + third) < function(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2
