"""Networks judged by who they never saw: figures, confusion matrices, a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.types import EdgeError
from training.micro.casme import Sample, labelled
from training.micro.recognize import INPUTS, STEPS, leave_one_out
from training.micro.scores import accuracy, uar, uf1

PROTOCOL = f"leave one subject out, {STEPS} batches each, nothing chosen on the one left out"


@dataclass(frozen=True, slots=True)
class Result:
    """One kind of input in one number of classes."""

    kind: str  # of INPUTS
    names: tuple[str, ...]
    subjects: int
    confusion: np.ndarray

    def values(self) -> dict[str, Any]:
        """For JSON."""
        found = {"uf1": uf1, "uar": uar, "accuracy": accuracy}
        figures = {name: round(function(self.confusion), 4) for name, function in found.items()}
        return {
            "input": self.kind, "classes": list(self.names), "subjects": self.subjects,
            "clips": int(self.confusion.sum()), **figures, "confusion": self.confusion.tolist(),
        }  # fmt: skip


def evaluate(
    keras: Any,
    samples: Sequence[Sample],
    inputs: Mapping[str, np.ndarray],
    *,
    classes: Sequence[int] = (3, 5),
    seed: int = 0,
    shuffled: bool = False,
) -> list[Result]:
    """Each of *inputs* (features()) in 3 and 5 *classes*; *shuffled*: with labels that mean nothing."""
    rows_of = {sample: row for row, sample in enumerate(samples)}
    results = []
    for count in classes:
        kept, labels, names = labelled(samples, count)
        if len(set(labels.tolist())) < 2:
            raise EdgeError(f"{count} classes: clips of one alone; expected two or more")
        if shuffled:
            labels = np.random.default_rng(seed).permutation(labels)
        rows = [rows_of[sample] for sample in kept]
        subjects = [sample.subject for sample in kept]
        for kind in INPUTS:
            confusion = leave_one_out(keras, inputs[kind][rows], labels, subjects, len(names), seed)
            results.append(Result(kind, names, len(set(subjects)), confusion))
    return results


def table(results: Sequence[Result]) -> str:
    """For people."""
    lines = [PROTOCOL, "input  classes  subjects  clips  UF1    UAR    accuracy"]
    for one in results:
        values = one.values()
        lines.append(
            f"{one.kind:<5}  {len(one.names):>7}  {one.subjects:>8}  {values['clips']:>5}  "
            f"{values['uf1']:.3f}  {values['uar']:.3f}  {values['accuracy']:.3f}"
        )
    return "\n".join(lines)


def write_report(results: Sequence[Result], odd: Sequence[str], out: Path) -> None:
    """figures.json, report.md and confusion.png in *out*; EdgeError where it cannot be written."""
    from quantize.figures.canvas import png

    shown = {"protocol": PROTOCOL, "odd": list(odd), "results": [one.values() for one in results]}
    page = [
        "# Recognition of brief movements", "", "    " + table(results).replace("\n", "\n    "), "",
        "`flow`: u, v and strain from onset to apex. `apex`: the apex's picture alone, as of FER2013.",
        "Of made clips these figures say that the code runs, and nothing else.", "",
        "![confusion](confusion.png)", "", *(f"* {line}" for line in odd),
    ]  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "figures.json").write_text(json.dumps(shown, indent=1) + "\n")
        (out / "report.md").write_text("\n".join(page).rstrip() + "\n")
        (out / "confusion.png").write_bytes(png(_drawn(results)))
    except OSError as error:
        raise EdgeError(
            f"{out}: {error.strerror or error}; --out needs a folder that can be written"
        ) from error


def _drawn(results: Sequence[Result]) -> Any:
    from quantize.figures.canvas import axes_of

    figure, axes = axes_of(1, len(results), (3.2 * len(results), 3.4))
    for axis, one in zip(axes[0], results, strict=True):
        shares = one.confusion / np.maximum(one.confusion.sum(1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axis.grid(visible=False)
        for (row, column), count in np.ndenumerate(one.confusion):
            axis.text(column, row, str(count), ha="center", va="center", fontsize=8)
        axis.set_xticks(range(len(one.names)), one.names, rotation=45, ha="right")
        axis.set_yticks(range(len(one.names)), one.names)
        axis.set_title(f"{one.kind}, {len(one.names)} classes, UF1 {uf1(one.confusion):.2f}")
    return figure
