"""The Edge TPU: which ops of a TFLite file it supports and why not the others, and its compiler.

The table is Coral's "TensorFlow models on the Edge TPU", section "Supported operations"
(coral.ai/docs/edgetpu/models-intro), as of compiler 16 and runtime 14, the last ones. Two more rules cover
files of newer converters that this compiler, from 2021, rejects: google-coral/edgetpu issues 845, 879.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.types import EdgeError
from quantize.figures.graph import Graph, Op, Tensor

COMPILER = "edgetpu_compiler"
WHERE = "coral.ai/docs/edgetpu/compiler"
SOFTMAX_ELEMENTS = 16_000
# The newest version of each op that the compiler knows; a newer one makes it reject the whole file.
_NEWEST = {"QUANTIZE": 2, "TRANSPOSE_CONV": 3}
_ANY = (
    "ADD", "EXPAND_DIMS", "L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "QUANTIZE", "RELU",
    "RELU6", "RELU_N1_TO_1", "RESHAPE", "RSQRT", "SLICE", "SPACE_TO_DEPTH", "SQUARED_DIFFERENCE", "SUB",
    "TANH",
    "TRANSPOSE", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM",
)  # fmt: skip


class Finding(NamedTuple):
    """One op that the Edge TPU does not support."""

    number: int  # index of the op in execution order
    op: str
    place: str  # name of its output
    reason: str


class Compiled(NamedTuple):
    """The compiler's output file and its log."""

    content: bytes
    version: str
    mapped: int  # ops that run on the Edge TPU
    on_cpu: int
    subgraphs: int
    on_chip: int  # bytes of parameters kept on the chip
    streamed: int  # bytes of parameters fetched for every run
    statuses: tuple[tuple[str, int, str], ...]  # op, count, status


def check(graph: Graph) -> list[Finding]:
    """The ops of *graph* that the Edge TPU does not support, with the reason, in order.

    Everything from the first one on runs on the CPU: the compiler maps a single part of the network.
    """
    findings = []
    for number, op in enumerate(graph.ops):
        reason = _reason(graph, op)
        if reason:
            outputs = graph.outputs_of(op)
            findings.append(Finding(number, op.name, outputs[0].name if outputs else "", reason))
    return findings


def summary(graph: Graph, findings: list[Finding]) -> list[str]:
    """The findings as text: a summary, then one line per op."""
    ops = len(graph.ops)
    if not findings:
        return [f"Edge TPU: supports the kinds and shapes of all {ops} ops"]
    first = findings[0]
    lines = [
        f"Edge TPU: does not support op {first.number + 1} of {ops}; from there on "
        f"everything runs on the CPU ({ops - first.number} of {ops} ops)"
    ]
    return lines + [
        f"Edge TPU: op {finding.number + 1} {finding.op} {finding.place!r}: {finding.reason}"
        for finding in findings
    ]


