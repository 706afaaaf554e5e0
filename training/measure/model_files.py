"""A trained network from any supported file, as one value: pictures in, probabilities out.

Reads a run's folder, ``.keras``, ``.tflite`` and ``.onnx``, and a ``.toml`` that describes the input and
labels of another project's file, for comparison in the same tables::

    file = "emotion_model.tflite"       # path relative to this toml
    name = "mini-XCEPTION (fer 25.10)"
    range = [-1, 1]                     # values of a black and a white pixel; default [0, 255]
    labels = ["angry", "disgust", …]    # the outputs in order, in any spelling; others are ignored
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.analysis.preprocess import crop_whole
from edge.analysis.tensors import dequantize, quantize
from edge.labels import label_of, wrong_names
from edge.types import LABELS, EdgeError, TensorSpec
from quantize.figures.cost import Cost, cost_of_file, cost_of_keras
from training.runs import RECORD, RUN_FILE, first_line, load, model_file
from training.toml import read_toml

BATCH = 1024  # pictures per call, if the file's batch size is not fixed


class Contract(NamedTuple):
    """A file's input format and the meaning of its outputs."""

    black: float = 0.0
    white: float = 255.0
    labels: tuple[str, ...] = LABELS
    columns: tuple[int, ...] = tuple(range(len(LABELS)))  # index of each label among the outputs
    outputs: int = len(LABELS)


class Opened(NamedTuple):
    """A file in its runtime: tensors as in *input* (batch 0: any size) -> probabilities (b, outputs)."""

    input: TensorSpec
    run: Callable[[np.ndarray], np.ndarray]
    cost: Callable[[], Cost]


@dataclass(frozen=True)
class Network:
    """A network ready to run."""

    name: str  # for tables: the run's folder (and file), the file, or the name in a toml
    path: Path
    opened: Opened
    contract: Contract

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def height_width(self) -> tuple[int, int]:
        """Its input size; pictures are resized to it."""
        shape = self.opened.input.shape
        return shape[2:4] if _channels_first(shape) else shape[1:3]

    @property
    def run(self) -> Path | None:
        """The run's folder, if the file is in one."""
        return self.path.parent if (self.path.parent / RECORD).exists() else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Its labels: LABELS, or its own from the run's record or the card."""
        return self.contract.labels

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(n, labels) float32 in the labels' order for *images* (n, height, width) uint8 luma."""
        spec, contract = self.opened.input, self.contract
        height, width = self.height_width
        step = (contract.white - contract.black) / 255
        batch, found = spec.shape[0] or BATCH, []
        for start in range(0, len(images), batch):
            some = images[start : start + batch]
            if some.shape[1:] != (height, width):
                some = np.stack([crop_whole(image, height, width) for image in some])
            tensor = quantize(contract.black + some * np.float32(step), spec)
            tensor = tensor[:, None] if _channels_first(spec.shape) else tensor[..., None]
            missing = (spec.shape[0] or len(tensor)) - len(tensor)  # in a batch of fixed size
            if missing:
                tensor = np.concatenate([tensor, np.repeat(tensor[-1:], missing, 0)])
            found.append(self.opened.run(tensor)[: len(some)])
        return self._ours(np.concatenate(found).astype(np.float32))

    def _ours(self, outputs: np.ndarray) -> np.ndarray:
        """The labels' probabilities from *outputs*, checked."""
        contract = self.contract
        if outputs.shape[1:] != (contract.outputs,):
            found = " x ".join(map(str, outputs.shape[1:])) or "no"
            raise EdgeError(f"{self.path}: {found} outputs; expected {contract.outputs}")
        sums = outputs.sum(1)
        if not np.all(np.abs(sums - 1) < 0.1):  # eight-bit outputs may not sum to exactly 1
            raise EdgeError(
                f"{self.path}: outputs sum to {sums[np.abs(sums - 1).argmax()]:.3g}; "
                "expected probabilities, which sum to 1"
            )
        ours = outputs[:, contract.columns]
        if contract.outputs > len(contract.labels):
            ours /= np.maximum(ours.sum(1, keepdims=True), 1e-9)
        return ours


def open_network(path: Path) -> Network:
    """The network in *path*: a run's folder, .keras, .tflite, .onnx or a .toml about one of these.

    EdgeError in one line if it is none of these or cannot be read.
    """
    if path.suffix == ".toml":
        return _described(path)
    file = model_file(path)
    opened, folder = _open(file), file.absolute().parent
    if file.name == RUN_FILE:
        name = folder.name
    elif (folder / RECORD).exists():
        name = f"{folder.name}/{file.name}"
    else:
        name = file.name
    labels = _labels_beside(file)
    contract = Contract(labels=labels, columns=tuple(range(len(labels))), outputs=len(labels))
    return Network(name, file, opened, contract)


def _labels_beside(file: Path) -> tuple[str, ...]:
    """The labels in the run's record or the card next to *file*; LABELS without either."""
    card = file.with_suffix(".json")
    if not card.exists():  # X.json is also the card of X.int8.onnx
        card = card.with_suffix("").with_suffix(".json")
    for path in (file.parent / RECORD, card):
        if file.suffix == ".keras" and path == card:
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue  # reported by whoever needs more of it
        if isinstance(record, dict) and "labels" in record:
            labels = record["labels"]
            texts = isinstance(labels, list) and all(isinstance(one, str) for one in labels)
            if wrong := wrong_names(labels) if texts else f"{labels!r}; expected a list of names":
                raise EdgeError(f"{path}: labels: {wrong}")
            return tuple(labels)
    return LABELS


