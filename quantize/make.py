"""Makes all files of a trained network in memory, and measures them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.analysis.runtimes import open_runtime
from edge.labels import FER2013, Order
from edge.types import Floats
from quantize import convert, measure
from quantize import pixels as taken
from quantize.costs import Cost, confided, costs
from quantize.data import Data, names_of, read_data
from quantize.figures.temperature import fit_temperature
from quantize.golden import is_int8
from quantize.steps import Steps

if TYPE_CHECKING:
    from quantize.inside.edgetpu import Compiled


@dataclass(frozen=True)
class Made:
    """A network, its files and their figures, not yet written."""

    model: Any  # Keras, with the temperature folded in; takes pixels 0 to 255
    pixels: str  # the original network's pixel range, as pixels.limits() takes it
    size: tuple[int, int]  # height and width of its input, pixels
    data: Data
    temperature: float
    confided: str  # the label set on PublicTest used for it
    qat: int  # epochs of quantization-aware training
    before: Floats  # (n, labels), the float network on PublicTest, before the temperature
    float_tflite: bytes  # source of the others; not for devices
    files: dict[str, bytes]  # name -> content, the int8 TFLite file first
    compiled: dict[str, bytes]  # for the Edge TPU only: name -> content
    compiler: Compiled | None  # its compiler's output
    probabilities: dict[str, Floats]  # (n, labels) on PublicTest, by file
    costs: tuple[Cost, ...]  # by file and label set

    def agreement(self, one: str, other: str = "") -> float:
        """Fraction of PublicTest on which file *one* agrees with file *other*, or with the float network."""
        there = self.probabilities[other] if other else self.before
        return float((self.probabilities[one].argmax(1) == there.argmax(1)).mean())


def make(
    path: Path,
    data_path: Path,
    *,
    name: str,
    calibrate: int,
    seed: int,
    with_onnx: bool,
    with_edgetpu: bool,
    steps: Steps,
    qat: int = 0,
    confidence: str | None = None,
    pixels: str | None = None,
    order: Order = FER2013,
) -> Made:
    """The files *name* of the network at *path*; EdgeError if it or the data is unsuitable.

    ``name.tflite`` always; ``name.onnx``, ``name.fp16.onnx`` and ``name.int8.onnx``; and
    ``name.edgetpu.tflite`` if the compiler is installed. *qat*: epochs of quantization-aware training first.
    *confidence*: see `confided`. *pixels*, see pixels.limits(), is the network's pixel range, detected if
    None. Prints progress, and concerns about the network.
    """
    with steps("opening network and data"):
        model = convert.load(path, len(names_of(data_path)))
        _, height, width, _ = model.input_shape
        data = read_data(data_path, height, width, calibrate, seed, order)
        truth = confided(data, confidence)
    if not qat:  # otherwise printed the first time
        for line in concerns(model):
            print(line)
    with steps("running the float network"):
        why = ""
        if pixels is None:
            pixels, why = taken.found(model, data.images, truth)
        model = taken.with_pixels(model, pixels)
        before = convert.predict(model, data.images)
        taken.check_knows(before, truth, path, pixels)
        fitted = fit_temperature(before[truth.rows], truth.truth)
        temperature = convert.fold_temperature(model, fitted, path)
    if why and pixels != "255":
        print(f"{why}; folded in (--pixels {pixels})")
    print(f"temperature {temperature:.3f}, folded in")

    if qat:
        from quantize.network.qat import train

        with steps(f"quantization-aware training, {qat} epochs"):
            model = train(model, data.calibration, qat, seed=seed)
    tflite_name = f"{name}.tflite"
    with steps(f"quantizing with {len(data.rows)} pictures"):
        float_tflite = convert.to_float(model)
        files = {tflite_name: convert.to_int8(model, data.calibration, float_tflite)}
    if with_onnx:
        from quantize.onnx import to_onnx

        with steps("making the ONNX files"):
            made = to_onnx(float_tflite, data.calibration)
        files |= {f"{name}{suffix}": content for suffix, content in made.items()}
    compiler = compiled_for_edge_tpu(files[tflite_name], steps, with_edgetpu)
    compiled = {f"{name}.edgetpu.tflite": compiler.content} if compiler else {}
    with steps("measuring each file"):
        probabilities = {
            file: measure.probabilities_of(open_runtime("auto", content), data.images, file)
            for file, content in files.items()
        }
    return Made(
        model, pixels, (height, width), data, temperature, truth.name, qat, before, float_tflite, files,
        compiled, compiler, probabilities, tuple(costs(probabilities, before, data)),
    )  # fmt: skip


def compiled_for_edge_tpu(content: bytes, steps: Steps, wanted: bool = True) -> Compiled | None:
    """*content* compiled for the Edge TPU, if *wanted* and possible; prints which ops it supports."""
    if not wanted:
        return None
    from quantize.figures import tflite
    from quantize.inside import edgetpu

    graph = tflite.read(content)
    for line in edgetpu.summary(graph, edgetpu.check(graph)):
        print(line)
    with steps("compiling for the Edge TPU"):
        compiled = edgetpu.compile_file(content)
    for line in edgetpu.compiled_text(compiled):
        print(line)
    return compiled


def concerns(model: Any) -> list[str]:
    """Why the Keras network *model* may quantize badly, a line each."""
    from quantize.network import explain

    return explain.summary(explain.explain(model))


def worst(made: Made) -> Cost:
    """The largest cost of an int8 file."""
    return max((cost for cost in made.costs if is_int8(cost.file)), key=lambda cost: cost.drop)
