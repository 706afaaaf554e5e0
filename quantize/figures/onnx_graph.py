"""Reads ONNX files into the same graph as TFLite files."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

from edge.types import EdgeError
from quantize.figures.graph import Graph, Op, Tensor


def load(file: Path | bytes) -> Any:
    """The protobuf of an ONNX *file* or its content, checked; EdgeError without a name if damaged.

    With a path, external weights are read too.
    """
    try:
        import onnx
    except ImportError as error:
        raise EdgeError(f"{error}; run `pip install emotion-edge[quantize]`") from error
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(file) if isinstance(file, Path) else onnx.load_model_from_string(file)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError, OSError) as error:
        raise EdgeError(f"not a complete ONNX file: {' '.join(str(error).split())[:150]}") from error
    return model


def read(content: bytes) -> Graph:
    """The graph in an ONNX file's *content*; EdgeError without the file's name if damaged.

    Intermediate shapes are inferred; if that fails they stay unknown (empty).
    """
    model = load(content)
    import onnx
    from google.protobuf.message import DecodeError

    # Useful, but optional.
    with contextlib.suppress(onnx.shape_inference.InferenceError, DecodeError, ValueError, RuntimeError):
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    try:
        return _graph(model.graph, onnx)
    except (struct.error, ValueError, TypeError, KeyError, IndexError) as error:
        raise EdgeError("damaged: its tensors do not fit one another") from error


def _graph(graph: Any, onnx: Any) -> Graph:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            given = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            constants.update(zip(node.output, given, strict=False))
    shown = {value.name: value for value in (*graph.input, *graph.output, *graph.value_info)}
    nodes = [node for node in graph.node if not (node.op_type == "Constant" and node.output[0] in constants)]
    names = dict.fromkeys([
        *(value.name for value in graph.input), *constants,
        *(name for node in nodes for name in (*node.input, *node.output) if name),
        *(value.name for value in graph.output),
    ])  # fmt: skip
    places = {name: index for index, name in enumerate(names)}
    scales = _scales(nodes, constants, onnx)

    def tensor(name: str) -> Tensor:
        quantization = scales.get(name, ((), ()))
        if name in constants:
            constant = constants[name]
            dtype = _dtype(onnx, constant.data_type)
            return Tensor(name, tuple(constant.dims), dtype, *quantization, constant=True)
        if name not in shown:
            return Tensor(name, (), "unknown", *quantization)
        kind = shown[name].type.tensor_type
        shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
        return Tensor(name, shape, _dtype(onnx, kind.elem_type), *quantization)

    def indices(values: Any) -> tuple[int, ...]:
        return tuple(places.get(name, -1) for name in values)

    ops = tuple(
        Op(node.op_type, indices(node.input), indices(node.output), options={
            attribute.name: attribute.i for attribute in node.attribute if attribute.type == attribute.INT
        })
        for node in nodes
    )  # fmt: skip
    return Graph(
        tuple(tensor(name) for name in names), ops,
        indices(value.name for value in graph.input if value.name not in constants),
        indices(value.name for value in graph.output),
    )  # fmt: skip


def _scales(nodes: Any, constants: Any, onnx: Any) -> dict[str, tuple[tuple[float, ...], tuple[int, ...]]]:
    """Scales and zero points of int8 tensors, from QuantizeLinear and DequantizeLinear."""
    found = {}
    for node in nodes:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[1] in constants:
            eight_bit = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            scale = onnx.numpy_helper.to_array(constants[node.input[1]]).ravel()
            zero = constants.get(node.input[2]) if len(node.input) > 2 else None
            zeros = onnx.numpy_helper.to_array(zero).ravel() if zero is not None else [0] * len(scale)
            found[eight_bit] = (tuple(map(float, scale)), tuple(map(int, zeros)))
    return found


def _dtype(onnx: Any, number: int) -> str:
    name = str(onnx.TensorProto.DataType.Name(number)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
