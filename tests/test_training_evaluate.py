"""Figures by hand."""

import numpy as np
import pytest

from training import evaluate


def test_accuracy_recall_and_confusion_of_four_rows() -> None:
    probabilities = np.eye(7)[[0, 0, 3, 6]]
    found = evaluate.figures(probabilities, np.array([0, 1, 3, 6]), "made up", "PublicTest")
    assert (found.n, found.accuracy, found.balanced_accuracy) == (4, 0.75, 0.75)
    assert (found.recall["angry"], found.recall["disgust"], found.recall["sad"]) == (1, 0, None)
    assert (found.precision["angry"], found.precision["disgust"]) == (0.5, None)
    assert found.confusion[1] == [1, 0, 0, 0, 0, 0, 0]


def test_the_interval_is_wilson_s_and_stays_within_zero_and_one() -> None:
    assert evaluate.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert evaluate.wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


def test_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    sure_and_half_right = evaluate.calibration_error(np.array([1.0, 1.0]), np.array([True, False]))
    assert sure_and_half_right == pytest.approx(0.5)
    in_two_bins = evaluate.calibration_error(np.array([0.9, 0.5]), np.array([True, False]))
    assert in_two_bins == pytest.approx((0.1 + 0.5) / 2)
