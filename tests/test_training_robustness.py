"""Corruptions as by poor cameras: each does what its name says, increasingly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.squares import pictures
from training.__main__ import main
from training.data import Dataset
from training.measure import robustness
from training.measure.evaluate import evaluate, table
from training.measure.model_files import open_network
from training.measure.robustness import CORRUPTIONS, corrupted

RANDOM = np.random.default_rng(0)


def smooth(count: int = 6) -> np.ndarray:
    """Pictures with edges of several sizes, none of them at the border."""
    images = np.random.default_rng(1).integers(40, 216, (count, 8, 8), np.uint8)
    return np.stack([cv2.resize(image, (48, 48), interpolation=cv2.INTER_CUBIC) for image in images])


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_stronger_corruptions_change_more(name: str) -> None:
    images = smooth()
    changed = [
        float(np.abs(some.astype(int) - images).mean()) for what, _, some in corrupted(images) if what == name
    ]
    assert len(changed) == 3
    assert 0 < changed[0] < changed[1] < changed[2]


def test_corruptions_keep_shape_and_type_and_are_deterministic() -> None:
    images = smooth(2)
    for (*_, one), (*_, other) in zip(corrupted(images), corrupted(images), strict=True):
        assert (one.shape, one.dtype) == (images.shape, np.uint8)
        np.testing.assert_array_equal(one, other)


def test_corruptions_match_hand_computed_values() -> None:
    flat = np.full((48, 48), 128, np.uint8)
    assert robustness.noisy(flat, 12, RANDOM).std() == pytest.approx(12, rel=0.1)
    assert robustness.dark(flat, 2.0, RANDOM).mean() == pytest.approx(255 * (128 / 255) ** 2, abs=1)
    assert (robustness.blurred(flat, 2.0, RANDOM) == 128).all()
    # Each 3x3 block is uniform, so shrinking to 16 pixels loses nothing.
    board = np.kron(np.indices((16, 16)).sum(0) % 2 * 200, np.ones((3, 3))).astype(np.uint8)
    assert np.abs(robustness.small(board, 16, RANDOM)[1::3, 1::3].astype(int) - board[1::3, 1::3]).max() <= 1
    # An exact box returns the picture unchanged.
    assert (robustness.jittered(board, 0.0, RANDOM) == board).all()


def write_network(path: Path) -> Path:
    """A network that classifies `pictures` by their bright part."""
    import keras

    pixels = keras.Input((48, 48, 1), name="pixels")
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(16)(keras.layers.Rescaling(1 / 25)(pixels)))
    model = keras.Model(pixels, keras.layers.Softmax()(keras.layers.Dense(7, name="logits")(x)))
    model.set_weights([np.eye(9, 7, dtype=np.float32) * 5, np.zeros(7, np.float32)])
    model.save(path)
    return path


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_robustness_table_follows_the_clean_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = pictures(70)
    data = tmp_path / "rows.npz"
    np.savez(data, images=images, labels=labels, usage=np.ones(70, np.uint8))
    model, out = write_network(tmp_path / "net.keras"), tmp_path / "out"
    command = ["evaluate", str(model), "--data", str(data), "--json", str(tmp_path / "f.json")]
    assert main([*command, "--robustness", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "f.json").read_text())
    assert len(found["robustness"]) == 18
    assert found["figures"][0]["accuracy"] == 1.0
    clean = [line for line in shown.splitlines() if line.startswith("    clean ")]
    assert [line.split()[1] for line in clean] == ["100.00"]
    report = (out / "report.md").read_text(encoding="utf-8")
    assert "| clean | 100.00 |" in report
    assert report.count("| jittered box, edges ±") == 3
    assert main(command) == 0
    assert "poor cameras" not in capsys.readouterr().out
    assert json.loads((tmp_path / "f.json").read_text())["robustness"] == []
    one = evaluate(open_network(model), rows(images, labels), "PublicTest", robust=True)
    assert table(replace(one, robustness=[])) in table(one)


def rows(images: np.ndarray, labels: np.ndarray) -> Dataset:
    n = len(labels)
    return Dataset(images, labels, np.ones(n, np.uint8), np.zeros((n, 10), np.uint8), np.arange(n))
