"""Ops the Edge TPU supports, its compiler's log, and a compiler that fails."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.types import EdgeError
from quantize.figures import tflite
from quantize.figures.graph import Graph, Op, Tensor
from quantize.inside import edgetpu

SHIPPED = Path(__file__).resolve().parents[1] / "edge" / "models" / "emotion.tflite"

# Output format of compiler 16 with -s: google-coral/edgetpu issues 427, 490 and 572.
LOG = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 542 ms.

Input model: model.tflite
Input size: 767.78KiB
Output model: model_edgetpu.tflite
Output size: 1.04MiB
On-chip memory used for caching model parameters: 604.50KiB
On-chip memory remaining for caching model parameters: 6.89MiB
Off-chip memory used for streaming uncached model parameters: 1.25MiB
Number of Edge TPU subgraphs: 1
Total number of operations: 19
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model \
will instead run on the CPU, which is slower. If possible, consider updating your model to use only \
operations supported by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 17
Number of operations that will run on CPU: 2

Operator                       Count      Status

CONV_2D                        12         Mapped to Edge TPU
ADD                            4          Mapped to Edge TPU
MEAN                           1          Mapped to Edge TPU
LOGISTIC                       1          Operation is otherwise supported, but not mapped due to some \
unspecified limitation
SOFTMAX                        1          More than one subgraph is not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""


def tensor(name: str, *shape: int, dtype: str = "int8", **more: object) -> Tensor:
    return Tensor(name, shape, dtype, scales=(0.1,), zero_points=(0,), **more)  # type: ignore[arg-type]


def constant(*values: int) -> Tensor:
    return Tensor("numbers", (len(values),), "int32", constant=True, data=np.int32(values).tobytes())


def one_op(name: str, taken: list[Tensor], given: Tensor, version: int = 1, **options: object) -> Graph:
    tensors = (*taken, given)
    op = Op(name, tuple(range(len(taken))), (len(taken),), version, options)
    return Graph(tensors, (op,), (0,), (len(taken),))


def reasons(graph: Graph) -> list[str]:
    return [finding.reason for finding in edgetpu.check(graph)]


MAP = tensor("map", 1, 8, 8, 16)
ROW = tensor("row", 1, 10)
KERNEL = tensor("kernel", 16, 3, 3, 16, constant=True)
CHANNELED = Tensor("weights", (7, 10), "int8", (0.1,) * 7, (0,) * 7, constant=True)
WEIGHTS = tensor("weights", 7, 10, constant=True)

TAKEN = [
    one_op("ADD", [MAP, MAP], MAP),
    one_op("CONV_2D", [MAP, KERNEL], MAP, 3, dilationWFactor=2, dilationHFactor=2),
    one_op("MEAN", [MAP, constant(1, 2)], tensor("mean", 1, 16)),
    one_op("FULLY_CONNECTED", [ROW, WEIGHTS], tensor("logits", 1, 7), 4),
    one_op("SOFTMAX", [tensor("logits", 1, 16_000)], tensor("shares", 1, 16_000)),
    one_op("PAD", [MAP, constant(0, 0, 1, 1, 1, 1, 0, 0)], tensor("padded", 1, 10, 10, 16)),
    one_op("STRIDED_SLICE", [MAP, constant(0), constant(1), constant(1, 1, 1, 1)], MAP, ellipsisMask=0),
    one_op("QUANTIZE", [MAP], MAP, 2),
]  # fmt: skip

REFUSED = [
    (one_op("HARD_SWISH", [MAP], MAP), "HARD_SWISH is not in its table"),
    (one_op("LEAKY_RELU", [MAP], MAP), "LEAKY_RELU is not in its table"),
    (one_op("ADD", [tensor("f", 1, 4, dtype="float32")] * 2, ROW), "'f' is float32; expected int8 or uint8"),
    (one_op("ADD", [tensor("d", 1, -1)] * 2, ROW), "'d' has a size known only at run time: (1, -1)"),
    (
        one_op("ADD", [tensor("batch", 8, 4, 4, 2)] * 2, MAP),
        "'batch' is (8, 4, 4, 2); only the three inner sizes may be above 1",
    ),
    (
        one_op("DEPTHWISE_CONV_2D", [MAP, WEIGHTS], MAP, dilationHFactor=2, dilationWFactor=1),
        "dilation 2 down and 1 across; expected the same both ways",
    ),
    (one_op("CONV_2D", [MAP, MAP], MAP), "its parameters 'map' are computed at run time; expected constants"),
    (
        one_op("MAX_POOL_2D", [MAP], MAP, fusedActivationFunction=1),
        "it has an activation fused in (1); expected none",
    ),
    (
        one_op("MEAN", [tensor("m", 1, 4, 4, 7), constant(3)], MAP),
        "it takes the mean over 7 channels; expected a multiple of 4",
    ),
    (one_op("SUM", [MAP, constant(0)], MAP), "it works along the batch"),
    (
        one_op("FULLY_CONNECTED", [ROW, WEIGHTS], tensor("logits", 3, 7)),
        "its output is (3, 7); expected one of a single dimension",
    ),
    (
        one_op(
            "FULLY_CONNECTED",
            [ROW, CHANNELED],
            tensor("l", 1, 7),
        ),
        "its weights have per-channel scales, newer for dense layers than the compiler; expected one",
    ),
    (
        one_op("SOFTMAX", [tensor("wide", 1, 16_001)], tensor("wide", 1, 16_001)),
        "its input has 16,001 elements; expected up to 16,000",
    ),
    (
        one_op("SOFTMAX", [tensor("two", 1, 4, 7)], MAP),
        "its input is (1, 4, 7); expected one of a single dimension",
    ),
    (one_op("PAD", [MAP, constant(1, 0, 0, 0, 0, 0, 0, 0)], MAP), "it pads the batch"),
    (
        one_op("PRELU", [MAP, tensor("slopes", 8, 8, 16, constant=True)], MAP),
        "its slopes are (8, 8, 16); expected one per channel (shared_axes=[1, 2])",
    ),
    (
        one_op("STRIDED_SLICE", [MAP, constant(0), constant(1), constant(1, 2)], MAP),
        "its strides are [1, 2]; expected ones",
    ),
    (
        one_op("SQUEEZE", [tensor("s", 1, 5, 1, 10)], tensor("t", 1, 5, 10)),
        "it squeezes (1, 5, 1, 10) to (1, 5, 10); expected leading ones only",
    ),
    (
        one_op("QUANTIZE", [MAP], MAP, 3),
        "version 3; its compiler knows up to 2 and rejects the whole file: convert with an older TensorFlow",
    ),
]


@pytest.mark.parametrize("graph", TAKEN, ids=lambda graph: graph.ops[0].name)
def test_ops_within_the_table_limits_are_supported(graph: Graph) -> None:
    assert reasons(graph) == []


@pytest.mark.parametrize(("graph", "reason"), REFUSED, ids=lambda value: "")
def test_unsupported_ops_are_reported_with_a_reason(graph: Graph, reason: str) -> None:
    assert reasons(graph) == [reason]


def test_every_op_from_the_first_unsupported_one_runs_on_the_cpu() -> None:
    tensors = (MAP, MAP, MAP, MAP)
    ops = (Op("RELU", (0,), (1,)), Op("HARD_SWISH", (1,), (2,)), Op("RELU", (2,), (3,)))
    graph = Graph(tensors, ops, (0,), (3,))
    assert edgetpu.summary(graph, edgetpu.check(graph)) == [
        "Edge TPU: does not support op 2 of 3; from there on everything runs on the CPU (2 of 3 ops)",
        "Edge TPU: op 2 HARD_SWISH 'map': HARD_SWISH is not in its table",
    ]


def test_shipped_network_convolutions_are_all_supported() -> None:
    findings = edgetpu.check(tflite.read(SHIPPED.read_bytes()))
    assert {finding.op for finding in findings} <= {"FULLY_CONNECTED"}


def test_compiler_log_is_parsed() -> None:
    compiled = edgetpu.parsed(LOG, b"TFL3")
    assert compiled[:7] == (b"TFL3", "16.0.384591198", 17, 2, 1, 619_008, 1_310_720)
    assert edgetpu.compiled_text(compiled) == [
        "Edge TPU compiler 16.0.384591198: 17 ops on the Edge TPU, 2 on the CPU; parameters: 619,008 bytes "
        "on the chip, 1,310,720 streamed a run",
        "Edge TPU compiler: 1 LOGISTIC: Operation is otherwise supported, but not mapped due to some "
        "unspecified limitation",
        "Edge TPU compiler: 1 SOFTMAX: More than one subgraph is not supported",
    ]


def test_compiler_log_without_the_table_is_an_error() -> None:
    with pytest.raises(EdgeError, match="its log has no table of ops"):
        edgetpu.parsed("Edge TPU Compiler version 1.0\nModel compiled successfully in 11 ms.\n", b"")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install a shell script as the compiler: *body* gets the folder in $3 and the file in $4."""

    def install(body: str) -> None:
        program = tmp_path / "edgetpu_compiler"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return install


