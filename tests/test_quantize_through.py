"""The whole command on networks of the earlier projects, a MobileNetV2, one of ours, and a bad one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.analysis.card import read_model
from quantize.__main__ import main
from tests.test_quantize_explain import bad

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TRAINING, PUBLIC_TEST = 280, 210


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes whose direction is the label, so that networks with global averaging can learn it."""
    random = np.random.default_rng(0)
    labels = np.arange(TRAINING + PUBLIC_TEST) % 7
    down, across = np.mgrid[:48, :48]
    turned = np.arange(7)[:, None, None] * np.pi / 7
    stripes = 128 + 100 * np.sin((down * np.cos(turned) + across * np.sin(turned)) * 2 * np.pi / 6)
    noise = random.normal(0, 2, (len(labels), 48, 48))
    return np.clip(stripes[labels] + noise, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images, labels = pictures()
    path = tmp_path_factory.mktemp("data") / "calibration.npz"
    np.savez(path, images=images, labels=labels, usage=np.repeat([0, 1], [TRAINING, PUBLIC_TEST]))
    return path


def fit(model: Any) -> Any:
    """*model*, right on the pictures without a training: statistics of one pass, the dense layer solved for.

    All that comes before the dense layer stays random.
    """
    import keras

    images, labels = (array[:TRAINING] for array in pictures())
    batch = images[..., np.newaxis].astype(np.float32)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    (logits,) = [layer for layer in model.layers if layer.name == "logits"]
    features = keras.Model(model.input, logits.input)
    features(batch, training=True)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    found = np.asarray(features(batch), np.float64)
    centred = found - found.mean(0)
    squares = centred.T @ centred
    ridge = 1e-3 * np.trace(squares) / len(squares)
    kernel = np.linalg.solve(squares + ridge * np.eye(len(squares)), centred.T @ (8 * np.eye(7)[labels]))
    logits.set_weights([kernel.astype(np.float32), (-found.mean(0) @ kernel).astype(np.float32)])
    return model


def build_network(name: str) -> Any:
    from training.networks import build

    return build(name, dropout=0.2)


def build_narrow(name: str) -> Any:
    """Network *name* with an eighth of its channels and units."""
    import keras

    def copy(layer: Any) -> Any:
        config = layer.get_config()
        for width in ("filters", "units"):
            if width in config and layer.name != "logits":
                config[width] //= 8
        return type(layer).from_config(config)

    return keras.models.clone_model(build_network(name), clone_function=copy)


def mobilenet() -> Any:
    """The first third of a MobileNetV2, as in training.networks but a third as wide."""
    import keras
    from keras import layers

    pixels = keras.Input((48, 48, 1), name="pixels")
    x = layers.UpSampling2D(2)(layers.Rescaling(1 / 127.5, offset=-1.0)(pixels))
    x = layers.Concatenate()([x, x, x])
    whole = keras.applications.MobileNetV2(
        (96, 96, 3), alpha=0.35, include_top=False, weights=None, input_tensor=x
    )
    x = layers.GlobalAveragePooling2D()(whole.get_layer("block_4_add").output)
    return keras.Model(pixels, layers.Softmax()(layers.Dense(7, name="logits")(x)))


NETWORKS: dict[str, Callable[[], Any]] = {
    "shallow-cnn": lambda: build_narrow("shallow-cnn"),
    "deep-cnn": lambda: build_narrow("deep-cnn"),
    "custom-cnn": lambda: build_narrow("custom-cnn"),
    "cnn-64-128-256": lambda: build_narrow("cnn-64-128-256"),
    "mini-xception": lambda: build_network("mini-xception"),
    "mobilenet-v2": mobilenet,
}


def saved(model: Any, folder: Path) -> Path:
    model.save(folder / "model.keras")
    return folder / "model.keras"


def arguments(model: Path, data: Path, out: Path, *more: str) -> list[str]:
    return [str(model), "--data", str(data), "--out", str(out), "--calibrate", "70", *more]


def accuracies(out: Path) -> dict[str, float]:
    """File -> accuracy from the card, which must list exactly the files written."""
    card = read_model(out / "emotion.tflite").card
    there = {path.name for path in out.iterdir()}
    assert set(card.files) <= there
    assert {name for name in there if name.endswith((".tflite", ".onnx", ".npz"))} == set(card.files)
    return {
        figure.protocol.partition(" as shipped")[0]: figure.value
        for figure in card.figures
        if figure.name == "accuracy"
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_good_network_converts_and_stays_accurate(name: str, data: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(4)
    model = saved(fit(NETWORKS[name]()), tmp_path)
    assert main(arguments(model, data, tmp_path / "out", "--no-report")) == 0
    found = accuracies(tmp_path / "out")
    assert list(found) == ["emotion.tflite"]
    assert found["emotion.tflite"] > 0.95


def test_command_makes_every_file_for_a_jetson(data: Path, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(4)
    model = saved(fit(build_network("edge-xs")), tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "quantize", *arguments(model, data, tmp_path / "out", "--target", "jetson")],
        capture_output=True, text=True, timeout=150, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = accuracies(tmp_path / "out")
    assert list(found) == ["emotion.tflite", "emotion.onnx", "emotion.fp16.onnx", "emotion.int8.onnx"]
    assert min(found.values()) > 0.95
    assert (tmp_path / "out" / "report" / "report.md").exists()


def test_bad_layers_are_named_before_quantizing_and_nothing_is_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # This network is untrained, which would end the command earlier.
    monkeypatch.setattr("quantize.pixels.check_knows", lambda *_: None)
    assert main(arguments(saved(bad(), tmp_path), data, tmp_path / "out")) == 1
    reported = capsys.readouterr()
    lines = reported.out.splitlines()
    for layer in ("swished: swish (silu)", "excite: squeeze-and-excite", "norm: LayerNormalization"):
        assert any(line.startswith(f"warning: {layer}: ") for line in lines)
    assert reported.err.splitlines()[-1].startswith("the converter left ")
    assert not (tmp_path / "out").exists()
