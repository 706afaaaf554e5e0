"""training/balance.py on predictions with a known bias."""

from __future__ import annotations

import numpy as np
import pytest

from training.balance import fit


def biased_network(shift: np.ndarray, n: int = 60_000) -> tuple[np.ndarray, np.ndarray]:
    """(log probabilities, truth) of a network that is correct except for *shift*, and twice too confident."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, (n, len(shift))) + np.array([0.0, -2.0, 1.0])
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (chances.cumsum(1) > random.random((n, 1))).argmax(1)
    answers = 2 * logits - shift
    return np.stack([answers - np.log(np.exp(answers).sum(1, keepdims=True))] * 2), truth


def test_fit_recovers_a_known_bias() -> None:
    shift = np.array([0.5, 0.3, -0.8])
    np.testing.assert_allclose(fit(*biased_network(shift), 0.0), shift, atol=0.2)


def test_fit_does_not_change_an_unbiased_network() -> None:
    np.testing.assert_allclose(fit(*biased_network(np.zeros(3)), 0.0), 0, atol=0.2)


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_strength_favours_the_rare_label(strength: float) -> None:
    answers, truth = biased_network(np.zeros(3))
    assert np.bincount(truth).argmin() == 1
    shifts = fit(answers, truth, strength)
    assert shifts[1] > 0.2 > shifts[2]
    recall = [(some.argmax(1) == truth)[truth == 1].mean() for some in (answers[0], answers[0] + shifts)]
    assert recall[1] > recall[0]


def test_fit_is_of_decisions_not_of_likelihood() -> None:
    """Rows that no bias can win pull a likelihood's bias, not that of decisions."""
    doubtful, lost = np.log([[0.55, 0.45]] * 40), np.log([[0.999, 0.001]] * 10)
    won = np.log([[0.7, 0.3]] * 60)
    answers = np.concatenate((doubtful, lost, won))[None]
    truth = np.array([1] * 40 + [1] * 10 + [0] * 60)
    shifts = fit(answers, truth, 0.0)
    assert ((answers[0] + shifts).argmax(1) == truth).sum() == 100
