"""Quantised inputs and outputs, and the check of the card against the tensors."""

from typing import Any

import numpy as np
import pytest

from edge.analysis.card import Card
from edge.analysis.classify import FaceClassifier
from edge.analysis.tensors import dequantize, quantize
from edge.types import LABELS, Box, EdgeError, Face, TensorSpec
from tests.fakes import EchoRuntime
from tests.test_card import card

PIXELS = TensorSpec((1, 48, 48, 1), np.dtype(np.int8), 1.0, -128)
PROBABILITIES = TensorSpec((1, 7), np.dtype(np.int8), 1 / 256, -128)
FLOAT_OUT = TensorSpec((1, 7), np.dtype(np.float32))


def classifier(runtime: EchoRuntime, **changes: Any) -> FaceClassifier:
    return FaceClassifier(runtime, Card.model_validate(card(**changes)), "emotion.tflite")


def test_pixels_shift_to_int8_and_saturate() -> None:
    assert quantize(np.array([0, 1, 128, 255, 300, -5]), PIXELS).tolist() == [-128, -127, 0, 127, 127, -128]


def test_quantise_rounds_to_nearest() -> None:
    spec = TensorSpec((1,), np.dtype(np.uint8), 0.5, 10)
    assert quantize(np.array([0.0, 0.24, 0.26, 1000.0]), spec).tolist() == [10, 10, 11, 255]


def test_float_tensor_is_unchanged() -> None:
    assert quantize(np.array([0, 300]), FLOAT_OUT).tolist() == [0.0, 300.0]
    assert dequantize(np.array([0.25], np.float32), FLOAT_OUT).tolist() == [0.25]


def test_int8_outputs_become_probabilities() -> None:
    assert dequantize(np.array([-128, 0, 127], np.int8), PROBABILITIES).tolist() == [0.0, 0.5, 255 / 256]


def test_each_face_gets_its_own_pixels_and_normalized_scores() -> None:
    image = np.zeros((48, 96), np.uint8)
    image[:, 48:] = 200
    output = np.array([[-128, -128, -128, 64, 0, -128, -128]], np.int8)
    runtime = EchoRuntime(PIXELS, PROBABILITIES, output)
    faces = [Face(Box(0, 0, 48, 48), 1.0), Face(Box(48, 0, 48, 48), 1.0)]
    scores = classifier(runtime).classify(image, faces)
    assert runtime.given.shape == (1, 48, 48, 1)
    assert set(np.unique(runtime.given)) == {200 - 128}  # the second face, not a neighbour's pixel
    assert scores.shape == (2, 7)
    assert scores[1].tolist() == pytest.approx([0, 0, 0, 0.6, 0.4, 0, 0])


def test_no_faces_give_no_rows() -> None:
    runtime = EchoRuntime(PIXELS, FLOAT_OUT, np.ones((1, 7), np.float32))
    assert classifier(runtime).classify(np.zeros((9, 9), np.uint8), []).shape == (0, 7)


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 0.0])
def test_invalid_outputs_give_uniform_scores(nonsense: float) -> None:
    runtime = EchoRuntime(PIXELS, FLOAT_OUT, np.full((1, 7), nonsense, np.float32))
    assert classifier(runtime).scores(np.zeros((48, 48), np.uint8)) == pytest.approx([1 / 7] * 7)


def test_pixels_are_scaled_to_the_card_range() -> None:
    floats_in = TensorSpec((1, 48, 48, 1), np.dtype(np.float32))
    runtime = EchoRuntime(floats_in, FLOAT_OUT, np.ones((1, 7), np.float32))
    part = {"height": 48, "width": 48, "channels": 1, "range": [-1, 1]}
    classifier(runtime, input=part).scores(np.full((48, 48), 255, np.uint8))
    assert set(np.unique(runtime.given)) == {1.0}


@pytest.mark.parametrize(
    ("input_spec", "output_spec", "message"),
    [
        (PIXELS._replace(shape=(1, 64, 64, 1)), PROBABILITIES, "card says .*48.*, model takes .*64"),
        (PIXELS, PROBABILITIES._replace(shape=(1, 8)), r"card lists 7 labels, model gives \(1, 8\) outputs"),
        (PIXELS._replace(scale=0.0), PROBABILITIES, "input is int8 without a scale"),
    ],
)
def test_model_that_differs_from_its_card_is_rejected(
    input_spec: TensorSpec, output_spec: TensorSpec, message: str
) -> None:
    with pytest.raises(EdgeError, match=message):
        classifier(EchoRuntime(input_spec, output_spec, np.zeros((1, 7))))


@pytest.mark.parametrize(
    ("framing", "upright"), [("mtcnn", True), ("fer2013", False), ("FER2013", True), ("", True)]
)
def test_crop_that_differs_from_the_card_is_rejected(framing: str, upright: bool) -> None:
    runtime = EchoRuntime(PIXELS, PROBABILITIES, np.zeros((1, 7)))
    with pytest.raises(EdgeError, match=f"card says crop framing='{framing}' upright={upright}; expected"):
        classifier(runtime, crop={"framing": framing, "upright": upright})


def test_card_defines_labels_and_their_order() -> None:
    runtime = EchoRuntime(PIXELS, PROBABILITIES, np.zeros((1, 7)))
    assert classifier(runtime, labels=list(reversed(LABELS))).labels == tuple(reversed(LABELS))
    with pytest.raises(EdgeError, match=r"card lists 2 labels, model gives \(1, 7\) outputs"):
        classifier(runtime, labels=["smile", "no_smile"])
