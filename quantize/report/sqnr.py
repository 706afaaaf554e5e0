"""Quantization error by layer: each layer's output in the int8 file compared with the float one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.analysis.runtimes import open_runtime
from edge.analysis.tensors import dequantize, quantize
from edge.host.quiet import quiet
from edge.types import Floats, Image, TensorSpec
from quantize.figures import tflite
from quantize.figures.graph import Graph, Op
from quantize.names import layer_of

PICTURES = 64
# These only move numbers: their output has their input's error in other channels.
_MOVING = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "PAD")
Sums = npt.NDArray[np.float64]  # (channels,)
MOST_DB = 99.0  # for an output without error


class Layer(NamedTuple):
    """One op in both files. SQNR: signal over error, both squared and summed."""

    name: str
    op: str
    db: float  # SQNR of the whole output
    middle_db: float  # of its median channel: small channels count as much as large ones
    added: float  # error over signal (root mean square) beyond its inputs' error; the worse of both


def layers(float_content: bytes, int8_content: bytes, images: Image) -> list[Layer]:
    """All computing layers in both TFLite files, in execution order.

    Both run on *images* (m, height, width) uint8; errors accumulate from layer to layer, as on a device.
    """
    exact, rounded = tflite.read(float_content), tflite.read(int8_content)
    pairs = _pairs(exact, rounded)
    ours, theirs = [one.outputs[0] for one, _ in pairs], [other.outputs[0] for _, other in pairs]
    channels = [exact.tensors[place].shape[-1] for place in ours]
    signal: list[Sums] = [np.zeros(count) for count in channels]
    error: list[Sums] = [np.zeros(count) for count in channels]
    for wanted, found in zip(
        _run(float_content, ours, images), _run(int8_content, theirs, images), strict=True
    ):
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            inner = tuple(range(one.ndim - 1))
            signal[number] += (one.astype(np.float64) ** 2).sum(inner)
            error[number] += ((other.astype(np.float64) - one) ** 2).sum(inner)
    outputs = open_runtime("cpu", int8_content).outputs
    named = {index: spec.name for index, spec in zip(rounded.outputs, outputs, strict=True)}
    return _layers(rounded, [other for _, other in pairs], signal, error, named)


def worst(found: Sequence[Layer]) -> Layer:
    """The layer that adds the most error."""
    return max(found, key=lambda layer: layer.added)


def summary(found: Sequence[Layer], most: int = 3) -> list[str]:
    """The worst layers as text, worst first."""
    return [
        f"{layer.name} ({layer.op}): {layer.db:.1f} dB, median channel {layer.middle_db:.1f} dB"
        for layer in sorted(found, key=lambda layer: -layer.added)[:most]
    ]


def _pairs(exact: Graph, rounded: Graph) -> list[tuple[Op, Op]]:
    """Pairs of corresponding ops in both graphs.

    Matched by kind, output shape and order, since names change with each conversion; ops in only one of them
    (a change of scale, say) are skipped.
    """
    ours, theirs = (
        [(op.name, *(tensor.shape for tensor in graph.outputs_of(op))) for op in graph.ops]
        for graph in (exact, rounded)
    )
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    pairs = [
        (exact.ops[block.a + step], rounded.ops[block.b + step])
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    ]
    return [
        (one, other) for one, other in pairs
        if [tensor.dtype for tensor in exact.outputs_of(one)[:1] if tensor.shape] == ["float32"]
        and rounded.outputs_of(other)[0].dtype == "int8"
    ]  # fmt: skip


def _run(content: bytes, tensors: Sequence[int], images: Image) -> Iterator[list[Floats]]:
    """For each of *images* the *tensors* of the TFLite file *content*, dequantized."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(
            model_content=content, num_threads=1, experimental_preserve_all_tensors=True
        )
        interpreter.allocate_tensors()
    specs = {}
    for details in interpreter.get_tensor_details():
        scale, zero_point = details["quantization"]
        shape = tuple(int(side) for side in details["shape"])
        specs[details["index"]] = TensorSpec(shape, np.dtype(details["dtype"]), scale, zero_point)
    pixels = interpreter.get_input_details()[0]["index"]
    for image in images:
        interpreter.set_tensor(pixels, quantize(image[np.newaxis, ..., np.newaxis], specs[pixels]))
        interpreter.invoke()
        yield [dequantize(interpreter.get_tensor(index), specs[index]) for index in tensors]


def _layers(
    graph: Graph, ops: Sequence[Op], signal: list[Sums], error: list[Sums], outputs: Mapping[int, str]
) -> list[Layer]:
    """*outputs*: tensor -> name of the file's outputs; several have no other identification."""
    relative: dict[int, float] = {}  # by tensor: error over signal, worse of total and median channel
    found = []
    for op, power, noise in zip(ops, signal, error, strict=True):
        before = max((relative[index] for index in op.inputs if index in relative), default=0.0)
        if op.name in _MOVING:
            relative[op.outputs[0]] = before
            continue
        alive = power > 0
        middle = float(np.median(noise[alive] / power[alive])) if alive.any() else 0.0
        whole = float(noise.sum() / power.sum()) if alive.any() else 0.0
        relative[op.outputs[0]] = now = math.sqrt(max(whole, middle))
        own = outputs.get(op.outputs[0], "") if len(outputs) > 1 else ""
        name = own or layer_of(graph.tensors[op.outputs[0]].name) or op.name.lower()
        found.append(Layer(name, op.name, _db(whole), _db(middle), max(now - before, 0.0)))
    return found


def _db(ratio: float) -> float:
    """*ratio* of error to signal, as signal over error in decibels."""
    return MOST_DB if ratio <= 0 else min(-10 * math.log10(ratio), MOST_DB)
