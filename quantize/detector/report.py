"""The report of quantizing a detector: report.md, report.json and plots."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from quantize.detector.card import HEIGHT, WIDTH, ZOOM
from quantize.detector.make import Detector, Measured
from quantize.figures import graph as graphs
from quantize.figures.detection import RATE, SIZES, Scores
from quantize.figures.reader import read
from quantize.report import plots as classifiers_plots
from quantize.report import sqnr, tables, written
from quantize.report.facts import FLOAT_TFLITE, layers_of, places, times_of, versions
from quantize.report.latency import Latency

CURVES, SIZES_PNG, LAYERS = "curves.png", "sizes.png", "layers.png"


@dataclass(frozen=True)
class Report:
    """The data of one conversion's report."""

    network: str  # the file's name with its folder
    made: Detector
    calibration: Mapping[str, Any]
    layers: list[sqnr.Layer]
    latency: Latency
    machine: Mapping[str, Any]
    seconds: Mapping[str, float]  # duration of each step

    @property
    def int8(self) -> str:
        """The int8 TFLite file's name."""
        return next(iter(self.made.files))

    @property
    def all(self) -> dict[str, Measured]:
        """The float network's figures, and each file's."""
        return {FLOAT_TFLITE: self.made.plain, **self.made.measured}


def files_of(report: Report) -> dict[str, bytes]:
    """Every file of *report*, name -> content."""
    return written(partial(_pictures, report), partial(_markdown, report), _facts(report))


def _pictures(report: Report) -> dict[str, bytes]:
    from quantize.figures import plots

    made = report.made
    found = {
        data: {FLOAT_TFLITE: scores, report.int8: made.measured[report.int8].scores[data]}
        for data, scores in made.plain.scores.items()
    }
    drawn = {LAYERS: classifiers_plots.layers(report.layers)} if report.layers else {}
    if found:
        drawn |= {CURVES: plots.precision_recall(found), SIZES_PNG: plots.recall_by_size(found)}
    return drawn


def shown(made: Detector) -> str:
    """A table for the terminal: each file's average precision, recall and quantization cost."""
    lines = [f"{'':<18}{'data':<16}{'faces':>7}{'AP':>8}{f'recall at {RATE:g}':>15}{'drop':>8}{'agree':>9}"]
    for file, one in {FLOAT_TFLITE: made.plain, **made.measured}.items():
        for data, scores in one.scores.items():
            before = made.plain.scores[data].ap
            lines.append(
                f"{file:<18}{data:<16}{scores.faces:>7,}{scores.ap:>8.3f}{scores.at()[0]:>15.3f}"
                f"{before - scores.ap:>8.3f}{one.agreement:>9.2%}"
            )
    return "\n".join(lines)


def _markdown(report: Report, pictures: Collection[str]) -> str:
    sections = {
        "": _opening(report),
        "What is found": [
            *_found(report), *tables.shown(pictures, CURVES, "Precision over recall"), "",
            *tables.shown(pictures, SIZES_PNG, "Recall by size of face"),
        ],
        "Photos without a face": _alarms(report),
        "Files": tables.files({FLOAT_TFLITE: report.made.float_tflite, **report.made.files},
                              report.made.compiled),
        "Latency": tables.latency(report.latency, report.machine, f"picture of {WIDTH}x{HEIGHT}"),
        "Layers": [
            *tables.layers(report.int8, report.layers), *tables.shown(pictures, LAYERS, "SQNR by layer")
        ],
        "Where the ops run": tables.edge_tpu(
            report.int8, report.made.files[report.int8], report.made.compiler
        ),
        "How it was made": tables.making(
            report.calibration, f"of those trained on, with faces, each whole in {WIDTH}x{HEIGHT}",
            report.seconds,
        ),
    }  # fmt: skip
    return tables.page(f"{report.network} in eight bits", sections)


