"""From a trained network to all its files, in memory, with what was measured on the way."""

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
    """A network, its files and their figures; nothing of it is written yet."""

    model: Any  # Keras, with the temperature folded in; takes pixels 0 to 255
    pixels: str  # the range that the network itself takes them in, one of pixels.RANGES
    size: tuple[int, int]  # height and width of its input, pixels
    data: Data
    temperature: float
    confided: str  # the label set on PublicTest that chose it
    qat: int  # epochs it was trained to bear eight bits
    before: Floats  # (n, labels) of PublicTest by the float network, before the temperature
    float_tflite: bytes  # what the others were made from; goes to no device
    files: dict[str, bytes]  # name -> content, the int8 TFLite file first
    compiled: dict[str, bytes]  # for the Edge TPU: name -> content; only that can run it
    compiler: Compiled | None  # and what its compiler said
    probabilities: dict[str, Floats]  # (n, labels) of PublicTest by each of files
    costs: tuple[Cost, ...]  # of each of files, on each label set

    def agreement(self, one: str, other: str = "") -> float:
        """Share of PublicTest on which file *one* chooses as file *other*, or as the float network."""
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
    """The files called *name* of the network at *path*; EdgeError for what it, or the data, is not right for.

    ``name.tflite`` always; ``name.onnx``, ``name.fp16.onnx`` and ``name.int8.onnx``; and
    ``name.edgetpu.tflite`` where the compiler is installed. With *qat* the network is first trained for that
    many epochs to bear eight bits. *confidence*: see `confided`. *pixels*, of pixels.RANGES, is what the
    network takes for black and white; found out by asking where it is None. Says on the terminal what it is
    at, and what it dislikes of the network.
    """
    with steps("opening network and data"):
        model = convert.load(path, len(names_of(data_path)))
        _, height, width, _ = model.input_shape
        data = read_data(data_path, height, width, calibrate, seed, order)
        truth = confided(data, confidence)
    if not qat:  # else this was said the first time
        for line in concerns(model):
            print(line)
    with steps("asking the float network"):
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

        with steps(f"training it for {qat} epochs"):
            model = train(model, data.calibration, qat, seed=seed)
    tflite_name = f"{name}.tflite"
    with steps(f"quantizing by {len(data.rows)} pictures"):
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
    """*content* compiled for the Edge TPU, if *wanted* and its compiler is here; says what the chip takes."""
    if not wanted:
        return None
    from quantize.figures import tflite
    from quantize.inside import edgetpu

    graph = tflite.read(content)
    for line in edgetpu.summary(graph, edgetpu.check(graph)):
        print(line)
    with steps("compiling for the Edge TPU"):
        compiled = edgetpu.compile_file(content)
    for line in edgetpu.compiled_told(compiled):
        print(line)
    return compiled


def concerns(model: Any) -> list[str]:
    """What about the Keras network *model* does not go well with eight bits, a line each."""
    from quantize.network import explain

    return explain.summary(explain.explain(model))


def worst(made: Made) -> Cost:
    """The largest cost of a file in eight bits."""
    return max((cost for cost in made.costs if is_int8(cost.file)), key=lambda cost: cost.drop)
