"""Latency per face: files take turns, in as many rounds as the time budget allows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.report import latency
from tests.squares import pictures

IMAGES = pictures(14)[0]
SHIPPED = Path(__file__).resolve().parents[1] / "edge" / "models" / "emotion.tflite"


class Predictor:
    """A fake Keras network that takes 10 ms."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def predict(self, images: np.ndarray, **_: Any) -> np.ndarray:
        self.shapes.append(images.shape)
        time.sleep(0.01)
        return np.zeros((len(images), 7))


@pytest.fixture(scope="module")
def files(squares_files: Path) -> dict[str, bytes]:
    return {name: (squares_files / name).read_bytes() for name in ("emotion.tflite", "emotion.int8.onnx")}


def test_each_file_is_timed_by_threads_and_batch_and_keras_on_one_image(files: dict[str, bytes]) -> None:
    keras = Predictor()
    found = latency.latency(keras, files, IMAGES)
    assert found.rounds == latency.ROUNDS == 20
    assert keras.shapes == [(1, 48, 48, 1)] * 21  # one before the rounds
    assert 10 <= found.keras_ms < 1000
    assert len(found.times) == 2 * 2 * 2
    for one in found.times:
        assert 0 < one.best_ms <= one.ms < 100
    assert found.of("emotion.tflite", 2, 8) in found.times


def test_batch_of_eight_runs_at_once_only_without_fixed_shapes(files: dict[str, bytes]) -> None:
    """Fixed shapes: the initial reshape in our ONNX files, Flatten in the TFLite file of squares."""
    run, at_once = latency._opened(SHIPPED.read_bytes(), 1, IMAGES[:8])
    assert at_once
    assert np.shape(run()) == (8, 7)
    for content in files.values():
        run, at_once = latency._opened(content, 1, IMAGES[:8])
        assert not at_once
        assert np.shape(run()) == (8, 1, 7)
        assert latency._opened(content, 1, IMAGES[:1])[1]


def test_slow_network_gets_the_fewest_rounds(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "BUDGET_S", 0.0)
    keras = Predictor()
    assert latency.latency(keras, files, IMAGES).rounds == latency.FEWEST == 3
    assert len(keras.shapes) == 4
