"""Reports as folders: ``report.md``, ``figures.json``, small PNGs, and the runs' recipes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from edge.types import EdgeError
from quantize.figures.scores import p_text
from training.measure import plots
from training.measure.compare import Comparison, count, interval_text
from training.measure.evaluate import Evaluation, save, save_json, share_text
from training.measure.figures import Figures, Pair
from training.measure.history import histories
from training.measure.model_files import RECORD
from training.measure.robustness import mean_of, rows_of


def write_evaluations(found: Sequence[Evaluation], out: Path) -> None:
    """Write the report of *found* to the folder *out*."""
    _folder(out)
    save(found, out / "figures.json")  # first: it needs no matplotlib
    lines = [f"# {', '.join(one.name for one in found)} on {found[0].split}", ""]
    for one in found:
        stem = _stem(one.name)
        plots.confusion(one.figures, out / f"{stem}-confusion.png")
        plots.reliability(one.figures, out / f"{stem}-reliability.png")
        lines += [*_evaluation(one, stem, heading=len(found) > 1)]
        lines += _curves([one.model], out / f"{stem}-curves.png")
        named = _with_recipe(one.name, one.model, out)
        lines += [f"Training record: {named}.", ""] if named != one.name else []
    lines += _robustness(found)
    lines += [_HOW, ""]
    _write(out / "report.md", lines)


def write_comparison(found: Comparison, out: Path) -> None:
    """Write the report of *found* to the folder *out*."""
    _folder(out)
    save_json(asdict(found), out / "figures.json")  # first: it needs no matplotlib
    plots.comparison(found.rows, found.split, out / "comparison.png")
    names = [one.data for one in found.rows[0].figures]
    heads = " | ".join(f"{name}, % (95 %) | ECE" for name in names)
    lines = [
        f"# {len(found.rows)} networks on {found.split}", "",
        "![Accuracy of each network](comparison.png)", "",
        f"| network | {heads} | parameters | MACs | file | epochs |",
        "|---|" + "---|---|" * len(names) + "---|---|---|---|",
    ]  # fmt: skip
    for row in sorted(found.rows, key=lambda row: -row.figures[-1].accuracy):
        shown = " | ".join(f"{interval_text(one)} | {one.calibration_error:.3f}" for one in row.figures)
        cost = f"{count(row.cost.parameters)} | {count(row.cost.macs)} | {row.size / 1000:,.0f} kB"
        epochs = f"{row.epochs[0]} of {row.epochs[1]}" if row.epochs else "–"
        lines.append(f"| {_with_recipe(row.name, row.model, out)} | {shown} | {cost} | {epochs} |")
    rows = ", ".join(f"{one.data} n = {one.n:,}" for one in found.rows[0].figures)
    lines += [
        "", f"{rows}. One crop per picture. ECE: calibration error over 15 bins. Epochs: done and maximum of "
        "the run's last training stage; early stopping may end it sooner.", "",
    ]  # fmt: skip
    if found.seeds:
        lines += ["| network | labels | mean ± sd, % | runs |", "|---|---|---|---|"]
        lines += [
            f"| {one.network} | {one.data} | {100 * one.mean:.2f} ± {100 * one.deviation:.2f} "
            f"| {', '.join(one.runs)} |"
            for one in found.seeds
        ]
        lines.append("")
    if found.pairs:
        lines += [
            "Rows that only one of two networks classifies correctly, with the p-value of that split "
            "(McNemar's test, two-sided, mid-p). 9 : 4 reads: 9 rows the network of this line, 4 that of the "
            "column.", "",
        ]  # fmt: skip
        for name in names:
            lines += _pairs(name, [row.name for row in found.rows], found.pairs)
    lines += _curves([row.model for row in found.rows], out / "curves.png")
    _write(out / "report.md", lines)


def _curves(models: Sequence[str], out: Path) -> list[str]:
    """Draw the curves of the *models* that are in a run to *out*; returns the lines that show them."""
    folders = {Path(model).parent: None for model in models if Path(model).with_name("history.csv").exists()}
    if not folders:
        return []
    plots.curves(histories(list(folders)), out)
    return [f"![Loss and accuracy by epoch]({out.name})", ""]


def _with_recipe(name: str, model: str, out: Path) -> str:
    """*name*, as a link to a copy of its run's record if *model* is in a run."""
    record = Path(model).with_name(RECORD)
    if not record.exists():
        return name
    copy = out / "recipes" / f"{_stem(name)}.json"
    try:
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(record.read_bytes())
    except OSError as error:
        raise EdgeError(f"{copy}: {error.strerror}") from error
    return f"[{name}](recipes/{copy.name})"


