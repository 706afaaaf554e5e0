"""Names of a device file's tensors: short, unique, and still those of the layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.analysis.runtimes import open_runtime
from edge.host.quiet import quiet
from quantize import convert, measure
from quantize.figures import tflite
from quantize.names import layer_of, shortened
from tests.squares import pictures

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHOWN = pictures(16)[0]


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("functional_1_1/net_1/re_lu_3_1/Relu;functional_1_1/net_1/conv2d_6_1/convolution", "conv2d_6"),
        ("functional_1/net_1/re_lu_2_1/Relu;functional_1/net_1/add_1/Add", "add"),
        ("functional_1/net_1/re_lu_1/Relu", "re_lu"),
        ("StatefulPartitionedCall_1:0", ""),
    ],
)
def test_layer_of_is_the_keras_layer_name(tensor: str, name: str) -> None:
    assert layer_of(tensor) == name


@pytest.fixture(scope="module")
def long() -> bytes:
    """A float file with the converter's own names, among them layers called alike."""
    import keras

    keras.utils.set_random_seed(1)
    pixels = keras.Input((48, 48, 1), name="pixels")
    x = keras.layers.Conv2D(8, 3, 2, name="stem")(pixels)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    for name in ("left", "right"):
        given = keras.Input(x.shape[1:])
        inner = keras.Model(given, keras.layers.Conv2D(8, 3, padding="same", name="same")(given), name=name)
        x = keras.layers.Add()([x, inner(x)])
    x = keras.layers.Dense(7, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    with quiet():
        return convert.to_float(keras.Model(pixels, keras.layers.Softmax()(x)))


def test_shortened_file_has_unique_names_of_the_same_layers(long: bytes) -> None:
    short = shortened(long)
    before, after = tflite.read(long), tflite.read(short)
    names = [tensor.name for tensor in after.tensors]
    assert len({*names}) == len(names)
    assert max(map(len, names)) < 40 < max(len(tensor.name) for tensor in before.tensors)
    assert [layer_of(name) for name in names] == [layer_of(tensor.name) for tensor in before.tensors]
    assert sum(name.startswith("same") for name in names) >= 4
    assert len(short) < len(long)


def test_shortened_file_takes_and_gives_the_same(long: bytes, interpreter: Callable[[bytes], Any]) -> None:
    short = shortened(long)
    before, after = interpreter(long), interpreter(short)
    for details in ("get_input_details", "get_output_details"):
        assert [one["name"] for one in getattr(before, details)()] == [
            one["name"] for one in getattr(after, details)()
        ]
    answers = []
    for one in (before, after):
        one.set_tensor(one.get_input_details()[0]["index"], SHOWN[:1, ..., None].astype(np.float32))
        one.invoke()
        answers.append(one.get_tensor(one.get_output_details()[0]["index"]))
    np.testing.assert_array_equal(*answers)


@pytest.fixture
def interpreter() -> Callable[[bytes], Any]:
    from ai_edge_litert.interpreter import Interpreter

    def opened(content: bytes) -> Any:
        with quiet():
            made = Interpreter(model_content=content)
            made.allocate_tensors()
        return made

    return opened


def test_int8_file_has_short_names() -> None:
    import keras

    keras.utils.set_random_seed(1)
    pixels = keras.Input((48, 48, 1), name="pixels")
    x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="stem")(keras.layers.Rescaling(1 / 255)(pixels))
    x = keras.layers.Dense(7, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    content = convert.to_int8(keras.Model(pixels, keras.layers.Softmax()(x)), SHOWN)
    names = {tensor.name for tensor in tflite.read(content).tensors}
    assert "stem_1/convolution" in names
    assert not any(";" in name for name in names)
    assert measure.probabilities_of(open_runtime("cpu", content), SHOWN).shape == (16, 7)
