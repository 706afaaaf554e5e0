"""Golden vectors: a model's recorded outputs for eight pictures, reproduced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.card import Model, read_model
from edge.analysis.classify import FaceClassifier
from edge.analysis.golden import deviations, read_golden
from edge.analysis.runtimes import open_runtime
from edge.node.build import open_engine
from edge.settings import Settings
from edge.settings.tables import MODEL_FILE
from edge.types import EdgeError
from tests.fakes import EchoRuntime

FILES = ("emotion.tflite", "emotion.onnx", "emotion.fp16.onnx", "emotion.int8.onnx")


def classifier(model: Model) -> FaceClassifier:
    return FaceClassifier(open_runtime("auto", model.content), model.card, model.path.name)


@pytest.mark.parametrize("name", FILES)
def test_each_file_reproduces_its_golden_outputs(squares_files: Path, name: str) -> None:
    model = read_model(squares_files / name)
    golden = read_golden(model)
    assert golden.pictures.shape == (8, 48, 48)
    assert golden.scores.sum(1) == pytest.approx(np.ones(8), abs=1e-5)
    assert golden.tolerance == (24 / 256 if "fp16" not in name and name != "emotion.onnx" else 0.02)
    assert max(deviations(golden, classifier(model))) < 1e-4


def test_golden_pictures_include_black_and_white_and_differ(squares_files: Path) -> None:
    golden = read_golden(read_model(squares_files / "emotion.tflite"))
    assert (golden.pictures.min(), golden.pictures.max()) == (0, 255)
    assert len({picture.tobytes() for picture in golden.pictures}) == 8


def test_runtime_with_swapped_outputs_fails() -> None:
    model = read_model(MODEL_FILE)
    golden = read_golden(model)
    honest = open_runtime("cpu", model.content)

    class Mixed(EchoRuntime):
        def run(self, tensor: np.ndarray) -> tuple[np.ndarray, ...]:
            return (honest.run(tensor)[0][:, ::-1],)

    mixed = FaceClassifier(Mixed(honest.input, honest.outputs[0], np.empty(0)), model.card, "mixed")
    assert max(deviations(golden, mixed)) > 2 * golden.tolerance


def test_shipped_model_reproduces_its_golden_vectors() -> None:
    engine = open_engine(Settings())
    golden = read_golden(engine.model)
    assert max(deviations(golden, engine.classifier)) <= golden.tolerance
    # The vectors can detect errors: the network distinguishes the pictures.
    assert len(set(golden.scores.argmax(1).tolist())) >= 3


def test_file_without_vectors_is_named(squares_files: Path) -> None:
    model = read_model(squares_files / "emotion.tflite")
    other = replace(model, path=model.path.with_name("other.tflite"))
    with pytest.raises(EdgeError, match=r"emotion\.golden\.npz: no golden vectors of other\.tflite in it"):
        read_golden(other)
