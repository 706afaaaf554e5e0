"""What a network weighs: parameters, and multiply-adds for one picture, read from its file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.types import EdgeError

# What may stand between a weight in an ONNX file and the layer that it belongs to.
_OF_THE_SAME_SIZE = {"QuantizeLinear", "DequantizeLinear", "Cast", "Transpose", "Reshape"}


@dataclass(frozen=True)
class Cost:
    """None where the file's form does not tell."""

    parameters: int | None  # of convolutions and dense layers; a .keras file's batch normalization besides
    macs: int | None  # multiply-adds of convolutions and dense layers for one picture


def cost_of_keras(model: Any) -> Cost:
    """The cost of a loaded Keras *model* whose picture size is fixed."""
    from training.networks import macs

    return Cost(model.count_params(), macs(model))


def cost_of_tflite(content: bytes) -> Cost:
    """The cost of a TFLite file's first graph; folded batch normalization is in the convolutions."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    weighted = {
        getattr(schema.BuiltinOperator, name) for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    }
    parameters = macs = 0
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) in weighted:
            sizes = [math.prod(graph.tensors[i].shape) for i in operator.inputs[1:] if i >= 0]
            parameters += sum(sizes)
            macs += sizes[0] * math.prod(graph.tensors[operator.outputs[0]].shape[1:-1])
    return Cost(int(parameters), int(macs))


def cost_of_onnx(path: Path) -> Cost:
    """The cost of an ONNX file with fixed picture size, float or with quantize-dequantize pairs."""
    try:
        import onnx
    except ImportError:
        return Cost(None, None)
    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    except Exception as error:  # whatever protobuf or shape inference raises
        raise EdgeError(f"{path}: not an ONNX model: {str(error).splitlines()[0]}") from error
    constants = {one.name: math.prod(one.dims) for one in graph.initializer}
    for node in graph.node:  # in an order in which each one's inputs come before it
        if node.op_type in _OF_THE_SAME_SIZE and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    shapes = {
        one.name: [side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in (*graph.value_info, *graph.output)
    }
    parameters = macs = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            sizes = [constants[name] for name in node.input[1:] if name in constants]
            if sizes:
                parameters += sum(sizes)
                macs += sizes[0] * math.prod(shapes[node.output[0]][2:])
    return Cost(parameters, macs)
