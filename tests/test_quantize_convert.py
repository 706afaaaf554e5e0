"""Networks that can be read, those rejected in a line, and the folded form."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.analysis.runtimes import open_runtime
from edge.types import EdgeError
from quantize import convert, measure
from quantize.figures import tflite

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(2)
    return keras


def small(keras: Any, shape: tuple[int | None, ...] = (24, 24, 1), labels: int = 7) -> Any:
    pixels = keras.Input(shape, name="pixels")
    x = keras.layers.Conv2D(8, 3, 2, activation="relu")(keras.layers.Rescaling(1 / 255)(pixels))
    x = keras.layers.Dense(labels)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, keras.layers.Softmax()(x))


def pictures(n: int) -> Any:
    return np.random.default_rng(n).integers(0, 256, (n, 24, 24), np.uint8)


def test_keras_h5_and_savedmodel_predict_and_quantize_alike(keras: Any, tmp_path: Path) -> None:
    from edge.host.quiet import quiet

    model = small(keras)
    images = pictures(20)
    wanted = convert.predict(model, images)
    with quiet():
        model.save(tmp_path / "m.keras")
        model.save(tmp_path / "m.h5")
        model.export(tmp_path / "saved")
    for name in ("m.keras", "m.h5", "saved"):
        read = convert.load(tmp_path / name)
        assert np.abs(convert.predict(read, images) - wanted).max() < 1e-6
        content = convert.to_int8(read, images)
        after = measure.probabilities_of(open_runtime("cpu", content), images)
        assert np.abs(after - wanted).max() < 0.02


def test_dense_weights_have_one_scale(keras: Any) -> None:
    graph = tflite.read(convert.to_int8(small(keras), pictures(20)))
    scales = {op.name: len(graph.tensors[op.inputs[1]].scales) for op in graph.ops if len(op.inputs) == 3}
    assert scales == {"CONV_2D": 8, "FULLY_CONNECTED": 1}


def test_temperature_is_folded_into_the_layer_before_softmax(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    pixels = keras.Input((24, 24, 1), name="pixels")
    x = layers.Conv2D(8, 3)(pixels)
    inner = keras.Sequential(
        [keras.Input((22, 22, 8)), layers.Conv2D(7, 3, name="maps"), layers.GlobalAveragePooling2D()]
    )
    ends = {
        "dense with softmax": layers.Dense(7, activation="softmax")(layers.Flatten()(x)),
        "activation": layers.Activation("softmax")(layers.Dense(7)(layers.Flatten()(x))),
        "convolution, then the mean": layers.Activation("softmax")(inner(x)),
    }
    images = pictures(4)
    for end in ends.values():
        model = keras.Model(pixels, end)
        before = np.log(convert.predict(model, images).clip(1e-30))
        assert convert.fold_temperature(model, 2.0, tmp_path / "m.keras") == 2.0
        after = np.exp(before / 2) / np.exp(before / 2).sum(1, keepdims=True)
        assert np.abs(convert.predict(model, images) - after).max() < 1e-3


def test_savedmodel_temperature_stays_1(keras: Any, tmp_path: Path) -> None:
    from edge.host.quiet import quiet

    with quiet():
        small(keras).export(tmp_path / "saved")
    model = convert.load(tmp_path / "saved")
    assert convert.fold_temperature(model, 2.0, tmp_path / "saved") == 1.0


def test_unreadable_and_unsuitable_networks_are_rejected_in_one_line(keras: Any, tmp_path: Path) -> None:
    def refusal(name: str, model: Any = None) -> str:
        path = tmp_path / name
        if model is not None:
            model.save(path)
        with pytest.raises(EdgeError) as caught:
            convert.load(path)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{path}: ")

    layers = keras.layers
    pixels = keras.Input((24, 24, 1))
    sigmoid = layers.Dense(7, activation="sigmoid", name="end")(layers.Flatten()(pixels))
    code = layers.Dense(7, activation="softmax")(layers.Flatten()(layers.Lambda(lambda x: x / 255)(pixels)))
    assert refusal("color.keras", small(keras, (24, 24, 3))) == (
        "input (None, 24, 24, 3) has 3 channels; the daemon provides luma: "
        "expected one of (n, height, width, 1)"
    )
    assert refusal("any.keras", small(keras, (None, None, 1))) == (
        "input (None, None, None, 1) has no fixed size, which accelerators' compilers need; "
        "build it with keras.Input((height, width, 1))"
    )
    assert refusal("ten.keras", small(keras, labels=10)) == "output (None, 10); expected 7 labels"
    assert refusal("sigmoid.keras", keras.Model(pixels, sigmoid)) == (
        "ends in Dense 'end'; expected a dense layer and softmax"
    )
    assert refusal("code.keras", keras.Model(pixels, code)) == (
        "contains a Lambda layer, Python code that device files cannot contain; "
        "use Keras layers that do the same"
    )
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "net.onnx").write_bytes(b"")
    (tmp_path / "net.tflite").write_bytes(b"")
    assert refusal("no.keras") == "no such file; expected a run's model.keras"
    assert refusal("text.h5").startswith("not a Keras model: ")
    assert refusal("folder") == "a folder without saved_model.pb; expected a run's model.keras"
    assert refusal("net.onnx").startswith("not a complete ONNX file: ")
    assert refusal("net.tflite") == "already a device's file; expected the network it was made from"
    shutil.copytree(tmp_path / "folder", tmp_path / "saved")
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"hello")
    assert refusal("saved").startswith("not a Keras model: ")


def randomize_batch_norms(model: Any) -> Any:
    """*model* with random batch statistics, as after training, so that folding has an effect."""
    random = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if type(layer).__name__ == "BatchNormalization":
            for variable in layer.weights:
                positive = variable.name in ("gamma", "moving_variance")
                low, high = (0.5, 1.5) if positive else (-0.3, 0.3)
                variable.assign(random.uniform(low, high, variable.shape))
    return model


def test_folded_network_predicts_the_same_without_normalization_or_nesting(keras: Any) -> None:
    from quantize.network.fold import equalize, fold

    layers = keras.layers
    inner = keras.Sequential([
        keras.Input((24, 24, 1)), layers.Conv2D(8, 3, use_bias=False), layers.BatchNormalization(),
        layers.Activation("relu"), layers.SeparableConv2D(16, 3, 2, "same"), layers.BatchNormalization(),
        layers.ReLU(), layers.DepthwiseConv2D(3, padding="same"), layers.BatchNormalization(scale=False),
    ])  # fmt: skip
    pixels = keras.Input((24, 24, 1), name="pixels")
    x = inner(layers.Rescaling(1 / 127.5, -1)(pixels))
    x = layers.Add()(
        [x, layers.BatchNormalization()(layers.SeparableConv2D(16, 3, padding="same", activation="tanh")(x))]
    )
    x = layers.Dropout(0.3)(layers.BatchNormalization(center=False)(layers.Dense(32)(layers.Flatten()(x))))
    x = layers.Activation("relu")(x)
    model = randomize_batch_norms(keras.Model(pixels, layers.Dense(7)(x)))
    images = pictures(8)
    wanted = convert.predict(model, images)
    near = 1e-3 * wanted.std(0).max()  # relative to the differences between pictures

    plain = fold(model)
    kinds = {type(layer).__name__ for layer in plain.layers}
    assert kinds == {
        "InputLayer", "Conv2D", "DepthwiseConv2D", "Dense", "ReLU", "Activation", "Add", "Flatten",
    }  # fmt: skip
    assert np.abs(convert.predict(plain, images) - wanted).max() < near
    equalize(plain)
    assert np.abs(convert.predict(plain, images) - wanted).max() < near
