"""What a network gets right: the same figures for .keras and .tflite files, on both label sets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge.quiet import quiet
from edge.types import LABELS, EdgeError
from training import data
from training.data import Dataset

BINS = 15  # of equal width, for the calibration error (Guo et al. 2017)


@dataclass(frozen=True)
class Figures:
    """One model's figures on one label set; shares are 0..1."""

    data: str  # data set and label set
    split: str
    n: int
    accuracy: float
    interval: tuple[float, float]  # 95 %, Wilson's
    balanced_accuracy: float  # mean of the recalls
    recall: dict[str, float | None]  # None where a label does not occur
    precision: dict[str, float | None]  # None where a label was never chosen
    calibration_error: float  # ECE: mean distance of confidence and accuracy over BINS
    confusion: list[list[int]]  # row: the truth, column: the model's choice, in LABELS' order


def evaluate(model: Path, dataset: Dataset, split: str) -> list[Figures]:
    """The figures of *model* on *split*: FER2013's labels, then the FER+ majority where there are votes."""
    if split not in data.USAGES:
        raise EdgeError(f"--split {split}: {', '.join(data.USAGES)} would do")
    rows = dataset.split(split)
    if not len(rows):
        raise EdgeError(f"no rows of {split} in the data")
    probabilities = probabilities_of(model)(rows.images)
    found = [figures(probabilities, rows.labels, "FER2013", split)]
    if rows.has_votes:
        truth = data.majority(rows.votes)
        found.append(figures(probabilities[truth >= 0], truth[truth >= 0], "FER+ majority (plus7)", split))
    return found


def figures(probabilities: np.ndarray, labels: np.ndarray, name: str, split: str) -> Figures:
    """The figures of *probabilities* (n, 7) against *labels* (n,)."""
    n, chosen = len(labels), probabilities.argmax(1)
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (labels, chosen), 1)
    right = confusion.diagonal()
    recall = _shares(right, confusion.sum(1))
    return Figures(
        data=name, split=split, n=n, accuracy=float(right.sum() / n), interval=wilson(int(right.sum()), n),
        balanced_accuracy=float(np.mean([share for share in recall.values() if share is not None])),
        recall=recall, precision=_shares(right, confusion.sum(0)),
        calibration_error=calibration_error(probabilities.max(1), chosen == labels),
        confusion=confusion.tolist(),
    )  # fmt: skip


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of the share *right* of *n* (Wilson 1927), which stays within 0..1."""
    z = 1.959964
    share, denominator = right / n, 1 + z * z / n
    center = (share + z * z / (2 * n)) / denominator
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / denominator
    return center - half, center + half


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over BINS of equal width, each weighted by its rows."""
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows = np.bincount(index, minlength=BINS)
    gap = np.abs(np.bincount(index, confidence, BINS) - np.bincount(index, right.astype(float), BINS))
    return float(gap[rows > 0].sum() / len(confidence))


def probabilities_of(model: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What *model* (.keras or .tflite) makes of images (n, 48, 48) uint8: probabilities (n, 7) float32."""
    if not model.exists():
        raise EdgeError(f"{model}: no such file")
    match model.suffix:
        case ".keras":
            return _keras(model)
        case ".tflite":
            return _tflite(model)
    raise EdgeError(f"{model}: cannot evaluate {model.suffix or 'this'}; .keras and .tflite would do")


def _keras(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    try:
        with quiet():
            import keras

            model = keras.models.load_model(path, compile=False)
    except Exception as error:  # keras raises whatever its archive reader does
        raise EdgeError(f"{path}: not a Keras model: {str(error).splitlines()[0]}") from error

    def run(images: np.ndarray) -> np.ndarray:
        return model.predict(images[..., None].astype(np.float32), batch_size=256, verbose=0)

    return run


def _tflite(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    from edge.classify import quantise
    from edge.runtimes import open_runtime

    runtime = open_runtime("cpu", path.read_bytes())

    def run(images: np.ndarray) -> np.ndarray:
        tensors = quantise(images[:, None, :, :, None], runtime.input)
        steps = np.concatenate([runtime.run(tensor) for tensor in tensors]).astype(np.float32)
        # A scale of 0 marks a tensor that is not quantized.
        return (steps - runtime.output.zero_point) * (runtime.output.scale or 1)

    return run


def table(found: list[Figures], model: str) -> str:
    """*found* as lines for a terminal."""
    lines = [model]
    for one in found:
        low, high = one.interval
        lines += [
            f"  {one.data}, {one.split}, n = {one.n}",
            f"    accuracy           {100 * one.accuracy:6.2f} % (95 %: {100 * low:.2f} to {100 * high:.2f})",
            f"    balanced accuracy  {100 * one.balanced_accuracy:6.2f} %",
            f"    calibration error  {one.calibration_error:6.3f}",
            f"    {'truth':>10}  recall  " + " ".join(f"{label[:8]:>8}" for label in LABELS),
        ]
        for label, row in zip(LABELS, one.confusion, strict=True):
            share = one.recall[label]
            shown = "     –" if share is None else f"{100 * share:5.1f}%"
            lines.append(f"    {label:>10}  {shown}  " + " ".join(f"{count:8d}" for count in row))
    return "\n".join(lines)


def save(found: list[Figures], model: Path, out: Path) -> None:
    """Write *found* as JSON to *out*."""
    try:
        out.write_text(json.dumps({"model": str(model), "figures": [asdict(one) for one in found]}, indent=1))
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}") from error


def _shares(parts: np.ndarray, wholes: np.ndarray) -> dict[str, float | None]:
    return {
        label: float(part / whole) if whole else None
        for label, part, whole in zip(LABELS, parts, wholes, strict=True)
    }