def open_networks(paths: Sequence[Path]) -> list[Network]:
    """The networks in *paths*; two with the same name are named by their paths.

    EdgeError for duplicates: their two lines would be indistinguishable.
    """
    networks: list[Network] = []
    for path in paths:
        networks.append(open_network(path))
        asked = [(network.path.resolve(), network.contract) for network in networks]
        if asked[-1] in asked[:-1]:
            raise EdgeError(f"{path}: same as {paths[asked.index(asked[-1])]}; give each once")
    names = [network.name for network in networks]
    return [
        replace(one, name=str(path)) if names.count(one.name) > 1 else one
        for one, path in zip(networks, paths, strict=True)
    ]


def _open(path: Path) -> Opened:
    try:
        path.open("rb").close()
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    match path.suffix:
        case ".keras":
            opened = _keras(path)
        case ".tflite":
            opened = _tflite(path)
        case ".onnx":
            opened = _onnx(path)
        case _:
            raise EdgeError(
                f"{path}: unknown format {path.suffix or 'without a suffix'}; "
                "expected a run's folder, .keras, .tflite, .onnx or .toml"
            )
    shape = opened.input.shape
    if len(shape) != 4 or 0 in shape[1:] or 1 not in (shape[1], shape[3]):
        raise EdgeError(f"{path}: input {shape}; expected (n, height, width, 1) or (n, 1, height, width)")
    return opened


def _channels_first(shape: tuple[int, ...]) -> bool:
    return shape[1] == 1 and shape[3] != 1


def _described(path: Path) -> Network:
    values = read_toml(path)
    for key in values.keys() - {"file", "name", "range", "labels"}:
        raise EdgeError(f"{path}: {key}: unknown key; expected file, name, range and labels")
    file, name, names = values.get("file"), values.get("name", path.stem), values.get("labels", list(LABELS))
    if not isinstance(file, str) or not isinstance(name, str):
        raise EdgeError(f"{path}: file: {file!r}, name: {name!r}; expected two strings")
    if not name.strip() or not name.isprintable() or "|" in name:  # the column separator of a report's tables
        raise EdgeError(f"{path}: name: {name!r}; expected one line without |")
    bounds = values.get("range", [0, 255])
    numbers = isinstance(bounds, list) and len(bounds) == 2 and all(type(b) in (int, float) for b in bounds)
    if not numbers:
        raise EdgeError(f"{path}: range: {bounds!r}; expected two different numbers, for black and white")
    texts = isinstance(names, list) and all(isinstance(one, str) for one in names)
    of_label = {label_of(one): column for column, one in enumerate(names)} if texts else {}
    missing = [label for index, label in enumerate(LABELS) if index not in of_label]
    if missing:
        raise EdgeError(f"{path}: labels: no {', '.join(missing)} in {names!r}")
    columns = tuple(of_label[index] for index in range(len(LABELS)))
    contract = Contract(float(bounds[0]), float(bounds[1]), columns=columns, outputs=len(names))
    named = model_file(path.parent / file)
    return Network(name, named, _open(named), contract)


# --- one function per format ---------------------------------------------------------------------------


def _one_of_each(path: Path, inputs: int, outputs: int) -> None:
    if (inputs, outputs) != (1, 1):
        raise EdgeError(
            f"{path}: {inputs} inputs, {outputs} outputs; expected one of each "
            "(for face detectors use emotion-train detector evaluate)"
        )


def _keras(path: Path) -> Opened:
    model = load(path)
    _one_of_each(path, len(model.inputs), len(model.outputs))
    shape = tuple(side or 0 for side in model.input_shape)

    def run(tensor: np.ndarray) -> np.ndarray:
        return model.predict(tensor, batch_size=256, verbose=0)

    return Opened(TensorSpec(shape, np.dtype(np.float32)), run, lambda: cost_of_keras(model))


def _tflite(path: Path) -> Opened:
    from edge.analysis.runtimes import KINDS, kind_of, open_runtime

    content = path.read_bytes()
    if (kind := kind_of(content)) != "cpu":
        raise EdgeError(f"{path}: {KINDS[kind]}; expected {KINDS['cpu']}")
    try:
        runtime = open_runtime("cpu", content)
    except EdgeError as error:
        raise EdgeError(f"{path}: {error}") from error
    _one_of_each(path, 1, len(runtime.outputs))

    def run(tensor: np.ndarray) -> np.ndarray:
        return dequantize(runtime.run(tensor)[0], runtime.outputs[0])

    return Opened(runtime.input, run, lambda: cost_of_file(".tflite", content))


# ONNX files do not define integer inputs; ours take pixel - 128 or the pixel itself.
_ONNX_INPUTS = {
    "tensor(float)": (np.float32, 0.0, 0),
    "tensor(int8)": (np.int8, 1.0, -128),
    "tensor(uint8)": (np.uint8, 1.0, 0),
}


def _onnx(path: Path) -> Opened:
    try:
        import onnxruntime
    except ImportError as error:
        raise EdgeError(f"{error}; run `pip install emotion-edge[onnx]`") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as exceptions anyway
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise EdgeError(f"{path}: not an ONNX model: {first_line(error)}") from error
    _one_of_each(path, len(session.get_inputs()), len(session.get_outputs()))
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    if taken.type not in _ONNX_INPUTS or given.type != "tensor(float)":
        raise EdgeError(
            f"{path}: input {taken.type}, output {given.type}; expected float, int8 or uint8 in and float out"
        )
    dtype, scale, zero_point = _ONNX_INPUTS[taken.type]
    shape = tuple(side if isinstance(side, int) else 0 for side in taken.shape)

    def run(tensor: np.ndarray) -> np.ndarray:
        return session.run(None, {taken.name: tensor})[0]

    spec = TensorSpec(shape, np.dtype(dtype), scale, zero_point)
    return Opened(spec, run, lambda: cost_of_file(".onnx", path.read_bytes()))
