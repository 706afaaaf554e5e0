"""Evaluates networks: the same figures for .keras, .tflite and .onnx files, on both label sets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.types import EdgeError
from quantize.figures import labelsets
from quantize.figures.labelsets import LabelSet
from training import data
from training.data import Dataset
from training.measure.figures import Figures, figures
from training.measure.model_files import Network
from training.measure.robustness import Robust, mean_of, robustness, rows_of


@dataclass(frozen=True)
class Evaluation:
    """One network's figures: the data's own labels first, then the FER+ majority if there is one."""

    model: str  # as given on the command line
    name: str  # for tables
    split: str
    figures: list[Figures]  # every row, one crop per picture: the figures to quote
    # Without rows whose pixels also occur in Training; empty if no such row is known.
    without_leaked_rows: list[Figures]
    mirrored: list[Figures]  # every row, mean with the mirror image; empty unless requested
    training_rows: int  # in the data, needed to detect leaks
    robustness: list[Robust] = field(default_factory=list)  # every row, corrupted; empty unless requested


def chosen_split(dataset: Dataset, split: str) -> Dataset:
    """The rows of *split*; EdgeError if there are none, or no such split."""
    if split not in data.USAGES:
        raise EdgeError(f"--split {split}: expected {', '.join(data.USAGES)}")
    rows = dataset.split(split)
    if not len(rows):
        there = [usage for usage in data.USAGES if len(dataset.split(usage))]
        raise EdgeError(f"no rows of {split} in the data; use --split {' or '.join(there)}")
    return rows


def check_labels(network: Network, dataset: Dataset) -> None:
    """EdgeError if the labels of *network* and *dataset* differ."""
    if network.labels != dataset.names:
        raise EdgeError(
            f"{network.path}: its labels are {', '.join(network.labels)}, the data's "
            f"{', '.join(dataset.names)}; expected the same (--own-labels uses the data's)"
        )


def label_sets(rows: Dataset) -> list[LabelSet]:
    """The labels of *rows*, named by their source; then the FER+ majority if there is one."""
    name = " + ".join(dict.fromkeys(rows.source.tolist()))
    return labelsets.label_sets(name, rows.labels, data.majority(rows.votes), rows.names)


def leaked(dataset: Dataset, split: str) -> np.ndarray:
    """Mask over the rows of *split*: rows whose exact pixels also occur in Training."""
    rows = dataset.split(split)
    if split == "Training":
        return np.zeros(len(rows), bool)
    return data.recurring(rows.images, dataset.split("Training").images)


def evaluate(
    network: Network, dataset: Dataset, split: str, mirror: bool = False, robust: bool = False
) -> Evaluation:
    """The figures of *network* on *split*; with *mirror* also for the mean with the mirror image.

    With *robust* also on corrupted pictures, as from poor cameras.
    """
    rows = chosen_split(dataset, split)
    check_labels(network, dataset)
    probabilities = network.probabilities(rows.images)
    leaks, mirrored = leaked(dataset, split), []
    if mirror:
        mean = (probabilities + network.probabilities(rows.images[:, :, ::-1])) / 2
        mirrored = list(_judge(mean, label_sets(rows), split))
    apart = list(_judge(probabilities, label_sets(rows), split, ~leaks)) if leaks.any() else []
    found = list(_judge(probabilities, label_sets(rows), split))
    training = len(dataset.split("Training"))
    poor = robustness(network.probabilities, rows.images, label_sets(rows), split) if robust else []
    return Evaluation(str(network.path), network.name, split, found, apart, mirrored, training, poor)


def _judge(
    probabilities: np.ndarray, sets: Sequence[LabelSet], split: str, keep: np.ndarray | None = None
) -> Iterator[Figures]:
    for part in sets:
        kept = slice(None) if keep is None else keep[part.rows]
        if len(truth := part.truth[kept]):
            yield figures(probabilities[part.rows][kept], truth, part.name, split, part.labels)


def table(found: Evaluation) -> str:
    """*found* as lines for a terminal."""
    lines = [found.model]
    for one in found.figures:
        heads = " ".join(f"{label[:8]:>8}" for label in one.labels)
        lines += [
            f"  {one.data}, {one.split}, n = {one.n}",
            f"    accuracy           {accuracy_text(one)}",
            *_beside("not in Training", one, found.without_leaked_rows),
            *_beside("mean with mirror", one, found.mirrored),
            f"    balanced accuracy  {100 * one.balanced_accuracy:6.2f} %",
            f"    calibration error  {one.calibration_error:6.3f}",
            f"    {'truth':>10}  recall precis.      f1 " + heads,
        ]
        for label, row in zip(one.labels, one.confusion, strict=True):
            shares = (share_text(of[label]) for of in (one.recall, one.precision, one.f1))
            shown = " ".join(f"{share:>7}" for share in shares)
            lines.append(f"    {label[:10]:>10} {shown} " + " ".join(f"{count:8d}" for count in row))
    if not found.without_leaked_rows and found.split != "Training":
        unknown = "rows that also occur in Training: unknown (add the Training rows to --data)"
        lines.append(
            "  " + ("no row's exact pixels also occur in Training" if found.training_rows else unknown)
        )
    return "\n".join([*lines, *_robustness(found)])


def _robustness(found: Evaluation) -> list[str]:
    if not found.robustness:
        return []
    rows = rows_of(found.figures, found.robustness)
    shown = [f"    {what:<28} {accuracy_text(one)}" for what, one in rows]
    mean = f"    {'mean without clean':<28} {100 * mean_of(found.robustness):6.2f} %"
    return [f"  corrupted as by poor cameras, {rows[0][1].data}", *shown, mean]


def accuracy_text(one: Figures) -> str:
    """Accuracy with its interval: "60.27 % (95 %: 58.66 to 61.86)"."""
    low, high = one.interval
    return f"{100 * one.accuracy:6.2f} % (95 %: {100 * low:.2f} to {100 * high:.2f})"


def share_text(share: float | None) -> str:
    """A fraction in percent, a dash if None."""
    return "–" if share is None else f"{100 * share:.1f}%"


def save(found: Sequence[Evaluation], out: Path) -> None:
    """Write *found* as JSON to *out*: one network's object, or several under ``models``."""
    objects = [asdict(one) for one in found]
    save_json(objects[0] if len(objects) == 1 else {"models": objects}, out)


def save_json(value: Any, out: Path) -> None:
    """Write *value* to *out*; EdgeError on failure."""
    try:
        out.write_text(json.dumps(value, indent=1) + "\n")
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}") from error


def _beside(what: str, one: Figures, among: Sequence[Figures]) -> list[str]:
    return [f"      {what:<16} {accuracy_text(a)}, n = {a.n}" for a in among if a.data == one.data]