def test_compiler_gets_the_file_and_its_output_is_used(
    compiler: Callable[[str], None], tmp_path: Path
) -> None:
    (tmp_path / "log").write_text(LOG)
    compiler(f'test "$1 $2" = "-s -o" && tr a b < "$4" > "$3/model_edgetpu.tflite" && cat {tmp_path}/log')
    compiled = edgetpu.compile_file(b"abba")
    assert compiled is not None
    assert (compiled.content, compiled.mapped) == (b"bbbb", 17)


def test_compiler_that_fails_or_hangs_gets_one_line(compiler: Callable[[str], None]) -> None:
    compiler("echo \"ERROR: Didn't find op for builtin opcode 'QUANTIZE' version '3'.\" >&2; echo no; exit 1")
    with pytest.raises(
        EdgeError, match=r"^edgetpu_compiler: exit 1: ERROR: Didn't find op .* version '3'\.$"
    ):
        edgetpu.compile_file(b"")
    compiler("exec sleep 30")
    with pytest.raises(EdgeError, match=r"^edgetpu_compiler: not finished after 0\.2 s; stopped$"):
        edgetpu.compile_file(b"", timeout_s=0.2)
    compiler("exit 0")
    with pytest.raises(EdgeError, match=r"^edgetpu_compiler: exit 0: no output$"):
        edgetpu.compile_file(b"")


def test_missing_compiler_error_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert edgetpu.compile_file(b"") is None
    (line,) = edgetpu.compiled_text(None)
    assert line.startswith("Edge TPU: edgetpu_compiler not found; install Coral's package edgetpu-compiler")
    assert "coral.ai/docs/edgetpu/compiler" in line
