"""Converts the float TFLite file to ONNX files: fp32, fp16, and int8 for TensorRT."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from edge.analysis.runtimes import open_runtime
from edge.host.quiet import quiet
from edge.types import EdgeError, Floats, Image
from quantize.ranges import PIXELS, ranges_of

FLOAT, HALF, INT8 = ".onnx", ".fp16.onnx", ".int8.onnx"  # the daemon looks for the first
INPUT, OUTPUT = "pixels", "probabilities"
_OPSET = 17  # has Q and DQ per channel, and is supported by TensorRT 8.6 (JetPack 5) and later
# Symmetric int8 wastes half its steps on non-negative values, so a narrower range than TFLite's is better
# (0.8 instead of 0.9: 0.1 to 0.3 points more agreement on three networks).
WITHIN = 0.8
_TENSORRT = {
    "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False, "AddQDQPairToWeight": True,
}  # fmt: skip


def to_onnx(content: bytes, calibration: Image, within: float = WITHIN) -> dict[str, bytes]:
    """Suffix -> checked ONNX file of the network in *content*, a float TFLite file.

    All take pixels (1, height, width, 1) float32, 0 to 255, and output float32: a single output is
    probabilities, several have the names in *content*'s signature. The int8 file has Q/DQ pairs: int8, zero
    points 0, weights per channel. The first convolution and everything after the last pooling stay float:
    they cost little, and pixels would lose a bit. *calibration* (m, height, width) uint8 determines the
    ranges of activations; *within*: see quantize.ranges.
    """
    with quiet():
        from onnxruntime.transformers.float16 import convert_float_to_float16

        plain = _from_tflite(content)
        half = convert_float_to_float16(_copy(plain), keep_io_types=True)
        eight = _with_steps(plain, calibration, within)
    _check_symmetric(eight)
    made = {FLOAT: plain, HALF: half, INT8: eight}
    return {suffix: _checked(_tidy(model)) for suffix, model in made.items()}


def _from_tflite(content: bytes) -> onnx.ModelProto:
    """The graph, folded and fused where exact, with *content*'s output names."""
    import tf2onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="quantize-") as folder:
        path = Path(folder) / "network.tflite"
        path.write_bytes(content)
        try:
            model, _ = tf2onnx.convert.from_tflite(str(path), opset=_OPSET)
        except Exception as error:  # tf2onnx has no exceptions of its own
            reason = " ".join(str(error).split())[:200]
            raise EdgeError(f"tf2onnx cannot convert this network: {reason}") from error
        outputs = [output.name for output in open_runtime("cpu", content).outputs]
        # Ordered first, because fusions depend on the order of nodes.
        converted, fused = path.with_suffix(".onnx"), path.with_suffix(".fused.onnx")
        onnx.save(_tidy(model, outputs if len(outputs) > 1 else [OUTPUT]), converted)
        quant_pre_process(converted, fused, skip_symbolic_shape=True)
        return _tidy(onnx.load(fused))


