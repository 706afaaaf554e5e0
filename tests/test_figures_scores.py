"""Accuracy, calibration, Wilson and McNemar against hand-computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantize.costs import FER2013, costs
from quantize.data import Data
from quantize.figures import scores
from quantize.figures.labelsets import FERPLUS


def test_wilson_interval_stays_within_zero_and_one() -> None:
    assert scores.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert scores.wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 0.5),  # 2 * 1/2 - 1/2
        (1, 3, 0.375),  # 2 * (1 + 4) / 16 - 4 / 16
        (3, 1, 0.375),
        (2, 2, 1 - 6 / 16 / 2),
        (0, 10, 1 / 1024),
        (1, 7, 10 / 256),  # Fagerland, Lydersen and Laake 2013, table 2: mid-p .0391, exact .0703
        # So many that the normal approximation is good.
        (1900, 2100, math.erfc(200 / math.sqrt(4000) / math.sqrt(2))),
        (1000, 1500, 0),
    ],
)
def test_mcnemar_is_the_exact_mid_p_binomial(only_first: int, only_second: int, p: float) -> None:
    assert scores.mcnemar(only_first, only_second) == pytest.approx(p, rel=0.01, abs=1e-12)


def test_split_counts_rows_correct_in_only_one_model() -> None:
    first, second = np.array([True, True, True, False]), np.array([True, False, False, True])
    assert scores.split(first, second) == (2, 1)


def rows(confidence: list[float], labels: list[int]) -> np.ndarray:
    """Probabilities of seven labels: *confidence* for the one in *labels*, the rest equal."""
    found = np.empty((len(labels), 7), np.float32)
    for row, sure, label in zip(found, confidence, labels, strict=True):
        row[:] = (1 - sure) / 6
        row[label] = sure
    return found


def test_calibration_error_is_the_weighted_bin_gap() -> None:
    message = rows([0.9, 0.9, 0.9, 0.9, 0.5, 0.5], [0, 1, 2, 3, 4, 5])
    truth = np.array([0, 1, 2, 6, 4, 5])  # three of four of the sure ones, both of the others
    less, more = scores.reliability(message, truth)
    assert (less.n, less.accuracy) == (2, 1.0)
    assert less.confidence == pytest.approx(0.5)
    assert (more.n, more.accuracy) == (4, 0.75)
    assert more.confidence == pytest.approx(0.9)
    assert scores.calibration_error(message, truth) == pytest.approx((2 * 0.5 + 4 * 0.15) / 6)


def test_label_without_rows_has_no_recall() -> None:
    message = rows([0.9, 0.9, 0.9], [0, 0, 1])
    assert scores.recalls(message, np.array([0, 1, 1]), 3) == [1.0, 0.5, None]


def test_file_is_compared_with_float_on_both_label_sets() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    majority = np.array([0, 0, 1, 1, -1, 3])
    nothing = np.zeros((0, 4, 4), np.uint8)
    data = Data(nothing, np.zeros(0, np.int64), nothing, labels, majority)
    before = rows([0.9] * 6, [0, 0, 1, 0, 2, 3])
    after = rows([0.9] * 6, [0, 1, 1, 1, 2, 2])
    first, second = costs({"some.tflite": after}, before, data)
    assert (first.file, first.data, first.n) == ("some.tflite", FER2013, 6)
    assert (first.float_accuracy, first.accuracy) == (pytest.approx(4 / 6), pytest.approx(5 / 6))
    assert (first.only_float, first.only_file) == (1, 2)
    assert first.drop == pytest.approx(-100 / 6)
    assert first.p == pytest.approx(2 * (1 + 3) / 8 - 3 / 8)
    assert first.moved == ("angry", -50.0)  # of three equal changes the first is reported
    assert (second.data, second.n) == (FERPLUS, 5)
    assert (second.only_float, second.only_file) == (2, 1)
    assert second.recalls[3] == 0.0
    assert second.recalls[2] is None
    assert second.moved == ("happy", -100.0)
