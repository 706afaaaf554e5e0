"""Quantization error per layer: a deliberately bad layer is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quantize import convert
from quantize.report import sqnr
from tests.squares import pictures

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHOWN = pictures(70)[0]


def network() -> Any:
    import keras

    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    layers = keras.layers
    pixels = keras.Input((48, 48, 1), name="pixels")
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.Conv2D(8, 3, 4, "same", activation="relu", name="first")(x)
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="second")(x)
    x = layers.Dense(16, activation="relu", name="dense")(layers.Flatten()(x))
    return keras.Model(pixels, layers.Softmax()(layers.Dense(7, name="logits")(x)))


def layers_of(model: Any) -> list[sqnr.Layer]:
    return sqnr.layers(convert.to_float(model), convert.to_int8(model, SHOWN), SHOWN[:16])


def test_layers_are_listed_by_name_in_order() -> None:
    found = layers_of(network())
    names = [(layer.name, layer.op) for layer in found]
    assert names == [
        ("first", "CONV_2D"), ("second", "CONV_2D"), ("dense", "FULLY_CONNECTED"),
        ("logits", "FULLY_CONNECTED"), ("softmax", "SOFTMAX"),
    ]  # fmt: skip  # not flatten: it computes nothing
    assert all(20 < layer.db < sqnr.MOST_DB for layer in found)
    # The dense layer's added error excludes the error that reached it through flatten.
    assert found[2].added < 10 ** (-min(found[2].db, found[2].middle_db) / 20) - 0.005


def test_dense_layer_with_one_outlier_weight_is_the_worst() -> None:
    model = network()
    second, dense = model.get_layer("second"), model.get_layer("dense")
    kernel, bias = second.get_weights()
    bias[0] = -100.0  # its first channel is always zero
    second.set_weights([kernel, bias])
    kernel, bias = dense.get_weights()
    kernel[0] = 100.0  # no effect in float, but the outlier uses up all 256 int8 steps
    dense.set_weights([kernel, bias])
    found = layers_of(model)
    worst = sqnr.worst(found)
    assert worst.name == "dense"
    assert worst.db < 3
    assert next(layer for layer in found if layer.name == "second").db > 20
    assert sqnr.summary(found)[0].startswith("dense (FULLY_CONNECTED): ")


def test_small_channels_count_as_much_as_a_large_one() -> None:
    model = network()
    first, second = model.get_layer("first"), model.get_layer("second")
    kernel, bias = first.get_weights()
    factors = np.geomspace(1, 10_000, 8)  # in floating point nothing changes: ReLU passes factors on
    first.set_weights([kernel * factors, bias * factors])
    kernel, bias = second.get_weights()
    second.set_weights([kernel / factors[:, np.newaxis], bias])
    found = layers_of(model)
    worst = sqnr.worst(found)
    assert worst.name == "first"
    assert worst.db > 20  # the large channels hide it
    assert worst.middle_db < 15
