"""Networks of the earlier projects pass; layers that lose accuracy in int8 are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.__main__ import main
from quantize.network.explain import Concern, explain, summary

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def network(*stack: Any, shape: tuple[int | None, ...] = (48, 48, 1)) -> Any:
    import keras

    pixels = keras.Input(shape, name="pixels")
    x = pixels
    for layer in stack:
        x = layer(x)
    return keras.Model(pixels, x)


def two_convolutions() -> Any:
    from keras import layers

    return network(
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(64, activation="relu"), layers.Dropout(0.5),
        layers.Dense(7, activation="softmax"),
    )  # fmt: skip


def four_convolutions() -> Any:
    from keras import layers

    stack = []
    for channels in (16, 32, 64, 64):
        stack += [
            layers.Conv2D(channels, 3, padding="same"), layers.BatchNormalization(),
            layers.Activation("relu"), layers.MaxPooling2D(), layers.Dropout(0.25),
        ]  # fmt: skip
    stack += [layers.Flatten(), layers.Dense(64), layers.BatchNormalization(), layers.Activation("relu")]
    return network(*stack, layers.Dense(7, activation="softmax"))


def mini_xception() -> Any:
    import keras
    from keras import layers

    pixels = keras.Input((48, 48, 1), name="pixels")
    x = layers.Conv2D(8, 3, use_bias=False)(layers.Rescaling(1 / 127.5, -1)(pixels))
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    for channels in (16, 32):
        shortcut = layers.BatchNormalization()(layers.Conv2D(channels, 1, 2, "same", use_bias=False)(x))
        x = layers.BatchNormalization()(
            layers.SeparableConv2D(channels, 3, padding="same", use_bias=False)(x)
        )
        x = layers.Activation("relu")(x)
        x = layers.BatchNormalization()(
            layers.SeparableConv2D(channels, 3, padding="same", use_bias=False)(x)
        )
        x = layers.Add()([layers.MaxPooling2D(3, 2, "same")(x), shortcut])
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, padding="same")(x))
    return keras.Model(pixels, layers.Activation("softmax", name="predictions")(x))


def mobilenet_v2() -> Any:
    import keras

    return keras.applications.MobileNetV2((48, 48, 1), alpha=0.35, weights=None, classes=7)


def bad() -> Any:
    """Swish, squeeze-and-excite and layer normalization, each once."""
    import keras
    from keras import layers

    pixels = keras.Input((48, 48, 1), name="pixels")
    x = layers.Conv2D(16, 3, 2, "same", activation="swish", name="swished")(pixels)
    gate = layers.Dense(8, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply(name="excite")([x, layers.Dense(16, activation="sigmoid")(gate)])
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Dense(7, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, x)


@pytest.mark.parametrize("good", [two_convolutions, four_convolutions, mini_xception, mobilenet_v2])
def test_earlier_projects_networks_and_mobilenet_raise_no_concern(good: Any) -> None:
    assert explain(good()) == []


def test_bad_layers_are_named_with_effect_and_advice() -> None:
    concerns = explain(bad())
    assert [(concern.layer, concern.severity, concern.what) for concern in concerns] == [
        ("swished", "warning", "swish (silu)"),
        ("excite", "warning", "squeeze-and-excite"),
        ("norm", "warning", "LayerNormalization"),
    ]
    assert summary(concerns)[0] == (
        "warning: swished: swish (silu): becomes LOGISTIC and MUL, each rounded again; its dip below zero "
        "gets few of the 256 steps; use ReLU or ReLU6, which are fused into the convolution before"
    )


def quantized(model: Any, folder: Path) -> int:
    """The command's exit code for *model* on noise, with a limit that any loss exceeds."""
    model.save(folder / "model.keras")
    labels = np.arange(140) % 7
    images = np.random.default_rng(0).integers(0, 256, (140, 48, 48), np.uint8)
    np.savez(folder / "data.npz", images=images, labels=labels, usage=np.arange(140) // 70)
    given = [str(folder / "model.keras"), "--data", str(folder / "data.npz"), "--out", str(folder / "out")]
    return main([*given, "--max-drop", "-100"])


def test_layers_are_named_again_if_the_loss_is_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # This network is untrained, which would end the command earlier.
    monkeypatch.setattr("quantize.pixels.check_knows", lambda *_: None)
    from keras import layers

    swish = layers.Conv2D(8, 3, 4, activation="swish", name="swished")
    model = network(swish, layers.GlobalAveragePooling2D(), layers.Dense(7, activation="softmax"))
    assert quantized(model, tmp_path) == 3
    warning, line = capsys.readouterr().err.splitlines()[-2:]
    assert warning.startswith("warning: swished: swish (silu): ")
    assert line.endswith("--max-drop allows -100; nothing was written; try --qat 10")


def concerns_of(*stack: Any, shape: tuple[int | None, ...] = (48, 48, 1)) -> list[tuple[str, str]]:
    return [(concern.severity, concern.what) for concern in explain(network(*stack, shape=shape))]


def test_unfused_activations_are_detected_in_every_notation() -> None:
    import keras
    from keras import layers

    for layer, what in (
        (layers.Activation("gelu"), "gelu"),
        (layers.Activation("hard_silu"), "hard swish"),
        (layers.Activation(keras.activations.silu), "swish (silu)"),
        (layers.LeakyReLU(), "leaky ReLU"),
        (layers.ReLU(negative_slope=0.1), "leaky ReLU"),
        (layers.PReLU(shared_axes=[1, 2]), "PReLU"),
        (layers.ELU(), "elu"),
        (keras.ops.silu, "swish (silu)"),
        (lambda x: keras.ops.multiply(x, keras.ops.sigmoid(x)), "swish (silu)"),
        (lambda x: layers.Multiply()([layers.Activation("sigmoid")(x), x]), "swish (silu)"),
    ):
        assert concerns_of(layers.Conv2D(8, 3), layer) == [("warning", what)]
    assert concerns_of(layers.Conv2D(8, 3), layers.ReLU(6.0), layers.ReLU()) == []


def test_only_unfoldable_batch_normalizations_are_reported() -> None:
    from keras import layers

    folding = layers.BatchNormalization
    assert concerns_of(layers.Conv2D(8, 3), folding()) == []
    assert concerns_of(layers.Conv2D(8, 3, activation="relu", name="c"), folding()) == [
        ("warning", "batch normalization after the activation of 'c'")
    ]
    assert concerns_of(layers.Conv2D(8, 3), layers.ReLU(name="r"), folding()) == [
        ("warning", "batch normalization after the activation of 'r'")
    ]
    assert concerns_of(layers.MaxPooling2D(name="p"), folding()) == [
        ("warning", "batch normalization after 'p' (MaxPooling2D)")
    ]
    assert concerns_of(layers.Conv2D(8, 3, name="c"), lambda x: layers.Add()([x, folding()(x)])) == [
        ("warning", "batch normalization after 'c', which other layers read as well")
    ]


def test_shapes_sizes_and_layers_unsuited_to_devices_are_named() -> None:
    from keras import layers

    assert concerns_of(layers.Conv2D(8, 3), shape=(None, None, 1)) == [
        ("stop", "input (None, None, None, 1) without a fixed size")
    ]
    assert concerns_of(layers.Flatten(), layers.Dense(2), shape=(224, 224, 3)) == [
        ("warning", "dense layer of 150528 inputs")
    ]
    assert concerns_of(layers.Lambda(lambda x: x * 2)) == [("stop", "Lambda")]
    assert concerns_of(layers.Resizing(24, 24)) == [("warning", "Resizing inside the network")]
    assert concerns_of(layers.GroupNormalization(1)) == [("warning", "GroupNormalization")]
    assert concerns_of(layers.Reshape((48, 48)), layers.GRU(8)) == [("warning", "GRU")]
    assert concerns_of(layers.Reshape((48, 48)), lambda x: layers.MultiHeadAttention(1, 8)(x, x)) == [
        ("warning", "MultiHeadAttention")
    ]
    assert concerns_of(
        layers.Conv2D(8, 3), layers.Conv2D(12, 3), layers.Conv2D(20, 3), layers.Conv2D(16, 3)
    ) == [("note", "12 channels and 1 more")]


def test_nested_networks_are_analyzed() -> None:
    import keras
    from keras import layers

    inner = keras.Sequential([keras.Input((48, 48, 1)), layers.Conv2D(8, 3), layers.ELU(name="inside")])
    assert [concern.layer for concern in explain(network(inner))] == ["inside"]


def test_equal_concerns_share_a_line_and_fatal_ones_come_first() -> None:
    concerns = [
        Concern("a", "note", "w", "h", "i"),
        Concern("b", "warning", "w", "h", "i"),
        Concern("c", "warning", "w", "h", "i"),
        Concern("d", "stop", "x", "h", "i"),
    ]
    assert summary(concerns) == ["stop: d: x: h; i", "warning: b and 1 more: w: h; i", "note: a: w: h; i"]
