"""Figures by hand."""

import math

import numpy as np
import pytest

from training.measure import figures
from training.measure.figures import Bin


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


def test_the_interval_is_wilson_s_and_stays_within_zero_and_one() -> None:
    assert figures.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert figures.wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    sure_and_half_right = figures.calibration_error(np.array([1.0, 1.0]), np.array([True, False]))
    assert sure_and_half_right == pytest.approx(0.5)
    in_two_bins = figures.calibration_error(np.array([0.9, 0.5]), np.array([True, False]))
    assert in_two_bins == pytest.approx((0.1 + 0.5) / 2)


def test_reliability_keeps_the_bins_that_hold_rows() -> None:
    found = figures.reliability(np.array([0.5, 1.0, 0.98]), np.array([False, True, False]))
    assert found == [Bin(1, 0.5, 0.0), Bin(2, pytest.approx(0.99), 0.5)]


def test_mcnemar_gives_the_mid_p_of_the_binomial_test() -> None:
    # Fagerland, Lydersen and Laake 2013, table 2: 1 against 7 pairs: exact p .0703, mid-p .0391.
    assert figures.mcnemar(1, 7) == pytest.approx(0.0391, abs=5e-5)
    assert figures.mcnemar(7, 1) == figures.mcnemar(1, 7)
    assert figures.mcnemar(0, 0) == 1
    assert figures.mcnemar(2, 2) == pytest.approx(1 - math.comb(4, 2) / 2**4 / 2)


def test_mcnemar_stays_a_number_for_thousands_of_pairs() -> None:
    # So many that the normal approximation is good: z = 200 / sqrt(4000).
    expected = math.erfc(200 / math.sqrt(4000) / math.sqrt(2))
    assert figures.mcnemar(1900, 2100) == pytest.approx(expected, rel=0.01)


def test_a_pair_counts_the_rows_that_only_one_has_right() -> None:
    truth = np.array([0, 1, 2, 3, 4])
    found = figures.pair(("a", np.array([0, 1, 2, 0, 0])), ("b", np.array([0, 0, 0, 3, 0])), truth, "made up")
    assert (found.first, found.second, found.only_first, found.only_second) == ("a", "b", 2, 1)
    assert found.p == figures.mcnemar(2, 1)
