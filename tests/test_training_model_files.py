"""Every network file format gives the same probabilities for the same pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import edge
from edge.types import EdgeError
from quantize.figures.cost import Cost
from tests.tiny_onnx import by_hand, write_onnx
from training.measure.model_files import open_network, open_networks

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHIPPED = Path(edge.__file__).parent / "models" / "emotion.tflite"
PICTURES = np.stack([np.full((48, 48), level, np.uint8) for level in (0, 100, 200, 255, 30)])


@pytest.mark.parametrize(
    ("shape", "kind", "black", "white"),
    [
        (["n", 48, 48, 1], TensorProto.FLOAT, 0, 255),
        (["n", 1, 48, 48], TensorProto.FLOAT, 0, 255),
        ([1, 48, 48, 1], TensorProto.FLOAT, 0, 255),
        ([4, 1, 48, 48], TensorProto.FLOAT, 0, 255),
        ([1, 48, 48, 1], TensorProto.INT8, -128, 127),
        (["n", 1, 48, 48], TensorProto.UINT8, 0, 255),
    ],
)
def test_onnx_runs_with_its_own_layout_type_and_batch(
    tmp_path: Path, shape: list[int | str], kind: int, black: float, white: float
) -> None:
    path = write_onnx(tmp_path / "model.onnx", shape, kind, black=black, white=white)
    network = open_network(path)
    found = network.probabilities(PICTURES)
    np.testing.assert_allclose(found, by_hand(PICTURES[:, 0, 0] / 255), atol=1e-4)
    assert network.opened.cost() == Cost(7 + 7, 7)


def test_weights_behind_quantization_steps_are_counted(tmp_path: Path) -> None:
    network = open_network(write_onnx(tmp_path / "model.onnx", [1, 1, 48, 48], steps=True))
    assert network.opened.cost() == Cost(7 + 7, 7)
    np.testing.assert_allclose(network.probabilities(PICTURES), by_hand(PICTURES[:, 0, 0] / 255), atol=1e-4)


@pytest.mark.parametrize("file", ["edge/models/faces.tflite", "training/detect/shipped/model.keras"])
def test_network_with_several_outputs_gets_one_line(file: str) -> None:
    with pytest.raises(EdgeError, match=r"1 inputs, 9 outputs; expected one of each \(for face detectors"):
        open_network(Path(edge.__file__).parents[1] / file)


def test_toml_describes_range_size_and_order_of_another_file(tmp_path: Path) -> None:
    write_onnx(tmp_path / "theirs.onnx", [1, 64, 64, 1], black=-1, white=1)
    described = tmp_path / "theirs.toml"
    described.write_text(
        'file = "theirs.onnx"\nname = "Theirs"\nrange = [-1, 1]\n'
        'labels = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear"]\n'
    )
    network = open_network(described)
    assert (network.name, network.path.name) == ("Theirs", "theirs.onnx")
    theirs = by_hand(PICTURES[:, 0, 0] / 255)
    np.testing.assert_allclose(network.probabilities(PICTURES), theirs[:, [4, 5, 6, 1, 3, 2, 0]], atol=1e-4)


def test_eighth_label_is_dropped_and_the_rest_renormalized(tmp_path: Path) -> None:
    write_onnx(tmp_path / "eight.onnx", ["n", 48, 48, 1], outputs=8)
    described = tmp_path / "eight.toml"
    described.write_text(
        'file = "eight.onnx"\nlabels = ["contempt", "an", "di", "fe", "ha", "sa", "su", "ne"]\n'
    )
    found = open_network(described).probabilities(PICTURES)
    np.testing.assert_allclose(found, by_hand(PICTURES[:, 0, 0] / 255), atol=1e-4)


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("file = 3", "file: 3, name: 'x'; expected two strings"),
        ('file = "a.onnx"\nsize = 3', "size: unknown key; expected file, name, range and labels"),
        ('file = "a.onnx"\nrange = [0]', "range: [0]; expected two different numbers, for black and white"),
        ('file = "a.onnx"\nlabels = ["angry"]', "labels: no disgust, fear, happy, sad, surprise, neutral"),
        ('file = "a.onnx"\nname = "a | b"', "name: 'a | b'; expected one line without |"),
        ('file = "a.onnx"\nname = " "', "name: ' '; expected one line without |"),
        ("file =", "Invalid value"),
    ],
)
def test_invalid_toml_gets_one_line(tmp_path: Path, text: str, reported: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(EdgeError) as caught:
        open_network(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {reported}")


def test_outputs_that_are_not_probabilities_are_rejected(tmp_path: Path) -> None:
    eight = open_network(write_onnx(tmp_path / "eight.onnx", ["n", 48, 48, 1], outputs=8))
    with pytest.raises(EdgeError, match=r"eight\.onnx: 8 outputs; expected 7"):
        eight.probabilities(PICTURES)
    logits = open_network(write_onnx(tmp_path / "logits.onnx", ["n", 48, 48, 1], softmax=False))
    with pytest.raises(
        EdgeError, match=r"logits\.onnx: outputs sum to .*; expected probabilities, which sum to 1"
    ):
        logits.probabilities(PICTURES)


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("a.onnx", "not an ONNX model"),
        ("a.tflite", "ai-edge-litert: cannot run this model"),
        ("a.keras", "not a Keras model"),
        ("a.pt", "unknown format .pt; expected a run's folder, .keras, .tflite, .onnx or .toml"),
    ],
)
def test_text_file_with_a_model_name_is_rejected_in_one_line(
    tmp_path: Path, name: str, reported: str
) -> None:
    path = tmp_path / name
    path.write_text("hello")
    with pytest.raises(EdgeError) as caught:
        open_network(path)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {reported}")


def test_onnx_for_color_pictures_is_rejected_with_its_shape(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "color.onnx", ["n", 3, 48, 48])
    with pytest.raises(EdgeError, match=r"input \(0, 3, 48, 48\); expected \(n, height, width, 1\) or"):
        open_network(path)


def test_run_folder_opens_its_network(tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((48, 48, 1))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(pixels)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(pixels, keras.layers.Dense(7, "softmax")(x))
    run = tmp_path / "first"
    run.mkdir()
    model.save(run / "model.keras")
    network = open_network(run)
    assert (network.name, network.path, network.run) == ("first", run / "model.keras", None)
    (run / "recipe.json").write_text("{}")
    assert network.run == run
    assert network.opened.cost() == Cost(8 * 10 + 7 * 9, 24 * 24 * 8 * 9 + 7 * 8)
    expected = model.predict(PICTURES[..., None].astype(np.float32), verbose=0)
    np.testing.assert_allclose(network.probabilities(PICTURES), expected, atol=1e-4)


def test_cost_of_the_shipped_file_is_read_from_its_graph() -> None:
    network = open_network(SHIPPED)
    cost = network.opened.cost()
    assert 700_000 < (cost.parameters or 0) < network.bytes
    assert 64e6 < (cost.macs or 0) < 72e6
    assert network.probabilities(PICTURES).sum(1) == pytest.approx(np.ones(5), abs=0.02)


def test_networks_of_equal_name_are_named_by_path(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_onnx(tmp_path / folder / "model.onnx", ["n", 48, 48, 1])
    paths = [tmp_path / "a/model.onnx", tmp_path / "b/model.onnx"]
    assert [network.name for network in open_networks(paths)] == [str(path) for path in paths]


def test_one_network_given_twice_is_rejected(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "model.onnx", ["n", 48, 48, 1])
    (tmp_path / "link.onnx").symlink_to(path)
    with pytest.raises(EdgeError, match=r"link\.onnx: same as .*model\.onnx; give each once"):
        open_networks([path, tmp_path / "link.onnx"])


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"....TFL3 edgetpu-custom-op", "a TFLite file compiled for the Edge TPU"),
        (b"\x08\x08 model", "an ONNX file"),
    ],
)
def test_file_for_another_runtime_is_rejected(tmp_path: Path, content: bytes, reported: str) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(EdgeError) as caught:
        open_network(path)
    assert str(caught.value) == f"{path}: {reported}; expected a TFLite file for the CPU"
