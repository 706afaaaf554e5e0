"""Leave-one-subject-out evaluation: figures, confusion matrices, a report."""

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

PROTOCOL = f"leave-one-subject-out, {STEPS} batches each, no selection on the held-out subject"


@dataclass(frozen=True, slots=True)
class Result:
    """One kind of input with one number of classes."""

    kind: str  # of INPUTS
    names: tuple[str, ...]
    subjects: int
    confusion: np.ndarray
    losses: np.ndarray  # (subjects, STEPS), of those trained without each

    @property
    def title(self) -> str:
        return f"{self.kind}, {len(self.names)} classes"

    def values(self) -> dict[str, Any]:
        """Values for JSON."""
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
    """Evaluate each of *inputs* (features()) with 3 and 5 *classes*; *shuffled*: with permuted labels."""
    rows_of = {sample: row for row, sample in enumerate(samples)}
    results = []
    for count in classes:
        kept, labels, names = labelled(samples, count)
        if len(set(labels.tolist())) < 2:
            raise EdgeError(f"{count} classes: all clips are of one class; expected two or more")
        if shuffled:
            labels = np.random.default_rng(seed).permutation(labels)
        rows = [rows_of[sample] for sample in kept]
        subjects = [sample.subject for sample in kept]
        for kind in INPUTS:
            confusion, losses = leave_one_out(keras, inputs[kind][rows], labels, subjects, len(names), seed)
            results.append(Result(kind, names, len(set(subjects)), confusion, losses))
    return results


def table(results: Sequence[Result]) -> str:
    """A table for the terminal."""
    lines = [PROTOCOL, "input  classes  subjects  clips  UF1    UAR    accuracy"]
    for one in results:
        values = one.values()
        lines.append(
            f"{one.kind:<5}  {len(one.names):>7}  {one.subjects:>8}  {values['clips']:>5}  "
            f"{values['uf1']:.3f}  {values['uar']:.3f}  {values['accuracy']:.3f}"
        )
    return "\n".join(lines)


def write_report(results: Sequence[Result], odd: Sequence[str], out: Path) -> None:
    """Write figures.json, report.md and the plots to *out*; EdgeError on failure."""
    from training.micro import plots

    shown = {"protocol": PROTOCOL, "odd": list(odd), "results": [one.values() for one in results]}
    page = [
        "# Recognition of brief movements", "", "    " + table(results).replace("\n", "\n    "), "",
        "`flow`: u, v and strain from onset to apex. `apex`: the apex frame alone, framed as in FER2013.",
        "On synthetic clips these figures only show that the code runs.", "",
        "![confusion](confusion.png)", "", "Loss by batch, each held-out subject (pale) and mean:", "",
        "![loss](loss.png)", "", *(f"* {line}" for line in odd),
    ]  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "figures.json").write_text(json.dumps(shown, indent=1) + "\n")
        (out / "report.md").write_text("\n".join(page).rstrip() + "\n")
        confusions = [
            (f"{one.title}, UF1 {uf1(one.confusion):.2f}", one.names, one.confusion) for one in results
        ]
        (out / "confusion.png").write_bytes(plots.confusions(confusions))
        (out / "loss.png").write_bytes(plots.losses({one.title: one.losses for one in results}))
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror or error}; expected a writable folder for --out") from error