def compile_file(content: bytes, *, timeout_s: float = 300) -> Compiled | None:
    """The file *content* compiled for the Edge TPU; None if the compiler is not installed.

    EdgeError when it fails or takes more than *timeout_s* seconds.
    """
    program = shutil.which(COMPILER)
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edgetpu-") as folder:
        file = Path(folder) / "model.tflite"
        file.write_bytes(content)
        command = [program, "-s", "-o", folder, str(file)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise EdgeError(f"{COMPILER}: not finished after {timeout_s:g} s; stopped") from error
        except OSError as error:
            raise EdgeError(f"{program}: {error.strerror or error}") from error
        compiled = file.with_name("model_edgetpu.tflite")
        if done.returncode or not compiled.is_file():
            lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            last = lines[-1] if lines else "no output"
            worst = next((line for line in lines if line.upper().startswith("ERROR")), last)
            raise EdgeError(f"{COMPILER}: exit {done.returncode}: {worst}")
        return parsed(done.stdout, compiled.read_bytes())


def parsed(log: str, content: bytes) -> Compiled:
    """The result from the compiler's *log* (option -s) and the *content* it wrote."""
    rows = re.findall(r"^([A-Z][A-Z0-9_]*)[ \t]+(\d+)[ \t]+(\S.*)$", log, re.MULTILINE)
    statuses = tuple((name, int(count), status.strip()) for name, count, status in rows)
    if not statuses:
        raise EdgeError(f"{COMPILER}: its log has no table of ops; is it version 2 or newer?")
    mapped = sum(count for _, count, status in statuses if status == "Mapped to Edge TPU")
    version = re.search(r"^Edge TPU Compiler version (\S+)", log, re.MULTILINE)
    subgraphs = re.search(r"^Number of Edge TPU subgraphs: (\d+)", log, re.MULTILINE)
    return Compiled(
        content,
        version[1] if version else "unknown",
        mapped,
        sum(count for _, count, _ in statuses) - mapped,
        int(subgraphs[1]) if subgraphs else 0,
        _bytes(log, "On-chip memory used for caching model parameters"),
        _bytes(log, "Off-chip memory used for streaming uncached model parameters"),
        statuses,
    )


def compiled_text(compiled: Compiled | None) -> list[str]:
    """The compiler's result as text; without it, how to install it."""
    if compiled is None:
        return [
            f"Edge TPU: {COMPILER} not found; install Coral's package edgetpu-compiler (x86-64 Debian or "
            f"Ubuntu, {WHERE}) and use --edgetpu again"
        ]
    lines = [
        f"Edge TPU compiler {compiled.version}: {compiled.mapped} ops on the Edge TPU, {compiled.on_cpu} on "
        f"the CPU; parameters: {compiled.on_chip:,} bytes on the chip, {compiled.streamed:,} streamed a run"
    ]
    return lines + [
        f"Edge TPU compiler: {count} {name}: {status}"
        for name, count, status in compiled.statuses
        if status != "Mapped to Edge TPU"
    ]


def _bytes(log: str, key: str) -> int:
    found = re.search(rf"^{key}: ([\d.]+)([KMG]i)?B", log, re.MULTILINE)
    power = {None: 0, "Ki": 1, "Mi": 2, "Gi": 3}
    return round(float(found[1]) * 1024 ** power[found[2]]) if found else 0


def _reason(graph: Graph, op: Op) -> str:
    """Why the Edge TPU does not support *op*; empty if it does."""
    if op.name not in _ANY and op.name not in _RULES:
        return f"{op.name} is not in its table"
    if op.version > _NEWEST.get(op.name, op.version):
        return (
            f"version {op.version}; its compiler knows up to {_NEWEST[op.name]} and rejects the whole file: "
            "convert with an older TensorFlow"
        )
    for tensor in (*graph.inputs_of(op), *graph.outputs_of(op)):
        if not tensor.constant and tensor.dtype not in ("int8", "uint8"):
            return f"{tensor.name!r} is {tensor.dtype}; expected int8 or uint8"
        if -1 in tensor.shape:
            return f"{tensor.name!r} has a size known only at run time: {tensor.shape}"
        if any(size > 1 for size in tensor.shape[:-3]) and not tensor.constant:
            return f"{tensor.name!r} is {tensor.shape}; only the three inner sizes may be above 1"
    rule = _RULES.get(op.name)
    return rule(graph, op) if rule else ""


def _axes(graph: Graph, op: Op) -> list[int]:
    """The axes in an op's second input, counted from the first input's outermost."""
    tensors = graph.inputs_of(op)
    rank = len(tensors[0].shape)
    values = np.frombuffer(tensors[1].data, np.int32) if len(tensors) > 1 else np.zeros(0, np.int32)
    return [int(value) % max(rank, 1) for value in values]


def _unfused(graph: Graph, op: Op) -> str:
    fused = op.options.get("fusedActivationFunction", 0)
    return f"it has an activation fused in ({fused}); expected none" if fused else ""


def _concatenation(graph: Graph, op: Op) -> str:
    tensors = graph.inputs_of(op)
    constants = [tensor for tensor in tensors if tensor.constant]
    if constants and (len(tensors) != 2 or any(_nonzero(tensor) for tensor in constants)):
        return "it joins a constant that is not zeros; expected one of zeros, and one other input"
    return _unfused(graph, op)


def _nonzero(tensor: Tensor) -> bool:
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    return bool(np.any(np.frombuffer(tensor.data, np.int8 if tensor.dtype == "int8" else np.uint8) != zero))


def _convolution(graph: Graph, op: Op) -> str:
    across, down = op.options.get("dilationWFactor", 1), op.options.get("dilationHFactor", 1)
    if across != down:
        return f"dilation {down} down and {across} across; expected the same both ways"
    return _constant_kernel(graph, op)


def _constant_kernel(graph: Graph, op: Op) -> str:
    tensors = graph.inputs_of(op)
    variable = [tensor.name for tensor in tensors[1:3] if not tensor.constant]
    return f"its parameters {variable[0]!r} are computed at run time; expected constants" if variable else ""


def _dense(graph: Graph, op: Op) -> str:
    output = graph.outputs_of(op)[0]
    if any(size > 1 for size in output.shape[:-1]):
        return f"its output is {output.shape}; expected one of a single dimension"
    if op.options.get("weightsFormat", 0):
        return "its weights are not in the default format"
    if len(graph.inputs_of(op)[1].scales) > 1:
        # Since TensorFlow 2.16: tensorflow/tflite-micro pull request 2602.
        return "its weights have per-channel scales, newer for dense layers than the compiler; expected one"
    return _constant_kernel(graph, op)


def _mean(graph: Graph, op: Op) -> str:
    shape = graph.inputs_of(op)[0].shape
    axes = _axes(graph, op)
    if len(axes) and len(shape) - 1 in axes and shape[-1] % 4:
        return f"it takes the mean over {shape[-1]} channels; expected a multiple of 4"
    return _no_batch(graph, op)


def _no_batch(graph: Graph, op: Op) -> str:
    return "it works along the batch" if 0 in _axes(graph, op) and graph.inputs_of(op)[0].shape else ""


def _pack(graph: Graph, op: Op) -> str:
    return "it packs along the batch" if op.options.get("axis") == 0 else ""


def _pad(graph: Graph, op: Op) -> str:
    widths = np.frombuffer(graph.inputs_of(op)[1].data, np.int32)
    return "it pads the batch" if np.any(widths[:2]) else ""


def _prelu(graph: Graph, op: Op) -> str:
    shape = graph.inputs_of(op)[1].shape
    if any(size > 1 for size in shape[:-1]):
        return f"its slopes are {shape}; expected one per channel (shared_axes=[1, 2])"
    return ""


def _softmax(graph: Graph, op: Op) -> str:
    shape = graph.inputs_of(op)[0].shape
    if any(size > 1 for size in shape[:-1]):
        return f"its input is {shape}; expected one of a single dimension"
    if shape and shape[-1] > SOFTMAX_ELEMENTS:
        return f"its input has {shape[-1]:,} elements; expected up to {SOFTMAX_ELEMENTS:,}"
    return ""


def _split(graph: Graph, op: Op) -> str:
    axis = np.frombuffer(graph.inputs_of(op)[0].data, np.int32)
    return "it splits the batch" if 0 in axis else ""


def _squeeze(graph: Graph, op: Op) -> str:
    taken, given = graph.inputs_of(op)[0].shape, graph.outputs_of(op)[0].shape
    if taken[-len(given) :] != given:
        return f"it squeezes {taken} to {given}; expected leading ones only"
    return ""


def _strided_slice(graph: Graph, op: Op) -> str:
    strides = np.frombuffer(graph.inputs_of(op)[3].data, np.int32)
    if np.any(strides != 1):
        return f"its strides are {strides.tolist()}; expected ones"
    if op.options.get("ellipsisMask") or op.options.get("newAxisMask"):
        return "it uses an ellipsis or a new axis"
    return ""


def _resize(graph: Graph, op: Op) -> str:
    taken, given = graph.inputs_of(op)[0].shape, graph.outputs_of(op)[0].shape
    return "" if len(taken) == len(given) == 4 else f"it resizes {taken} to {given}"


_RULES: dict[str, Callable[[Graph, Op], str]] = {
    "AVERAGE_POOL_2D": _unfused,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _unfused,
    "MEAN": _mean,
    "PACK": _pack,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _no_batch,
    "REDUCE_MIN": _no_batch,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _no_batch,
}
