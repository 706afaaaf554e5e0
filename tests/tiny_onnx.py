"""An ONNX network with known predictions: the brighter the picture, the later the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.types import LABELS

# Logit 4 (6 m j - j² / 2) for label j and mean m from 0 to 1: highest for the j nearest to 6 m.
SLOPES = 24 * np.arange(7, dtype=np.float32)[None]
OFFSETS = -2 * np.arange(7, dtype=np.float32)[None] ** 2


def level(label: str) -> int:
    """The gray level of a picture that the network classifies as *label*."""
    return round(LABELS.index(label) * 255 / 6)


def by_hand(means: np.ndarray) -> np.ndarray:
    """The network's probabilities (n, 7) for pictures with these *means* (n,), 0..1."""
    powers = np.exp(means[:, None] * SLOPES + OFFSETS)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def write_onnx(
    path: Path,
    shape: list[int | str],
    kind: int = TensorProto.FLOAT,
    *,
    black: float = 0.0,
    white: float = 255.0,
    outputs: int = 7,
    softmax: bool = True,
    steps: bool = False,
) -> Path:
    """A network for *shape* and *kind*, pixels from *black* to *white*; LABELS are its last outputs.

    With *steps* its weights pass through a quantize-dequantize pair, as TensorRT expects.
    """
    values = {
        "black": np.float32(black),
        "range": np.float32(white - black),
        "flat": np.array([-1, 1], np.int64),
        "slopes": np.pad(SLOPES, ((0, 0), (outputs - 7, 0))),
        "step": np.float32(24),
        "zero": np.int8(0),
        "offsets": np.pad(OFFSETS, ((0, 0), (outputs - 7, 0))),
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["real", "black"], ["shifted"]),
        helper.make_node("Div", ["shifted", "range"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Reshape", ["mean", "flat"], ["column"]),
        helper.make_node("QuantizeLinear", ["slopes", "step", "zero"], ["eight_bits"]),
        helper.make_node("DequantizeLinear", ["eight_bits", "step", "zero"], ["weights"]),
        helper.make_node("MatMul", ["column", "weights" if steps else "slopes"], ["sloped"]),
        helper.make_node("Add", ["sloped", "offsets"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "made up",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [shape[0], outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def write_cells(path: Path) -> Path:
    """The detector of tests/bright_cells as quantize writes it: bright cells of 32 pixels are faces.

    Pixels (1, 256, 320, 1) float32, 0 to 255; nine outputs, by their names.
    """
    from tests.bright_cells import BOX, EYES, STRIDES

    nodes = [helper.make_node("Transpose", ["pixels"], ["channels_first"], perm=[0, 3, 1, 2])]
    values, outputs = [], []
    for stride in STRIDES:
        gain = (10 if stride == 32 else 1) / 255
        for part, constants, share in (("box", BOX, 1e-6), ("eyes", EYES, 1e-6), ("score", (-6.0,), gain)):
            name = f"{part}_{stride}"
            kernel = np.full((len(constants), 1, stride, stride), share / stride**2, np.float32)
            values += [
                numpy_helper.from_array(kernel, f"{name}_kernel"),
                numpy_helper.from_array(np.array(constants, np.float32), f"{name}_bias"),
            ]
            nodes += [
                helper.make_node(
                    "Conv", ["channels_first", f"{name}_kernel", f"{name}_bias"], [f"{name}_first"],
                    strides=[stride, stride],
                ),
                helper.make_node("Transpose", [f"{name}_first"], [name], perm=[0, 2, 3, 1]),
            ]  # fmt: skip
            size = [1, 256 // stride, 320 // stride, len(constants)]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, size))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 256, 320, 1])
    graph = helper.make_graph(nodes, "cells", [pixels], outputs, values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