def _opening(report: Report) -> Iterator[str]:
    made, int8 = report.made, report.int8
    precise = ", ".join(
        f"{data} {made.plain.scores[data].ap:.3f} and {scores.ap:.3f}"
        for data, scores in made.measured[int8].scores.items()
    )
    if precise:
        yield f"Average precision of the float network and of {int8}: {precise}."
    ops = places(made.files[int8])
    mapped = all(one.edge_tpu == "all" for one in ops)
    yield (
        f"{int8} takes {report.latency.of(int8).ms:.2f} ms a picture of {WIDTH}x{HEIGHT} on one thread "
        f"(float TFLite {report.latency.of(FLOAT_TFLITE).ms:.2f} ms). Of its "
        f"{sum(one.number for one in ops)} ops the Edge TPU supports {'all' if mapped else 'not all'}."
    )


def _found(report: Report) -> Iterator[str]:
    yield (
        f"Each file as run by the daemon: pictures shrunk to 320 px and enlarged {ZOOM:g} times, TFLite in "
        f"the picture's shape, ONNX in its only shape, {WIDTH}x{HEIGHT}. Faces of 16 px and more (of 320), "
        "IoU >= .4. Same finds: of the faces that either finds at the default score, "
        f"{report.made.min_score:g}, in photos held out of training, all in {WIDTH}x{HEIGHT}, the fraction "
        "that both the float network and the file find."
    )
    heads = " / ".join(SIZES)
    yield from ("", f"| file | data | faces | AP | lost | recall at {RATE:g} a picture (score) | {heads} px "
                "| same finds, % |", "|---|---|---|---|---|---|---|---|")  # fmt: skip
    for file, one in report.all.items():
        for data, scores in one.scores.items():
            recall, least = scores.at()
            sizes = " / ".join(f"{share:.2f}" for share in scores.by_size(least).values())
            yield (
                f"| {file} | {data} | {scores.faces:,} | {scores.ap:.3f} "
                f"| {report.made.plain.scores[data].ap - scores.ap:+.3f} | {recall:.3f} ({least:.2f}) "
                f"| {sizes} | {100 * one.agreement:.1f} |"
            )
    yield ""


def _alarms(report: Report) -> Iterator[str]:
    if not report.made.plain.alarms:
        yield "No photo held out of training is without a face."
        return
    yield "Held out of training; at the default score."
    yield from ("", "| file | photos | n | with a false positive |", "|---|---|---|---|")
    for file, one in report.all.items():
        for source, count in one.alarms.items():
            share = f"{100 * count.wrong / count.photos:.1f} %"
            yield f"| {file} | {source} | {count.photos:,} | {count.wrong} ({share}) |"


def _facts(report: Report) -> dict[str, Any]:
    """The content of report.json: fractions 0..1, milliseconds, bytes, decibels."""
    made = report.made
    return {
        "network": report.network,
        "calibration": dict(report.calibration),
        "min_score": made.min_score,
        "float": _figures(made.plain),
        "files": {file: _file(made, file) for file in made.files},
        "compiled": {file: {"size": len(content)} for file, content in made.compiled.items()},
        "edge_tpu": [place._asdict() for place in places(made.files[report.int8])],
        "latency": times_of(report.latency),
        "layers": layers_of(report.layers),
        "machine": dict(report.machine),
        "versions": versions(),
        "seconds": {name: round(seconds, 1) for name, seconds in report.seconds.items()},
    }


def _file(made: Detector, file: str) -> dict[str, Any]:
    content = made.files[file]
    graph = read(Path(file).suffix, content)
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "parameters": graphs.parameters(graph),
        "macs": graphs.macs(graph),
        "ops": graphs.counted([op.name for op in graph.ops]),
        "drop": round(made.drop(file), 5),
        **_figures(made.measured[file]),
    }


def _figures(one: Measured) -> dict[str, Any]:
    return {
        "agreement": round(one.agreement, 5),
        "found": {data: _scores(scores) for data, scores in one.scores.items()},
        "alarms": {source: count._asdict() for source, count in one.alarms.items()},
    }


def _scores(scores: Scores) -> dict[str, Any]:
    recall, least = scores.at()
    return {
        "pictures": scores.pictures, "faces": scores.faces, "ap": round(scores.ap, 5),
        "recall": round(recall, 5), "from_score": round(least, 4),
        "by_size": {size: round(share, 5) for size, share in scores.by_size(least).items()},
    }  # fmt: skip
