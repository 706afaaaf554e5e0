"""`quantize inspect` of intact files, and its one line for damaged ones."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.types import EdgeError
from quantize.__main__ import main
from quantize.figures import graph as graphs
from quantize.figures import onnx_graph, tflite
from quantize.figures.graph import Graph, Op, Tensor
from quantize.inside.inspect import inspect

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHIPPED = Path(__file__).resolve().parents[1] / "edge" / "models" / "emotion.tflite"


def fact(text: str, name: str) -> str:
    """The rest of the line that begins with *name*."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(name).strip()


def test_shipped_file_is_described_correctly() -> None:
    text = inspect(SHIPPED)
    assert text.startswith(f"{SHIPPED}  {SHIPPED.stat().st_size:,} bytes\n")
    assert fact(text, "input").endswith("int8 (1, 48, 48, 1), scale 1, zero point -128")
    assert fact(text, "output").endswith("int8 (1, 7), scale 0.00390625, zero point -128")
    assert fact(text, "float ops") == "none: all integer"
    assert "sha256 and size match" in fact(text, "card")
    assert fact(text, "labels") == "angry, disgust, fear, happy, sad, surprise, neutral"
    graph = tflite.read(SHIPPED.read_bytes())
    assert fact(text, "MACs") == f"{graphs.macs(graph):,} per run"
    assert fact(text, "ops").startswith(f"{len(graph.ops)}: ")


def test_tensors_match_those_of_the_interpreter() -> None:
    from ai_edge_litert.interpreter import Interpreter

    graph = tflite.read(SHIPPED.read_bytes())
    interpreter = Interpreter(str(SHIPPED))
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for index, tensor in enumerate(graph.tensors):
        seen = details[index]
        assert (tensor.name, tensor.shape) == (seen["name"], tuple(seen["shape"]))
        assert tensor.dtype == np.dtype(seen["dtype"]).name
        assert tensor.scales == pytest.approx(tuple(seen["quantization_parameters"]["scales"]))
        assert tensor.zero_points == tuple(seen["quantization_parameters"]["zero_points"])
        if tensor.constant:
            assert tensor.data == interpreter.get_tensor(index).tobytes()
    assert sum(op.name == "CONV_2D" for op in graph.ops) > 0


