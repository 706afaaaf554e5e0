"""The networks respect the limits of devices and accelerators, and have their documented cost."""

from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from edge.types import EdgeError
from quantize.figures.cost import macs_of_keras as macs
from training.networks import NETWORKS, TRANSFER, build

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

OURS = ("plain", "edge-xs", "edge-s", "edge-s2", "edge-xs2", "edge-m")
ALLOWED = {
    "InputLayer", "Rescaling", "Conv2D", "BatchNormalization", "ReLU", "Add",
    "GlobalAveragePooling2D", "Dropout", "Dense", "Softmax",
}  # fmt: skip
COSTS = {
    "plain": (506_263, 20_903_232),
    "edge-xs": (223_991, 8_166_048),
    "edge-s": (746_375, 31_215_712),
    "edge-s2": (957_703, 68_319_328),
    "edge-xs2": (241_159, 17246000),
    "edge-m": (1_943_271, 281_273_664),
    "shallow-cnn": (4_743_335, 16_002_560),
    "deep-cnn": (4_476_743, 290_475_520),
    "custom-cnn": (2_345_607, 77_326_464),
    "cnn-64-128-256": (2_473_799, 54_707_968),
    "mini-xception": (58_479, 5_520_497),
    "mobilenet-v2": (2_266_951, 55_018_112),
    "vgg16": (14_718_279, 704_695_808),
}


@cache
def cached_network(name: str) -> keras.Model:
    return build(name, dropout=0.2)


@pytest.mark.parametrize("name", OURS)
def test_our_networks_contain_only_layers_that_quantize_everywhere(name: str) -> None:
    network = cached_network(name)
    assert {type(layer).__name__ for layer in network.layers} <= ALLOWED
    assert all(layer.filters % 8 == 0 for layer in network.layers if type(layer).__name__ == "Conv2D")


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("edge-xs", 250_000),
        ("edge-s", 800_000),
        ("edge-s2", 1_000_000),
        ("edge-xs2", 250_000),
        ("edge-m", 2_000_000),
    ],
)
def test_each_network_stays_within_its_size_limit(name: str, limit: int) -> None:
    assert cached_network(name).count_params() <= limit


def test_every_network_is_in_the_table_of_costs() -> None:
    assert COSTS.keys() == NETWORKS.keys() | TRANSFER.keys()


@pytest.mark.parametrize("name", COSTS)
def test_network_has_its_documented_cost(name: str) -> None:
    assert (cached_network(name).count_params(), macs(cached_network(name))) == COSTS[name]


@pytest.mark.parametrize("name", COSTS)
def test_every_network_takes_pixels_and_ends_in_dense_and_softmax(name: str) -> None:
    network = cached_network(name)
    assert (network.input_shape, network.output_shape) == ((None, 48, 48, 1), (None, 7))
    assert [(type(layer), layer.name) for layer in network.layers[-2:]] == [
        (layers.Dense, "logits"),
        (layers.Softmax, "probabilities"),
    ]


def test_macs_match_a_hand_count() -> None:
    given = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(given)  # 4*4 places, 3*3*2*4
    x = layers.DepthwiseConv2D(3)(x)  # 2*2 places, 3*3*4
    x = layers.SeparableConv2D(5, 1)(x)  # 2*2 places, 4 + 4*5
    x = layers.Dense(7)(layers.Flatten()(x))  # 20*7
    assert macs(keras.Model(given, x)) == 16 * 72 + 4 * 36 + 4 * 24 + 140
    assert macs(keras.Sequential([given, keras.Model(given, x)])) == 16 * 72 + 4 * 36 + 4 * 24 + 140


def test_gray_picture_fills_all_three_channels_as_the_weights_expect() -> None:
    colors = keras.Model(cached_network("vgg16").input, cached_network("vgg16").get_layer("colors").output)
    found = np.asarray(colors.predict(np.full((1, 48, 48, 1), 200.0), verbose=0))
    np.testing.assert_allclose(found[0, 5, 5], [96.061, 83.221, 76.32], atol=1e-3)
    both = keras.Model(
        cached_network("mobilenet-v2").input, cached_network("mobilenet-v2").get_layer("colors").output
    )
    picture = np.zeros((1, 48, 48, 1), np.float32)
    picture[0, 1, 2] = 255
    found = np.asarray(both.predict(picture, verbose=0))
    assert found.shape == (1, 96, 96, 3)
    assert found[0, 2:4, 4:6].min() == pytest.approx(1)
    assert found.sum() == pytest.approx(-(96 * 96 * 3) + 2 * 12)


def test_last_dense_layer_of_mini_xception_starts_as_identity() -> None:
    kernel, bias = cached_network("mini-xception").get_layer("logits").get_weights()
    np.testing.assert_array_equal(kernel, np.eye(7))
    assert not bias.any()


def test_weights_file_is_loaded(tmp_path: Path) -> None:
    body = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(96, 96, 3))
    path = tmp_path / "body.weights.h5"
    body.save_weights(path)
    found = build("mobilenet-v2", weights=str(path))
    for name in ("Conv1", "block_3_depthwise", "Conv_1_bn"):
        for mine, theirs in zip(found.get_layer(name).weights, body.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


def test_unavailable_weights_get_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def error_line(name: str, weights: str) -> str:
        with pytest.raises(EdgeError) as caught:
            build(name, weights=weights)
        return str(caught.value)

    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # simulates being offline
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    offline = error_line("mobilenet-v2", "imagenet")
    assert offline.startswith("--weights imagenet: URL fetch failure on https://")
    assert offline.endswith("expected a file of this network's weights without top, or none")
    assert len(offline.splitlines()) == 1
    junk = tmp_path / "junk.weights.h5"
    junk.write_text("junk")
    assert error_line("mobilenet-v2", str(junk)).startswith(f"--weights {junk}: ")
    assert error_line("edge-s", "imagenet") == (
        "--weights imagenet: edge-s takes none; only mobilenet-v2 and vgg16 do; "
        "use --start-from for those of a run"
    )
