"""ONNX networks as PyTorch and tf2onnx write them, read as Keras networks with the same outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.types import EdgeError
from quantize import convert
from quantize.figures import tflite

pytest.importorskip("onnx", reason="only a training environment has onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="outputs are compared with onnxruntime's")

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class Graph:
    """A network built node by node; each node takes the previous output."""

    def __init__(self, shape: Sequence[int | str]) -> None:
        self.shape, self.nodes, self.numbers, self.last = shape, list[Any](), list[Any](), "pixels"
        self._random = np.random.default_rng(3)

    def weights(self, *shape: int) -> str:
        """Random weights scaled to preserve the variance of activations."""
        fan = np.prod(shape[1:]) if len(shape) == 4 else shape[-1] if len(shape) > 1 else 25
        return self.number(self._random.normal(0, 1 / np.sqrt(fan), shape).astype(np.float32))

    def number(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"number{len(self.numbers)}"
        self.numbers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind: str, *more: str, given: str | None = None, **reported: Any) -> str:
        from onnx import helper

        output = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [given or self.last, *more], [output], **reported))
        self.last = output
        return output

    def normalized(self, channels: int) -> None:
        positive = self.number(np.linspace(0.5, 2, channels).astype(np.float32))
        self.add("BatchNormalization", positive, self.weights(channels), self.weights(channels), positive)

    def save(self, path: Path) -> Path:
        import onnx
        from onnx import TensorProto, helper

        ends = [("pixels", self.shape), (self.last, ["n", 7])]
        given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
        graph = helper.make_graph(self.nodes, "net", [given], [made], self.numbers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, path)
        return path


def pytorch_residual(path: Path) -> Path:
    """A residual network of padded, strided and depthwise convolutions that ends in logits."""
    net = Graph(["n", 1, 48, 48])
    net.add("Div", net.number(np.float32(255)))
    net.add("Conv", net.weights(8, 1, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    net.normalized(8)
    net.add("Relu")
    past = net.add("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    net.add("Conv", net.weights(8, 1, 3, 3), net.weights(8), pads=[1, 1, 1, 1], group=8)
    net.add("Clip", net.number(np.float32(0)), net.number(np.float32(6)))
    net.add("Conv", net.weights(8, 8, 1, 1), net.weights(8))
    net.add("Add", past)
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.add("Gemm", net.weights(7, 8), net.weights(7), transB=1)
    return net.save(path)


def pytorch_flatten(path: Path) -> Path:
    """Feature maps flattened channel by channel into a dense layer."""
    net = Graph([1, 1, 24, 24])
    net.add("Mul", net.number(np.float32(1 / 255)))
    net.add("Conv", net.weights(6, 1, 5, 5), net.weights(6), strides=[3, 3])
    net.add("Relu")
    net.add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    net.add("Reshape", net.number(np.array([1, -1], np.int64)))
    net.add("Gemm", net.weights(16, 54), net.weights(16), transB=1)
    net.add("Relu")
    net.add("Gemm", net.weights(7, 16), net.weights(7), transB=1)
    net.add("Softmax", axis=1)
    return net.save(path)


def tensorflow_network(path: Path) -> Path:
    """Channels last outside, first inside; MatMul and Add as the dense layer."""
    net = Graph(["n", 48, 48, 1])
    net.add("Mul", net.number(np.float32(2 / 255)))
    net.add("Sub", net.number(np.float32(1)))
    net.add("Transpose", perm=[0, 3, 1, 2])
    net.add("Conv", net.weights(8, 1, 3, 3), net.weights(8), strides=[2, 2], auto_pad="SAME_UPPER")
    net.add("Relu")
    net.add("Conv", net.weights(8, 8, 3, 3), net.weights(8), pads=[1, 1, 1, 1])
    net.add("Transpose", perm=[0, 2, 3, 1])
    net.add("ReduceMean", axes=[1, 2], keepdims=0)
    net.add("MatMul", net.weights(8, 7))
    net.add("Add", net.weights(7))
    net.add("Softmax", axis=-1)
    return net.save(path)


def onnxruntime_probabilities(path: Path, images: Any) -> Any:
    """onnxruntime's outputs for *images*, as probabilities."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    axis = 1 if given.shape[1] == 1 else 3
    one_by_one = [np.expand_dims(image[np.newaxis].astype(np.float32), axis) for image in images]
    found = np.concatenate([session.run(None, {given.name: one})[0] for one in one_by_one])
    if np.abs(found.sum(1) - 1).max() < 1e-3:
        return found
    shares = np.exp(found - found.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("make", "size"), [(pytorch_residual, 48), (pytorch_flatten, 24), (tensorflow_network, 48)]
)
def test_onnx_network_predicts_as_in_onnxruntime(make: Any, size: int, tmp_path: Path) -> None:
    path = make(tmp_path / "net.onnx")
    images = np.random.default_rng(0).integers(0, 256, (6, size, size), np.uint8)
    wanted = onnxruntime_probabilities(path, images)
    assert wanted.std(0).max() > 0.0003
    model = convert.load(path)
    np.testing.assert_allclose(convert.predict(model, images), wanted, atol=1e-4)
    graph = tflite.read(convert.to_int8(model, images))
    assert graph.tensors[graph.inputs[0]].shape == (1, size, size, 1)
    assert graph.ops[-1].name == "SOFTMAX"


def test_our_own_onnx_file_is_read_back(squares_files: Path) -> None:
    path = squares_files / "emotion.onnx"
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48), np.uint8)
    np.testing.assert_allclose(
        convert.predict(convert.load(path), images), onnxruntime_probabilities(path, images), atol=1e-4
    )


def test_unsupported_operations_are_named(tmp_path: Path) -> None:
    def refusal(net: Graph) -> str:
        path = net.save(tmp_path / "net.onnx")
        with pytest.raises(EdgeError) as caught:
            convert.load(path)
        return str(caught.value).removeprefix(f"{path}: ")

    net = Graph(["n", 1, 48, 48])
    net.add("Sigmoid")
    net.add("Flatten")
    net.add("Gemm", net.weights(7, 2304), transB=1)
    assert refusal(net).startswith("Sigmoid 'sigmoid0': expected Conv, BatchNormalization, Relu")
    net = Graph(["n", 3, 48, 48])
    net.add("Flatten")
    assert refusal(net) == "input [0, 3, 48, 48]; expected one of (n, 1, height, width) luma"
    net = Graph(["n", 1, 48, 48])
    net.add("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    net.add("Flatten")
    assert refusal(net).endswith("padded without counting the padding; expected no padding")