def test_command_prints_the_description_or_one_line_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(SHIPPED)]) == 0
    assert capsys.readouterr().out == f"{inspect(SHIPPED)}\n"
    (tmp_path / "cut.tflite").write_bytes(SHIPPED.read_bytes()[:100_000])
    assert main(["inspect", str(tmp_path / "cut.tflite")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"{tmp_path}/cut.tflite: ")
    assert len(captured.err.splitlines()) == 1


def chain() -> Graph:
    """Convolution to 8 channels, depthwise convolution, mean, dense: small enough to count by hand."""
    tensors = (
        Tensor("pixels", (1, 10, 10, 1), "int8", (1.0,), (-128,)),
        Tensor("kernel", (8, 3, 3, 1), "int8", (1.0,) * 8, (0,) * 8, constant=True),
        Tensor("a", (1, 10, 10, 8), "int8", (1.0,), (0,)),
        Tensor("depthwise", (1, 3, 3, 8), "int8", (1.0,) * 8, (0,) * 8, constant=True),
        Tensor("b", (1, 5, 5, 8), "int8", (1.0,), (0,)),
        Tensor("axes", (2,), "int32", constant=True),
        Tensor("c", (1, 8), "float32"),
        Tensor("weights", (7, 8), "float32", constant=True),
        Tensor("d", (1, 7), "float32"),
    )
    ops = (
        Op("CONV_2D", (0, 1, -1), (2,)), Op("DEPTHWISE_CONV_2D", (2, 3), (4,)), Op("MEAN", (4, 5), (6,)),
        Op("FULLY_CONNECTED", (6, 7), (8,)),
    )  # fmt: skip
    return Graph(tensors, ops, (0,), (8,))


def test_scales_and_sizes_in_an_onnx_file_are_not_parameters() -> None:
    tensors = (
        Tensor("pixels", (1, 8), "float32"),
        Tensor("kernel", (8, 4), "int8", constant=True, scales=(0.1,)),
        Tensor("its scales", (8,), "float32", constant=True),
        Tensor("read", (8, 4), "float32"),
        Tensor("out", (1, 4), "float32"),
    )
    ops = (Op("DequantizeLinear", (1, 2), (3,)), Op("MatMul", (0, 3), (4,)))
    graph = Graph(tensors, ops, (0,), (4,))
    assert (graphs.parameters(graph), graphs.macs(graph)) == (32, 32)


def test_parameters_macs_and_float_ops_are_counted() -> None:
    graph = chain()
    assert graphs.parameters(graph) == 72 + 72 + 56
    assert graphs.macs(graph) == 10 * 10 * 8 * 9 + 5 * 5 * 8 * 9 + 56
    assert [op.name for op in graphs.float_ops(graph)] == ["MEAN", "FULLY_CONNECTED"]


def test_arena_is_the_peak_of_live_tensors() -> None:
    # a (800 bytes) and b (200) overlap; the input (100) and the output (28) stay; c (32) reuses a's space.
    # 800 -> 832 (of 64), b to 1032 -> 1088, pixels to 1188 -> 1216, the output to 1244.
    assert graphs.arena(chain()) == 1244
    assert graphs.arena(Graph((), (), (), ())) == 0


def test_missing_or_wrong_card_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    shutil.copy(SHIPPED, file)
    assert fact(inspect(file), "card") == "none next to it; the daemon needs one (quantize writes both)"
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    card["files"] = {"model.tflite": {"sha256": hashlib.sha256(b"").hexdigest(), "size": file.stat().st_size}}
    file.with_suffix(".json").write_text(json.dumps(card))
    assert "the file was changed or damaged, copy it again" in fact(inspect(file), "card")


def test_file_that_is_not_a_model_gets_one_line(tmp_path: Path) -> None:
    def refusal(name: str, content: bytes | None) -> str:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(EdgeError) as caught:
            inspect(path)
        assert "\n" not in str(caught.value)
        return str(caught.value).removeprefix(f"{path}: ")

    whole = SHIPPED.read_bytes()
    assert refusal("no.tflite", None) == "No such file or directory"
    assert refusal("empty.tflite", b"") == "empty; copy the file again"
    assert refusal("tiny.tflite", b"abc") == "3 bytes are not a TFLite file; copy the file again"
    assert (
        refusal("text.tflite", b"hello, world") == "not a TFLite file: no TFL3 at byte 4; copy the file again"
    )
    assert refusal("half.tflite", whole[: len(whole) // 2]).endswith("; copy the file again")
    assert refusal("text.onnx", b"hello, world").startswith("not a complete ONNX file")
    assert refusal("text.keras", b"hello, world").startswith("not a Keras model")
    assert refusal("notes.txt", b"hello") == ".txt; expected one of .tflite, .onnx, .keras, .h5"
    assert refusal("none", b"hello") == "no suffix; expected one of .tflite, .onnx, .keras, .h5"


def mutants(content: bytes, count: int) -> list[bytes]:
    """*count* damaged copies of *content*: truncated, bits flipped, bytes replaced, zeroed or removed."""
    chance = random.Random(4)
    # A file's tables are at its beginning and end; in between are mostly weights.
    spots = [*range(min(4096, len(content))), *range(max(0, len(content) - 32768), len(content))]
    made = []
    for number in range(count):
        changed = bytearray(content)
        place = chance.choice(spots)
        match number % 5:
            case 0:
                del changed[chance.randrange(len(changed)) :]
            case 1:
                for _ in range(chance.choice((1, 8, 64))):
                    changed[chance.choice(spots)] ^= 1 << chance.randrange(8)
            case 2:
                changed[place : place + 4] = chance.choice(
                    (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
                )
            case 3:
                changed[place : place + 64] = bytes(64)
            case 4:
                del changed[place : place + chance.choice((1, 2, 3, 64))]
        made.append(bytes(changed))
    return made


def is_rejected(path: Path, content: bytes) -> bool:
    """Whether *content* was rejected; fails unless that takes exactly one line."""
    path.write_bytes(content)
    try:
        assert inspect(path)
    except EdgeError as error:
        lines = str(error).splitlines()
    else:
        return False
    assert len(lines) == 1
    return True


def test_damaged_tflite_files_never_raise_a_traceback(tmp_path: Path) -> None:
    refused = sum(
        is_rejected(tmp_path / "x.tflite", content) for content in mutants(SHIPPED.read_bytes(), 300)
    )
    assert refused > 100  # damage in weights and names is undetectable here: the card's sha256 finds it


def small_onnx() -> bytes:
    import onnx
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, (4, 1, 3, 3), np.ones(36, np.float32))
    dense = helper.make_tensor("m", TensorProto.FLOAT, (4, 7), np.ones(28, np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixels", "w"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("GlobalAveragePool", ["b"], ["c"]),
            helper.make_node("Flatten", ["c"], ["d"]),
            helper.make_node("Gemm", ["d", "m"], ["given"]),
        ],
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, (1, 1, 48, 48))],
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, (1, 7))],
        [weights, dense],
    )
    return onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def test_onnx_file_is_described_and_damaged_copies_are_handled(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(small_onnx())
    text = inspect(path)
    assert fact(text, "input") == "pixels float32 (1, 1, 48, 48)"
    assert fact(text, "output") == "given float32 (1, 7)"
    assert fact(text, "ops") == "5: 1 Conv, 1 Relu, 1 GlobalAveragePool, 1 Flatten, 1 Gemm"
    assert fact(text, "parameters") == "64"
    assert fact(text, "MACs") == f"{48 * 48 * 4 * 9 + 28:,} per run"
    assert fact(text, "float ops") == "all"
    assert sum(is_rejected(path, content) for content in mutants(small_onnx(), 300)) > 100


def test_quantization_of_an_int8_onnx_file_is_read() -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["pixels", "scale", "zero"], ["steps"]),
            helper.make_node("DequantizeLinear", ["steps", "scale", "zero"], ["given"]),
        ],
        "steps",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("given", TensorProto.FLOAT, (1, 4))],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, (), [0.5]),
            helper.make_tensor("zero", TensorProto.INT8, (), [3]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    read = onnx_graph.read(model.SerializeToString())
    (steps,) = [tensor for tensor in read.tensors if tensor.name == "steps"]
    assert (steps.dtype, steps.scales, steps.zero_points) == ("int8", (0.5,), (3,))


def test_keras_file_is_described_with_its_quantization_concerns(tmp_path: Path) -> None:
    import keras

    pixels = keras.Input((48, 48, 1), name="pixels")
    x = keras.layers.Conv2D(8, 3, activation="swish", name="first")(pixels)
    keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x)).save(tmp_path / "small.keras")
    text = inspect(tmp_path / "small.keras")
    assert fact(text, "input") == "pixels float32 (?, 48, 48, 1)"
    assert fact(text, "layers") == "3: 1 InputLayer, 1 Conv2D, 1 GlobalAveragePooling2D"
    assert fact(text, "parameters") == "80"
    assert "warning: first: swish (silu): " in text
