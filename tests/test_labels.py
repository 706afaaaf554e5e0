"""Label names and their spellings, and data sets' label numbers."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from edge.labels import FER2013, is_number, label_of, order, ours
from edge.types import LABELS


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("anger", "angry"), ("Disgusted", "disgust"), ("FEARFUL", "fear"), ("happiness", "happy"),
        ("joy", "happy"),
        (" sadness ", "sad"), ("4_sad", "sad"), ("05-surprised", "surprise"), ("ne", "neutral"),
        ("contempt", None), ("faces", None), ("", None), ("2023", None), ("3", None),
    ],
)  # fmt: skip
def test_label_matches_any_common_spelling(name: str, label: str | None) -> None:
    assert label_of(name) == (None if label is None else LABELS.index(label))


def test_number_maps_to_a_label_by_the_given_order() -> None:
    affectnet = order("neutral,happy,sad,surprise,fear,disgust,anger,contempt")
    found = [label_of(str(number), affectnet) for number in range(9)]
    wanted = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"]
    assert found == [*map(LABELS.index, wanted), None, None]
    assert label_of("happiness", affectnet) == LABELS.index("happy")
    assert label_of("03", FER2013) == 3
    numbers = np.array([6, 0, 7, -1, 200])
    assert ours(numbers, affectnet).tolist() == [0, 6, -1, -1, -1]
    assert str(affectnet) == "neutral,happy,sad,surprise,fear,disgust,anger,contempt"


@pytest.mark.parametrize(
    "text", ["", "happy", "happy,,sad", "happy,sad,joy", "0,1,2", "happy sad", "contempt,other"]
)
def test_invalid_order_is_rejected(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        order(text)


@pytest.mark.parametrize(
    ("name", "wanted"), [("0", True), (" 12 ", True), ("2023", False), ("a1", False), ("²", False)]
)
def test_only_one_or_two_digits_may_be_a_label_number(name: str, wanted: bool) -> None:
    assert is_number(name) is wanted
