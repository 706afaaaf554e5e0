"""Networks saved by Keras 1 and 2: read with the same outputs, or one line with advice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.types import EdgeError
from quantize import convert

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def keras() -> Any:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(5)
    return keras


def save_as(model: Any, path: Path, version: str, reported: dict[str, Any]) -> Path:
    """Save *model*'s weights to the .h5 file at *path*, with the network in the format of *version*."""
    import h5py

    from edge.host.quiet import quiet

    with quiet():
        model.save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(reported)
        optimizer = {"class_name": "SGD", "config": {"lr": 0.01, "decay": 1e-6, "momentum": 0.9}}
        file.attrs["training_config"] = json.dumps({"optimizer_config": optimizer, "loss": "mse"})
    return path


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}


def conv(name: str, filters: int, kind: str = "Conv2D", **more: Any) -> dict[str, Any]:
    own = {"filters": filters} if kind == "Conv2D" else {}
    return layer(
        kind, name, **own, kernel_size=[3, 3], strides=[2, 2], padding="same", data_format="channels_last",
        dilation_rate=[1, 1], activation="linear", use_bias=True, kernel_regularizer=None,
        kernel_initializer={"class_name": "VarianceScaling", "config": {"scale": 1.0, "seed": None}},
        bias_initializer={"class_name": "Zeros", "config": {}}, kernel_constraint=None, **more,
    )  # fmt: skip


SHAPE = [None, 48, 48, 1]
DENSE = layer("Dense", "logits", units=7, activation="softmax", use_bias=True, kernel_initializer=None)


def sequential(keras: Any, path: Path, as_list: bool) -> tuple[Any, Path]:
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((48, 48, 1)), layers.Conv2D(8, 3, 2, "same", name="first"),
        layers.BatchNormalization(name="norm"), layers.Activation("relu", name="relu"),
        layers.DepthwiseConv2D(3, 2, "same", name="each"), layers.Flatten(name="flat"),
        layers.Dropout(0.5, name="drop"), layers.Dense(7, activation="softmax", name="logits"),
    ])  # fmt: skip
    norm = layer("BatchNormalization", "norm", axis=[3], momentum=0.99, epsilon=1e-3, center=True, scale=True)
    norm["config"]["dtype"] = {"class_name": "Policy", "config": {"name": "float32"}}
    reported = [
        conv("first", 8, batch_input_shape=SHAPE), norm, layer("Activation", "relu", activation="relu"),
        conv("each", 1, "DepthwiseConv2D", depth_multiplier=1, groups=1, depthwise_regularizer=None),
        layer("Flatten", "flat", data_format="channels_last"),
        layer("Dropout", "drop", rate=0.5, noise_shape=None, seed=None), DENSE,
    ]  # fmt: skip
    config = reported if as_list else {"name": "sequential_1", "layers": reported}
    version = "2.1.6" if as_list else "2.8.0"
    return model, save_as(model, path, version, {"class_name": "Sequential", "config": config})


def sequential_as_list(keras: Any, path: Path) -> tuple[Any, Path]:
    return sequential(keras, path, as_list=True)


def sequential_as_table(keras: Any, path: Path) -> tuple[Any, Path]:
    return sequential(keras, path, as_list=False)


def functional(keras: Any, path: Path) -> tuple[Any, Path]:
    """A shortcut past a convolution, in the format of Keras 2's functional networks."""
    layers = keras.layers
    given = keras.Input((48, 48, 1), name="given")
    x = layers.Conv2D(8, 3, 2, "same", name="first")(given)
    y = layers.SeparableConv2D(8, 3, padding="same", name="second")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Add(name="sum")([x, y]))
    model = keras.Model(given, layers.Dense(7, activation="softmax", name="logits")(x))

    def at(reported: dict[str, Any], *before: str) -> dict[str, Any]:
        nodes = [[[name, 0, 0, {}] for name in before]] if before else []
        return {**reported, "name": reported["config"]["name"], "inbound_nodes": nodes}

    second = conv("second", 8, "SeparableConv2D", depth_multiplier=1, groups=1)
    second["config"] |= {"filters": 8, "strides": [1, 1]}
    reported = {
        "name": "model_1",
        "layers": [
            at(layer("InputLayer", "given", batch_input_shape=SHAPE, sparse=False, ragged=False)),
            at(conv("first", 8), "given"), at(second, "first"),
            at(layer("Add", "sum"), "first", "second"),
            at(layer("GlobalAveragePooling2D", "mean", data_format="channels_last"), "sum"),
            at(DENSE, "mean"),
        ],
        "input_layers": [["given", 0, 0]],
        "output_layers": [["logits", 0, 0]],
    }  # fmt: skip
    return model, save_as(model, path, "2.3.1", {"class_name": "Model", "config": reported})


@pytest.mark.parametrize("make", [sequential_as_list, sequential_as_table, functional])
def test_old_keras_file_predicts_the_same(
    keras: Any, tmp_path: Path, make: Callable[[Any, Path], tuple[Any, Path]]
) -> None:
    model, path = make(keras, tmp_path / "old.h5")
    images = np.random.default_rng(0).integers(0, 3, (6, 48, 48), np.uint8)  # no scaling inside
    wanted, before = convert.predict(model, images), path.read_bytes()
    assert wanted.std(0).max() > 0.003
    np.testing.assert_allclose(convert.predict(convert.load(path), images), wanted, atol=1e-5)
    assert path.read_bytes() == before


def test_keras_2_2_4_file_is_read() -> None:
    given = Path(__file__).parents[2] / "shared" / "cases" / "52-keras-2-h5" / "keras-2.2.4.h5"
    if not given.exists():
        pytest.skip("needs a file in ../shared/cases")
    model = convert.load(given)
    assert (model.input_shape, model.output_shape) == ((None, 48, 48, 1), (None, 7))


def test_unsupported_old_files_get_a_line_with_version_and_advice(keras: Any, tmp_path: Path) -> None:
    model, path = sequential_as_table(keras, tmp_path / "old.hdf5")
    reported = {"class_name": "Sequential", "config": [layer("MyAttention", "mine", batch_input_shape=SHAPE)]}
    path = save_as(model, tmp_path / "odd.h5", "2.4.0", reported)
    with pytest.raises(EdgeError) as caught:
        convert.load(path)
    line = str(caught.value)
    assert "\n" not in line
    assert "MyAttention" in line
    assert line.endswith(
        "; saved by Keras 2.4.0; save it there by tf.saved_model.save(model, folder) and name that folder"
    )


def test_weights_without_network_are_rejected(keras: Any, tmp_path: Path) -> None:
    import h5py

    _, path = sequential_as_list(keras, tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(EdgeError, match="only weights; expected"):
        convert.load(path)
