"""The ONNX files: usable by TensorRT, consistent with each other, reproducible."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.analysis.card import read_model
from edge.analysis.runtimes import open_runtime
from quantize import convert, golden, measure
from quantize.onnx import to_onnx
from tests.squares import pictures, quantize

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ONNX = ("emotion.onnx", "emotion.fp16.onnx", "emotion.int8.onnx")


def graph(squares_files: Path, name: str) -> onnx.GraphProto:
    return onnx.load(squares_files / name).graph


def probabilities(squares_files: Path, name: str) -> np.ndarray:
    runtime = open_runtime("auto", (squares_files / name).read_bytes())
    return measure.probabilities_of(runtime, pictures(210)[0])


def test_one_card_lists_all_files_with_their_figures(squares_files: Path) -> None:
    assert sorted(path.name for path in squares_files.iterdir()) == sorted(
        [*ONNX, "emotion.tflite", "emotion.golden.npz", "emotion.json"]
    )
    card = read_model(squares_files / "emotion.int8.onnx").card
    assert set(card.files) == {*ONNX, "emotion.tflite", "emotion.golden.npz"}
    protocols = [figure.protocol for figure in card.figures if figure.name == "accuracy"]
    reported = [protocol.partition(" as shipped")[0] for protocol in protocols]
    assert reported == ["emotion.tflite", *ONNX]


@pytest.mark.parametrize("name", ONNX)
def test_onnx_file_is_valid_with_float_input_and_output(squares_files: Path, name: str) -> None:
    model = onnx.load(squares_files / name)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, given.name) == ("pixels", "probabilities")
    runtime = open_runtime("onnx", model.SerializeToString())
    assert runtime.input == ((1, 48, 48, 1), np.dtype(np.float32), 0.0, 0, "pixels")
    assert runtime.outputs == (((1, 7), np.dtype(np.float32), 0.0, 0, "probabilities"),)


def test_normalization_and_rescaling_are_folded_away(squares_files: Path) -> None:
    kinds = {node.op_type for node in graph(squares_files, "emotion.onnx").node}
    assert "Conv" in kinds
    assert not kinds & {"BatchNormalization", "Mul", "Sub", "Div"}


def test_int8_is_symmetric_and_per_channel_with_float_biases(squares_files: Path) -> None:
    found = graph(squares_files, "emotion.int8.onnx")
    constants = {constant.name: numpy_helper.to_array(constant) for constant in found.initializer}
    maker = {output: node for node in found.node for output in node.output}
    steps = [node for node in found.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert all(constants[node.input[2]].dtype == np.int8 for node in steps)
    assert not any(constants[node.input[2]].any() for node in steps)
    first, second = (node for node in found.node if node.op_type == "Conv")
    assert first.input[0] not in maker or maker[first.input[0]].op_type != "DequantizeLinear"
    pixels, weights = (maker[name] for name in second.input[:2])
    assert (pixels.op_type, weights.op_type) == ("DequantizeLinear", "DequantizeLinear")
    assert constants[pixels.input[1]].shape == ()
    assert constants[weights.input[1]].shape == (8,)  # a scale a channel
    assert maker[weights.input[0]].op_type == "QuantizeLinear"  # weights as a pair: TensorRT folds it
    assert second.input[2] in constants  # the bias stays float


def test_fp16_file_has_no_float32_weights(squares_files: Path) -> None:
    weights = [
        numpy_helper.to_array(constant).dtype
        for constant in graph(squares_files, "emotion.fp16.onnx").initializer
    ]
    assert np.dtype(np.float16) in weights
    assert np.dtype(np.float32) not in weights


def test_tflite_and_onnx_variants_agree(squares_files: Path) -> None:
    eight = probabilities(squares_files, "emotion.tflite")
    full = probabilities(squares_files, "emotion.onnx")
    assert np.abs(probabilities(squares_files, "emotion.fp16.onnx") - full).max() < 0.01
    for other in (eight, probabilities(squares_files, "emotion.int8.onnx")):
        assert float((other.argmax(1) == full.argmax(1)).mean()) >= 0.98
        assert np.abs(other - full).max() < 0.1


def test_onnx_bytes_are_reproducible_in_any_process(squares_run: Path, tmp_path: Path) -> None:
    """The writers order by hash and creation: convert twice here and once in another process."""
    content = convert.to_float(convert.load(squares_run / "model.keras"))
    shown = pictures(14)[0]
    made = to_onnx(content, shown)
    expected = {suffix: hashlib.sha256(file).hexdigest() for suffix, file in made.items()}
    assert to_onnx(content, shown) == made
    (tmp_path / "f.tflite").write_bytes(content)
    np.save(tmp_path / "shown.npy", shown)
    statement = (
        "import hashlib, json, pathlib, numpy\n"
        "from quantize.onnx import to_onnx\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "made = to_onnx((folder / 'f.tflite').read_bytes(), numpy.load(folder / 'shown.npy'))\n"
        "print(json.dumps({suffix: hashlib.sha256(file).hexdigest() for suffix, file in made.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", statement], capture_output=True, text=True, check=True, timeout=150,
        env={**os.environ, "PYTHONHASHSEED": "5", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_drop_of_either_int8_file_counts(
    squares_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = measure.probabilities_of

    def clumsy(runtime: object, images: np.ndarray, title: str = "") -> np.ndarray:
        result = measured(runtime, images, title)  # type: ignore[arg-type]
        return np.roll(result, 1, axis=1) if title == "emotion.int8.onnx" else result

    monkeypatch.setattr(measure, "probabilities_of", clumsy)
    assert quantize(squares_run, tmp_path / "out", "--onnx") == 3
    assert "emotion.int8.onnx loses " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_golden_pictures_are_deterministic_and_fit_any_input() -> None:
    eight = golden.pictures(48, 48)
    assert eight.shape == (8, 48, 48)
    assert eight.dtype == np.uint8
    assert np.array_equal(eight, golden.pictures(48, 48))
    assert golden.pictures(64, 64).shape == (8, 64, 64)