def _pairs(data: str, networks: Sequence[str], pairs: Sequence[Pair]) -> Iterator[str]:
    """The upper half of the table of all pairs of networks."""
    cells = {
        (one.first, one.second): f"{one.only_first} : {one.only_second}, p {p_text(one.p)}"
        for one in pairs
        if one.data == data
    }
    yield f"| {data} | " + " | ".join(networks[1:]) + " |"
    yield "|---|" + "---|" * (len(networks) - 1)
    for first in networks[:-1]:
        yield f"| {first} | " + " | ".join(cells.get((first, other), "") for other in networks[1:]) + " |"
    yield ""


_HOW = (
    "Balanced: mean recall of the labels. Calibration error (ECE): mean distance of confidence and accuracy "
    "over 15 bins. Not in Training: without the rows whose exact pixels also occur in Training. Mean with "
    "mirror: probabilities averaged over a picture and its mirror image; the other figures are of one crop."
)


def _evaluation(one: Evaluation, stem: str, heading: bool) -> Iterator[str]:
    if heading:
        yield from (f"## {one.name}", "")
    yield "| labels | rows | n | accuracy, % (95 %) | balanced | ECE |"
    yield "|---|---|---|---|---|---|"
    for what, group in (
        ("all", one.figures),
        ("not in Training", one.without_leaked_rows),
        ("all, mean with mirror", one.mirrored),
    ):
        for part in group:
            yield (
                f"| {part.data} | {what} | {part.n:,} | {interval_text(part)} "
                f"| {100 * part.balanced_accuracy:.2f} | {part.calibration_error:.3f} |"
            )
    yield ""
    for part in one.figures:
        yield from _labels(part)
    yield from (f"![Confusion matrices]({stem}-confusion.png)", "")
    yield from (f"![Reliability diagrams]({stem}-reliability.png)", "")


def _labels(part: Figures) -> Iterator[str]:
    yield f"| {part.data} | " + " | ".join(part.labels) + " |"
    yield "|---|" + "---|" * len(part.labels)
    yield "| rows | " + " | ".join(str(sum(row)) for row in part.confusion) + " |"
    for name, shares in (("recall", part.recall), ("precision", part.precision), ("F1", part.f1)):
        yield f"| {name} | " + " | ".join(share_text(shares[label]) for label in part.labels) + " |"
    yield ""


def _robustness(found: Sequence[Evaluation]) -> list[str]:
    """One table of the accuracy on corrupted pictures, of all networks evaluated on them."""
    asked = [one for one in found if one.robustness]
    if not asked:
        return []
    tables = [rows_of(one.figures, one.robustness) for one in asked]
    lines = [
        f"Pictures corrupted as by poor cameras ({tables[0][0][1].data}, accuracy, %):", "",
        "| pictures | " + " | ".join(one.name for one in asked) + " |", "|---|" + "---|" * len(asked),
    ]  # fmt: skip
    for cells in zip(*tables, strict=True):
        shown = " | ".join(f"{100 * figures.accuracy:.2f}" for _, figures in cells)
        lines.append(f"| {cells[0][0]} | {shown} |")
    means = " | ".join(f"{100 * mean_of(one.robustness):.2f}" for one in asked)
    return [*lines, f"| mean without clean | {means} |", ""]


def _stem(name: str) -> str:
    """*name* as a prefix for file names."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "model"


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; expected a writable folder for --out") from error


def _write(path: Path, lines: Sequence[str]) -> None:
    try:
        path.write_text("\n".join(lines), encoding="utf-8")
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
