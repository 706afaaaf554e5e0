"""``quantize`` for a face detector's network."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from quantize.detector.card import SPAN, card, figures_of
from quantize.detector.make import Detector, golden_pictures, quantize_detector
from quantize.detector.report import Report, files_of, shown
from quantize.figures import tflite
from quantize.figures.photos import read_photos
from quantize.files import record_beside, write
from quantize.golden import golden_outputs
from quantize.inside import edgetpu
from quantize.report import sqnr
from quantize.report.facts import FLOAT_TFLITE, machine
from quantize.report.latency import latency
from quantize.steps import Steps

MOST = 300  # calibration photos: more do not change the ranges
_WAYS = ((1,), (1,))  # threads and batch sizes to time: the daemon's


def run(
    options: argparse.Namespace, *, with_onnx: bool, with_edgetpu: bool, report: Path | None
) -> tuple[float, str]:
    """Write the files and the *report*, unless the loss is too large.

    Returns the loss in points of average precision and its file; beyond --max-drop nothing is written.
    """
    began = time.monotonic()
    name = options.name or "faces"
    photos = read_photos([options.data])
    measured = {path.name: read_photos([path]) for path in options.measure}
    steps = Steps(3 + with_onnx + with_edgetpu + (3 if report else 1))
    made = quantize_detector(
        options.model, photos, measured, name=name, count=min(options.calibrate, MOST), seed=options.seed,
        min_score=options.min_score, with_onnx=with_onnx, with_edgetpu=with_edgetpu, steps=steps,
    )  # fmt: skip
    int8 = f"{name}.tflite"
    if not with_edgetpu:  # otherwise already printed when compiling
        graph = tflite.read(made.files[int8])
        print("\n".join(edgetpu.summary(graph, edgetpu.check(graph))))
    print(shown(made))
    drop, file = made.worst
    if not 100 * drop <= options.max_drop:
        return 100 * drop, file
    calibration = {"data": options.data.name, "photos": len(made.pictures), "seed": options.seed}
    with steps("packing"):
        files = made.files | made.compiled
        files[f"{name}.golden.npz"] = golden_outputs(made.files, made.compiled, golden_pictures(), SPAN)
        one = made.measured[int8]
        agreement = {file: round(each.agreement, 4) for file, each in made.measured.items()}
        files[f"{name}.json"] = card(
            name, options.model_version, files, options.min_score, record_beside(options.model),
            figures_of(int8, one.scores, one.alarms),
            calibration | {"agreement with float": agreement},
        )  # fmt: skip
    drawn = _report(options.model.resolve(), made, calibration, steps) if report else {}
    write(options.out, files)
    print(f"{options.out}: {', '.join(files)}; {time.monotonic() - began:.0f} s")
    if report:
        write(report, drawn)
        print(f"{report}: {', '.join(drawn)}")
    return 100 * drop, file


def _report(model: Path, made: Detector, calibration: dict[str, object], steps: Steps) -> dict[str, bytes]:
    int8 = next(iter(made.files))
    with steps("comparing layers"):
        layers = sqnr.layers(made.float_tflite, made.files[int8], made.pictures[: sqnr.PICTURES])
    with steps("timing the files"):
        # A CPU only converts fp16 back and forth: that file is for other chips.
        timed = {file: content for file, content in made.files.items() if ".fp16." not in file}
        found = latency(made.model, {FLOAT_TFLITE: made.float_tflite, **timed}, made.pictures, *_WAYS)
    network = f"{model.parent.name}/{model.name}"
    return files_of(Report(network, made, calibration, layers, found, machine(), steps.seconds))
