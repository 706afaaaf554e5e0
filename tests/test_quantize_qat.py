"""Quantization-aware training: accuracy recovered, learned ranges in the file, unsupported layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.analysis.runtimes import open_runtime
from edge.types import EdgeError, Floats, Image
from quantize import convert, measure
from quantize.__main__ import main
from quantize.figures import scores, tflite

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def pictures(n: int) -> tuple[Image, np.ndarray]:
    """*n* noisy pictures with a bright square; its place is the label."""
    random = np.random.default_rng(n)
    labels = np.arange(n) % 7
    images = random.integers(0, 60, (n, 24, 24), np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 3)
        image[top * 8 : top * 8 + 8, left * 8 : left * 8 + 8] += 25
    return images, labels


@pytest.fixture(scope="module")
def badly_scaled() -> Any:
    """A good network with each channel scaled up more than the one before, and its reader scaled down.

    In floating point nothing changed (ReLU passes factors on); but the last channel is 10,000 times the
    first, which is left not one of the 256 steps.
    """
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    pixels = keras.Input((24, 24, 1), name="pixels")
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8, name="norm")(layers.Conv2D(8, 3, 2, "same")(x)))
    x = layers.ReLU()(layers.Conv2D(16, 3, padding="same", name="reader")(x))
    x = layers.Flatten()(layers.AveragePooling2D(4)(x))
    model = keras.Model(pixels, layers.Softmax()(layers.Dense(7, name="logits")(x)))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    images, labels = pictures(350)
    model.fit(images[..., None].astype(np.float32), labels, epochs=12, batch_size=35, verbose=0)

    norm, reader = model.get_layer("norm"), model.get_layer("reader")
    gamma, beta, mean, variance = norm.get_weights()
    factors = np.geomspace(1, 10_000, 8)
    norm.set_weights([gamma * factors, beta * factors, mean, variance])
    kernel, bias = reader.get_weights()
    reader.set_weights([kernel / factors[:, np.newaxis], bias])
    return model


@pytest.fixture(scope="module")
def trained(badly_scaled: Any) -> Any:
    from quantize.network import qat

    return qat.train(badly_scaled, pictures(350)[0], 8)


def int8_probabilities(content: bytes, images: Image) -> Floats:
    return measure.probabilities_of(open_runtime("cpu", content), images)


def test_qat_recovers_what_calibration_alone_loses(badly_scaled: Any, trained: Any) -> None:
    images, labels = pictures(210)
    calibration, _ = pictures(350)
    calibrated = int8_probabilities(convert.to_int8(badly_scaled, calibration), images)
    learned = int8_probabilities(convert.to_int8(trained, calibration), images)
    assert scores.accuracy(convert.predict(badly_scaled, images), labels) > 0.98
    assert scores.accuracy(calibrated, labels) < 0.5  # .26 here, little better than chance
    assert scores.accuracy(learned, labels) > 0.98


def test_file_has_the_learned_ranges_and_matches_the_trained_network(trained: Any) -> None:
    images, _ = pictures(70)
    content = convert.to_int8(trained, images[:0])  # without calibration pictures
    ranges = [layer for layer in trained.layers if type(layer).__name__ == "Range"]
    learned = sorted(
        float(np.exp(16 * np.asarray(layer.growth)[1])) * layer.ends[1] / 255 for layer in ranges
    )
    graph = tflite.read(content)
    activations = [graph.tensors[op.outputs[0]] for op in graph.ops if op.name in ("CONV_2D", "MEAN")]
    for tensor in activations:
        assert min(abs(tensor.scales[0] / scale - 1) for scale in learned) < 1e-4
    assert [op.name for op in graph.ops] == [
        "CONV_2D", "CONV_2D", "AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip
    assert np.abs(int8_probabilities(content, images) - convert.predict(trained, images)).max() < 0.05


def test_command_trains_only_if_calibration_loses_too_much(
    badly_scaled: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    badly_scaled.save(tmp_path / "badly_scaled.keras")
    (images, labels), (public, truth) = pictures(350), pictures(210)
    np.savez(
        tmp_path / "calibration.npz",
        images=np.concatenate([images, public]),
        labels=np.concatenate([labels, truth]),
        usage=np.repeat(np.array([0, 1], np.uint8), [350, 210]),
    )
    data, out = tmp_path / "calibration.npz", tmp_path / "out"
    command = [str(tmp_path / "badly_scaled.keras"), "--data", str(data), "--out", str(out)]
    assert main(command) == 3
    assert capsys.readouterr().err.endswith("nothing was written; try --qat 10\n")
    assert not out.exists()
    assert main([*command, "--qat", "4"]) == 0
    assert "starting quantization-aware training" in capsys.readouterr().out
    card = json.loads((out / "emotion.json").read_text())
    assert card["training"]["quantization"]["epochs trained for eight bits"] == 4
    assert scores.accuracy(int8_probabilities((out / "emotion.tflite").read_bytes(), public), truth) > 0.98


def test_network_without_ranges_is_plain_with_rounded_kernels(trained: Any) -> None:
    from quantize.network import qat

    plain = qat.without_ranges(trained)
    assert not qat.has_ranges(plain)
    kernel = plain.get_layer("reader").get_weights()[0]
    steps = kernel / (np.abs(kernel).max((0, 1, 2)) / 127)
    assert np.abs(steps - np.round(steps)).max() < 1e-3


@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_kernel_has_one_scale_per_channel(multiplier: int) -> None:
    """Channels of very different magnitude: with a single scale the small ones become zero."""
    import keras

    from quantize.network import qat

    keras.utils.set_random_seed(4)
    pixels = keras.Input((24, 24, 1), name="pixels")
    x = keras.layers.ReLU()(keras.layers.Conv2D(8, 3, 2)(keras.layers.Rescaling(1 / 255)(pixels)))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=multiplier, activation="tanh", name="each")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(7, activation="softmax")(x))
    kernel, bias = model.get_layer("each").get_weights()
    kernel *= np.geomspace(1, 1000, 8, dtype=np.float32)[:, np.newaxis]
    model.get_layer("each").set_weights([kernel, bias])
    images = pictures(70)[0]

    learned = qat.train(model, images, 1, rate=1e-7)
    wanted = qat.equalized(model).get_layer("each").get_weights()[0]
    found = learned.get_layer("each").get_weights()[0]
    largest = np.abs(wanted).max((0, 1))
    assert (np.abs(found - wanted).max((0, 1)) <= 0.6 * largest / 127).all()
    content = convert.to_int8(learned, images[:0])
    scales = [
        tensor.scales
        for op in tflite.read(content).ops
        if op.name == "DEPTHWISE_CONV_2D"
        for tensor in [tflite.read(content).tensors[op.inputs[1]]]
    ]
    assert [len(one) for one in scales] == [8 * multiplier]
    np.testing.assert_allclose(scales[0], np.abs(found).max((0, 1)).reshape(-1) / 127, rtol=1e-3)


def test_same_seed_gives_the_same_weights(badly_scaled: Any) -> None:
    from quantize.network import qat

    images, _ = pictures(70)
    first, second = (qat.train(badly_scaled, images, 1, seed=3).get_weights() for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_layer_without_int8_form_is_named() -> None:
    import keras

    from quantize.network import qat

    pixels = keras.Input((24, 24, 1))
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Conv2D(8, 3)(pixels))
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(7, activation="softmax")(x))
    with pytest.raises(EdgeError, match=r"--qat: layer 'norm' \(LayerNormalization\) has no int8 form"):
        qat.train(model, pictures(7)[0], 1)
