"""The data of a quantization's report, and report.json."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from quantize.costs import Cost
from quantize.figures import graph as graphs
from quantize.figures.reader import read
from quantize.inside import edgetpu
from quantize.make import Made
from quantize.report import sqnr
from quantize.report.latency import Latency, latency
from quantize.report.sqnr import Layer, layers

FLOAT_TFLITE = "float TFLite"  # the report's name for the source of the other files
_PACKAGES = ("tensorflow-cpu", "tensorflow", "keras", "ai-edge-litert", "tf2onnx", "onnx", "onnxruntime")


class Place(NamedTuple):
    """Where one kind of op of the int8 TFLite file runs."""

    op: str
    number: int  # count of such ops
    cpu: str  # the type it computes in
    edge_tpu: str  # how many of them the chip supports, and why not the others


@dataclass(frozen=True)
class Report:
    """The data of one conversion's report."""

    network: str  # the file's name with its folder
    made: Made
    calibration: Mapping[str, Any]
    concerns: list[str]  # about the network, one line each
    layers: list[Layer]
    latency: Latency
    machine: Mapping[str, Any]  # used for timing
    seconds: Mapping[str, float]  # duration of each step

    @property
    def int8(self) -> str:
        """The int8 TFLite file's name."""
        return next(iter(self.made.files))

    @property
    def against_float(self) -> float:
        """Speedup of the int8 TFLite file over the float one, one face on one thread."""
        return self.latency.of(FLOAT_TFLITE).ms / self.latency.of(self.int8).ms

    @property
    def against_keras(self) -> float:
        """Speedup over Keras' model.predict on one image."""
        return self.latency.keras_ms / self.latency.of(self.int8).ms


def compared(made: Made) -> list[Layer]:
    """Each layer's error in the int8 TFLite file, on some calibration pictures."""
    int8 = next(iter(made.files.values()))
    return layers(made.float_tflite, int8, made.data.calibration[: sqnr.PICTURES])


def timed(made: Made) -> Latency:
    """The time per face of float TFLite, int8 TFLite, and the fp32 and int8 ONNX files."""
    from quantize.network.qat import has_ranges, without_ranges  # late: they import Keras

    int8, *others = made.files
    # A CPU only converts fp16 back and forth: that file is for other chips.
    some = [int8, *(file for file in others if not file.endswith(".fp16.onnx"))]
    files = {FLOAT_TFLITE: made.float_tflite, **{file: made.files[file] for file in some}}
    plain = without_ranges(made.model) if has_ranges(made.model) else made.model
    return latency(plain, files, made.data.images)


def facts_of(report: Report) -> dict[str, Any]:
    """The content of report.json: fractions 0..1, milliseconds, bytes, decibels."""
    made = report.made
    return {
        "network": report.network,
        "calibration": dict(report.calibration),
        "temperature": round(made.temperature, 5),
        "temperature_by": made.confided,
        "concerns": report.concerns,
        "files": {file: _file(made, file) for file in made.files},
        "compiled": {file: {"size": len(content)} for file, content in made.compiled.items()},
        "edge_tpu": [place._asdict() for place in places(made.files[report.int8])],
        "edge_tpu_compiler": edgetpu.compiled_text(made.compiler) if made.compiler else [],
        "latency": {
            "times": times_of(report.latency),
            "keras_predict_ms": round(report.latency.keras_ms, 3),
            "rounds": report.latency.rounds,
            "int8_against_float": round(report.against_float, 2),
            "int8_against_keras": round(report.against_keras, 1),
        },
        "layers": layers_of(report.layers),
        "worst_layer": sqnr.worst(report.layers).name if report.layers else None,
        "machine": dict(report.machine),
        "versions": versions(),
        "seconds": {name: round(seconds, 1) for name, seconds in report.seconds.items()},
    }


def times_of(latency: Latency) -> list[dict[str, Any]]:
    """The times of *latency* as plain values."""
    return [
        one._asdict() | {"ms": round(one.ms, 4), "best_ms": round(one.best_ms, 4)} for one in latency.times
    ]


def layers_of(found: Sequence[Layer]) -> list[dict[str, Any]]:
    """The layers' errors as plain values."""
    return [
        layer._asdict() | {key: round(getattr(layer, key), 4) for key in ("db", "middle_db", "added")}
        for layer in found
    ]


def _file(made: Made, file: str) -> dict[str, Any]:
    content = made.files[file]
    graph = read(Path(file).suffix, content)
    others = {other: round(made.agreement(file, other), 5) for other in made.files if other != file}
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "parameters": graphs.parameters(graph),
        "macs": graphs.macs(graph),
        # ONNX Runtime plans memory differently.
        "arena": graphs.arena(graph) if file.endswith(".tflite") else None,
        "ops": graphs.counted([op.name for op in graph.ops]),
        "float_ops": len(graphs.float_ops(graph)),
        "agreement": {"float": round(made.agreement(file), 5), **others},
        "figures": [_figures(cost) for cost in made.costs if cost.file == file],
    }


def _figures(cost: Cost) -> dict[str, Any]:
    label, points = cost.moved
    return {
        "data": cost.data, "split": "PublicTest", "n": cost.n,
        "accuracy": round(cost.accuracy, 5), "float_accuracy": round(cost.float_accuracy, 5),
        "drop_points": round(cost.drop, 3),
        "only_float_right": cost.only_float, "only_file_right": cost.only_file,
        "mcnemar_p": round(cost.p, 5),
        "calibration_error": round(cost.error, 5), "float_calibration_error": round(cost.float_error, 5),
        "recall": dict(zip(cost.labels, cost.recalls, strict=True)),
        "float_recall": dict(zip(cost.labels, cost.float_recalls, strict=True)),
        "largest_change": {"label": label, "points": round(points, 3)},
    }  # fmt: skip


def places(content: bytes) -> list[Place]:
    """Each kind of op in the int8 TFLite file *content*, by the Edge TPU's table (not its compiler)."""
    graph = read(".tflite", content)
    findings = edgetpu.check(graph)
    end = findings[0].number if findings else len(graph.ops)  # everything from there on runs on the CPU
    reasons = {finding.number: finding.reason for finding in findings}
    found = []
    for name in dict.fromkeys(op.name for op in graph.ops):
        numbers = [number for number, op in enumerate(graph.ops) if op.name == name]
        types = dict.fromkeys(graph.outputs_of(graph.ops[number])[0].dtype for number in numbers)
        mapped = sum(number < end for number in numbers)
        why = dict.fromkeys(reasons[number] for number in numbers if number in reasons)
        if mapped < len(numbers) and not why:
            why = {"after one that it does not take": None}
        on_chip = "all" if mapped == len(numbers) else f"{mapped} of {len(numbers)}: {'; '.join(why)}"
        found.append(Place(name, len(numbers), ", ".join(types), on_chip))
    return found


def machine() -> dict[str, Any]:
    """This machine, and its current load."""
    return {
        "processor": _processor(), "cores": os.cpu_count(), "architecture": platform.machine(),
        "load_average": round(os.getloadavg()[0], 1),
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python and of the packages used."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return named[0] if named else platform.processor() or platform.machine()
