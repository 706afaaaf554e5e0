"""From a trained network to all its files, in memory, with what was measured on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge.runtimes import open_runtime
from edge.types import Floats
from quantize import convert, measure
from quantize.data import Data, read_data
from quantize.golden import is_int8


class Cost(NamedTuple):
    """What one file costs on one label set of PublicTest; shares 0..1."""

    file: str
    data: str
    n: int
    float_accuracy: float
    accuracy: float
    float_error: float  # calibration error before the temperature
    error: float  # and of the file

    @property
    def drop(self) -> float:
        """Points of accuracy lost, positive where the file is worse."""
        return 100 * (self.float_accuracy - self.accuracy)


@dataclass(frozen=True)
class Made:
    """A network, its files and their figures; nothing of it is written yet."""

    model: Any  # Keras, with the temperature folded in
    size: tuple[int, int]  # height and width of its input, pixels
    data: Data
    temperature: float
    before: Floats  # (n, labels) of PublicTest by the float network, before the temperature
    float_tflite: bytes  # what the others were made from; goes to no device
    files: dict[str, bytes]  # name -> content, the int8 TFLite file first
    compiled: dict[str, bytes]  # for the Edge TPU: name -> content; only that can run it
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
    qat: int = 0,
) -> Made:
    """The files called *name* of the network at *path*; EdgeError for what it, or the data, is not right for.

    ``name.tflite`` always; ``name.onnx``, ``name.fp16.onnx`` and ``name.int8.onnx``; and
    ``name.edgetpu.tflite`` where the compiler is installed. With *qat* the network is first trained for that
    many epochs to bear eight bits. Says on the terminal what it is at, and what it dislikes of the network.
    """
    model = convert.load(path)
    if not qat:  # else this was said the first time
        for line in concerns(model):
            print(line)
    _, height, width, _ = model.input_shape
    data = read_data(data_path, height, width, calibrate, seed)
    known = data.majority >= 0
    before = convert.predict(model, data.images)
    # What a user sees is held against what most people see; FER2013's own labels where no one voted.
    rows, truth = (known, data.majority[known]) if known.any() else (~known, data.labels)
    temperature = convert.fold_temperature(model, measure.fit_temperature(before[rows], truth), path)
    print(f"temperature {temperature:.3f}, folded in; quantizing by {len(data.rows)} pictures …", flush=True)

    if qat:
        from quantize.qat import train

        model = train(model, data.calibration, qat, seed=seed)
    float_tflite = convert.to_float(model)
    tflite_name = f"{name}.tflite"
    files = {tflite_name: convert.to_int8(model, data.calibration)}
    if with_onnx:
        from quantize.onnx import to_onnx

        print("making the ONNX files …", flush=True)
        made = to_onnx(float_tflite, data.calibration)
        files |= {f"{name}{suffix}": content for suffix, content in made.items()}
    probabilities = {
        file: measure.probabilities_of(open_runtime("auto", content), data.images, file)
        for file, content in files.items()
    }
    return Made(
        model, (height, width), data, temperature, before, float_tflite, files,
        _compiled(files[tflite_name], name) if with_edgetpu else {},
        probabilities, tuple(_costs(probabilities, before, data)),
    )  # fmt: skip


def _compiled(content: bytes, name: str) -> dict[str, bytes]:
    """The file for the Edge TPU, where the compiler is installed; says what that chip takes and what not."""
    from quantize import edgetpu, tflite

    graph = tflite.read(content)
    for line in edgetpu.told(graph, edgetpu.check(graph)):
        print(line)
    compiled = edgetpu.compile_file(content)
    for line in edgetpu.compiled_told(compiled):
        print(line)
    return {} if compiled is None else {f"{name}.edgetpu.tflite": compiled.content}


def _costs(probabilities: dict[str, Floats], before: Floats, data: Data) -> list[Cost]:
    known = data.majority >= 0
    label_sets = [("FER2013", np.ones_like(known), data.labels)]
    if known.any():
        label_sets.append(("FER+ majority (plus7)", known, data.majority))
    return [
        Cost(
            file, name, int(rows.sum()),
            measure.accuracy(before[rows], labels[rows]), measure.accuracy(after[rows], labels[rows]),
            measure.calibration_error(before[rows], labels[rows]),
            measure.calibration_error(after[rows], labels[rows]),
        )
        for file, after in probabilities.items()
        for name, rows, labels in label_sets
    ]  # fmt: skip


def concerns(model: Any) -> list[str]:
    """What about the Keras network *model* does not go well with eight bits, a line each."""
    from quantize import explain

    return explain.told(explain.explain(model))


def worst(made: Made) -> Cost:
    """The largest cost of a file in eight bits."""
    return max((cost for cost in made.costs if is_int8(cost.file)), key=lambda cost: cost.drop)
