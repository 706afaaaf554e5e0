"""A model file's graph, independent of its format, and its parameters, MACs and memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ALIGNMENT = 64  # bytes; TFLite's arena aligns each tensor to it

# Bytes per element; types not listed (strings, resources) are not counted.
_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "uint64": 8, "int32": 4, "uint32": 4,
    "int16": 2, "uint16": 2, "int8": 1, "uint8": 1, "bool": 1, "int4": 0.5, "uint4": 0.5,
}  # fmt: skip
# All their inputs except the first are scales, zero points and sizes, not weights.
_SCALING = {"QuantizeLinear", "DequantizeLinear", "Resize"}


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]  # -1 if known only at run time
    dtype: str  # numpy's name
    scales: tuple[float, ...] = ()  # one, or one per channel; empty if not quantized
    zero_points: tuple[int, ...] = ()
    constant: bool = False
    data: bytes = b""  # of a constant, if stored in the file

    @property
    def elements(self) -> int:
        """0 if the shape is unknown."""
        return max(math.prod(self.shape), 0) if min(self.shape, default=1) >= 0 else 0

    @property
    def size(self) -> int:
        """Bytes."""
        return math.ceil(self.elements * _BYTES.get(self.dtype, 0))


@dataclass(frozen=True, slots=True)
class Op:
    """*inputs* and *outputs* are indices of the graph's tensors; -1 is an omitted input."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    version: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)  # by their names in the schema


@dataclass(frozen=True, slots=True)
class Graph:
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]  # in execution order
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def inputs_of(self, op: Op) -> list[Tensor]:
        return [self.tensors[index] for index in op.inputs if index >= 0]

    def outputs_of(self, op: Op) -> list[Tensor]:
        return [self.tensors[index] for index in op.outputs if index >= 0]


def parameters(graph: Graph) -> int:
    """Weights and biases, each once: constants other than scalars, shapes, axes and scales."""
    scales = {index for op in graph.ops if op.name in _SCALING for index in op.inputs[1:]}
    return sum(
        tensor.elements
        for index, tensor in enumerate(graph.tensors)
        if tensor.constant and tensor.shape and index not in scales
        and (tensor.scales or not tensor.dtype.startswith("int"))
    )  # fmt: skip


def macs(graph: Graph) -> int:
    """Multiply-adds of convolutions and dense layers for one run, without element-wise operations.

    An open batch size counts as one picture.
    """
    return sum(_macs(graph, op) for op in graph.ops)


def _macs(graph: Graph, op: Op) -> int:
    tensors = [_one(graph.tensors[index]) if index >= 0 else None for index in op.inputs]
    outputs = [_one(tensor) for tensor in graph.outputs_of(op)]
    if len(tensors) < 2 or not outputs or tensors[1] is None:
        return 0
    kernel, output = tensors[1], outputs[0]
    if len(kernel.shape) < 2 or min(kernel.shape) < 1:
        return 0
    match op.name:
        case "CONV_2D" | "CONV_3D":  # (out, h, w, in)
            return output.elements * kernel.elements // kernel.shape[0]
        case "DEPTHWISE_CONV_2D":  # (1, h, w, out)
            return output.elements * kernel.elements // kernel.shape[-1]
        case "FULLY_CONNECTED":  # (out, in)
            return output.elements * kernel.shape[-1]
        case "TRANSPOSE_CONV":  # kernel (out, h, w, in), third input
            taken = tensors[2].elements if len(tensors) > 2 and tensors[2] else 0
            return taken * kernel.elements // kernel.shape[-1]
        case "BATCH_MATMUL" | "MatMul" | "Gemm" | "QLinearMatMul":
            first = tensors[0]
            if first is None or len(first.shape) < 2:
                return 0
            return output.elements * first.shape[0 if op.options.get("transA") else -1]
        case "Conv":  # ONNX: (out, in / groups, h, w)
            return output.elements * kernel.elements // kernel.shape[0]
        case "ConvTranspose":  # (in, out / groups, h, w)
            return tensors[0].elements * kernel.elements // kernel.shape[0] if tensors[0] else 0
        case _:
            return 0


def _one(tensor: Tensor) -> Tensor:
    """*tensor* with an open batch size set to one."""
    return replace(tensor, shape=(1, *tensor.shape[1:])) if tensor.shape[:1] == (-1,) else tensor


def arena(graph: Graph) -> int:
    """Estimate of the memory for activations in bytes: largest first, each into the lowest gap.

    This follows TFLite (arena_planner.cc): inputs and outputs are kept throughout, any other tensor
    from the op that writes it to the last that reads it. Kernels' own buffers come on top.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for number, op in enumerate(graph.ops):
        for index in (*op.inputs, *op.outputs):
            if index >= 0 and not graph.tensors[index].constant:
                first.setdefault(index, number)
                last[index] = number
    for index in (*graph.inputs, *graph.outputs):
        first[index], last[index] = -1, len(graph.ops)
    placed: list[tuple[int, int, int]] = []  # offset, end, index
    for index in sorted(first, key=lambda index: (-graph.tensors[index].size, first[index], index)):
        size = graph.tensors[index].size
        offset = 0
        for start, end, other in placed:  # by offset
            if first[other] > last[index] or last[other] < first[index]:
                continue
            if start - offset >= size:
                break
            offset = max(offset, -(-end // ALIGNMENT) * ALIGNMENT)
        placed.append((offset, offset + size, index))
        placed.sort()
    return max((end for _, end, _ in placed), default=0)


def float_ops(graph: Graph) -> list[Op]:
    """Ops with a floating-point output."""
    return [op for op in graph.ops if any(_is_float(tensor) for tensor in graph.outputs_of(op))]


def counted(names: Sequence[str]) -> str:
    """``3 CONV_2D, 1 ADD``: number of occurrences of each name, most frequent first."""
    counts = {name: list(names).count(name) for name in dict.fromkeys(names)}
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _is_float(tensor: Tensor) -> bool:
    return tensor.dtype.startswith(("float", "bfloat"))
