"""Figures against hand-computed values."""

import numpy as np
import pytest

from quantize.figures.scores import mcnemar
from training.measure import figures


def test_accuracy_recall_and_confusion_of_four_rows() -> None:
    probabilities = np.eye(7)[[0, 0, 3, 6]]
    found = figures.figures(probabilities, np.array([0, 1, 3, 6]), "made up", "PublicTest")
    assert (found.n, found.accuracy, found.balanced_accuracy) == (4, 0.75, 0.75)
    assert (found.recall["angry"], found.recall["disgust"], found.recall["sad"]) == (1, 0, None)
    assert (found.precision["angry"], found.precision["disgust"]) == (0.5, None)
    assert found.confusion[1] == [1, 0, 0, 0, 0, 0, 0]


def test_f1_is_the_harmonic_mean_of_recall_and_precision() -> None:
    probabilities = np.eye(7)[[0, 0, 3, 6]]
    f1 = figures.figures(probabilities, np.array([0, 1, 3, 6]), "made up", "PublicTest").f1
    assert f1["angry"] == pytest.approx(2 * 1 * 0.5 / (1 + 0.5))
    assert (f1["disgust"], f1["happy"], f1["sad"]) == (0, 1, None)


def test_pair_counts_rows_correct_in_only_one() -> None:
    truth = np.array([0, 1, 2, 3, 4])
    found = figures.pair(("a", np.array([0, 1, 2, 0, 0])), ("b", np.array([0, 0, 0, 3, 0])), truth, "made up")
    assert (found.first, found.second, found.only_first, found.only_second) == ("a", "b", 2, 1)
    assert found.p == mcnemar(2, 1)