def _with_steps(model: onnx.ModelProto, calibration: Image, within: float) -> onnx.ModelProto:
    """*model* with Q/DQ pairs."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    found = ranges_of(_run(model, calibration), within) | {INPUT: PIXELS}
    quantizer = QDQQuantizer(
        onnx.shape_inference.infer_shapes(model),
        per_channel=True, reduce_range=False,
        weight_qType=QuantType.QInt8, activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (np.float32(low), np.float32(high)) for name, (low, high) in found.items()},
        ),
        nodes_to_quantize=[], nodes_to_exclude=_kept_float(model.graph.node),
        op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}), extra_options=_TENSORRT,
    )  # fmt: skip
    quantizer.quantize_model()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


def _kept_float(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """Names of the nodes up to the first convolution, global poolings, and from the last dense layer on."""
    ordered = list(nodes)
    kinds = [node.op_type for node in ordered]
    begin = kinds.index("Conv") + 1 if "Conv" in kinds else 0
    dense = [place for place, kind in enumerate(kinds) if kind in ("Gemm", "MatMul")]
    end = dense[-1] if dense else len(kinds)
    return [
        node.name
        for place, node in enumerate(ordered)
        if place < begin or place >= end or node.op_type in ("GlobalAveragePool", "Squeeze", "ReduceMean")
    ]


def _run(model: onnx.ModelProto, images: Image) -> Iterator[dict[str, Floats]]:
    """For each of *images*, all tensors computed by *model*."""
    import onnxruntime

    open_model = _copy(model)
    given = {output.name for output in model.graph.output}
    for node in model.graph.node:
        inner = (name for name in node.output if name not in given)
        open_model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        open_model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    for image in images:
        tensors = session.run(None, {INPUT: image[np.newaxis, ..., np.newaxis].astype(np.float32)})
        computed = zip(names, tensors, strict=True)
        yield {name: tensor for name, tensor in computed if tensor.dtype == np.float32}


def _tidy(model: onnx.ModelProto, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
    """*model* with nodes ordered and everything named by position, so that equal graphs are equal bytes.

    The tools' tensor numbers depend on the history of the process, and their node order on hashes.
    *outputs*: new names of the outputs, in this order.
    """
    graph = model.graph
    given = sorted(zip(outputs or [output.name for output in graph.output], graph.output, strict=True),
                   key=lambda pair: pair[0])  # fmt: skip
    ordered, names, used = _ordered(graph, [output.name for _, output in given])
    names |= {output.name: name for name, output in given}
    nodes = []
    for place, node in enumerate(ordered):
        attributes = sorted(node.attribute, key=lambda attribute: attribute.name)
        plain = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=f"{node.op_type}_{place}")
        plain.input.extend(names[name] for name in node.input)
        plain.output.extend(names[name] for name in node.output)
        plain.attribute.extend(attributes)
        nodes.append(plain)
    values = [
        numpy_helper.from_array(numpy_helper.to_array(constant), names[constant.name]) for constant in used
    ]
    (taken,) = graph.input
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes, "network", [_one(INPUT, taken)], [_one(name, output) for name, output in given], values
        ),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=8, producer_name="quantize",
    )  # fmt: skip


def _ordered(
    graph: onnx.GraphProto, outputs: Sequence[str]
) -> tuple[list[onnx.NodeProto], dict[str, str], list[onnx.TensorProto]]:
    """The nodes that compute *outputs* in topological order; a new name for each tensor; the constants."""
    maker = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    ordered: list[onnx.NodeProto] = []
    names = {graph.input[0].name: INPUT, "": ""}
    used: list[onnx.TensorProto] = []
    waiting = [*reversed(outputs)]
    while waiting:  # depth first from the outputs
        name = waiting[-1]
        if name in names:
            waiting.pop()
        elif name in constants:
            names[name] = f"constant_{len(used)}"
            used.append(constants[name])
        elif missing := [wanted for wanted in reversed(maker[name].input) if wanted not in names]:
            waiting += missing
        else:
            node = maker[name]
            for place, output in enumerate(node.output):
                names[output] = f"{node.op_type}_{len(ordered)}" + (f"_{place}" if place else "")
            ordered.append(node)
    return ordered, names, used


def _one(name: str, tensor: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The graph's *tensor*, renamed to *name*, with a batch of one."""
    kind = tensor.type.tensor_type
    return onnx.helper.make_tensor_value_info(
        name, kind.elem_type, [1, *(side.dim_value for side in kind.shape.dim[1:])]
    )


def _checked(model: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _check_symmetric(model: onnx.ModelProto) -> None:
    """EdgeError unless every Q and DQ of *model* suits TensorRT: int8, zero point 0."""
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    steps = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    wrong = [
        node.name for node in steps
        if (zero := constants[node.input[2]]).dtype != np.int8 or zero.any()
    ]  # fmt: skip
    if wrong or not steps:
        raise EdgeError(
            f"{len(wrong)} of {len(steps)} steps of the int8 ONNX file are not symmetric int8; "
            "TensorRT supports no others"
        )


def _copy(model: onnx.ModelProto) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
