"""Compares networks on the same rows: figures, cost, and significance of the differences."""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize.figures.cost import Cost
from quantize.figures.scores import p_text
from training.data import Dataset
from training.measure.evaluate import check_labels, chosen_split, label_sets
from training.measure.figures import Figures, Pair, figures, pair
from training.measure.history import read_history
from training.measure.model_files import Network
from training.runs import RECORD, read_record


@dataclass(frozen=True)
class Row:
    """One network in the table."""

    name: str
    model: str  # its file
    cost: Cost
    size: int  # bytes
    epochs: tuple[int, int] | None  # done, and the recipe's maximum; None outside a run
    figures: list[Figures]  # one per label set


@dataclass(frozen=True)
class Seeds:
    """Runs that differ only in their seed."""

    network: str
    runs: list[str]
    data: str
    mean: float  # accuracy
    deviation: float  # standard deviation, n - 1


@dataclass(frozen=True)
class Comparison:
    """The result of `emotion-train compare`; *pairs* and *seeds* are ordered by label set."""

    split: str
    rows: list[Row]
    seeds: list[Seeds]
    pairs: list[Pair]


def compare(networks: Sequence[Network], dataset: Dataset, split: str) -> Comparison:
    """The figures of *networks* on the rows of *split*; each network runs once."""
    rows = chosen_split(dataset, split)
    sets = label_sets(rows)
    found, choices = [], []
    for network in networks:
        check_labels(network, dataset)
        probabilities = network.probabilities(rows.images)
        choices.append((network.name, probabilities.argmax(1)))
        measured = [
            figures(probabilities[part.rows], part.truth, part.name, split, part.labels) for part in sets
        ]
        found.append(
            Row(
                network.name, str(network.path), network.opened.cost(), network.bytes,
                _epochs(network.run), measured,
            )
        )  # fmt: skip
    pairs = [
        pair((first, a[part.rows]), (second, b[part.rows]), part.truth, part.name)
        for part in sets
        for (first, a), (second, b) in itertools.combinations(choices, 2)
    ]
    return Comparison(split, found, _seeds(networks, found), pairs)


def _seeds(networks: Sequence[Network], rows: Sequence[Row]) -> list[Seeds]:
    """Mean and standard deviation over runs of one network and recipe that differ only in their seed."""
    groups: dict[str, list[tuple[list[int], Row]]] = {}
    for network, row in zip(networks, rows, strict=True):
        if network.run is None:
            continue
        seeds, asked = _without_seeds(read_record(network.run / RECORD))
        # A .keras and a .tflite of one run are not two seeds: the format is part of the group.
        key = json.dumps([asked, network.path.name], sort_keys=True)
        groups.setdefault(key, []).append((seeds, row))
    found = []
    for key, members in groups.items():
        if len({str(seeds) for seeds, _ in members}) < 2:
            continue
        names, (asked, _) = [row.name for _, row in members], json.loads(key)
        for measured in zip(*(row.figures for _, row in members), strict=True):
            shares = [one.accuracy for one in measured]
            mean, deviation = statistics.mean(shares), statistics.stdev(shares)
            found.append(Seeds(asked["network"], names, measured[0].data, mean, deviation))
    return found


def _epochs(run: Path | None) -> tuple[int, int] | None:
    """Epochs that *run* has done, and its recipe's maximum."""
    if run is None or not (run / "history.csv").exists():
        return None
    most = read_record(run / RECORD).get("recipe", {}).get("epochs", 0)
    return len(read_history(run)["epoch"]), int(most)


def _without_seeds(value: Any) -> tuple[list[int], Any]:
    """All seeds in *value*, and *value* without them."""
    if isinstance(value, list):
        parts = [_without_seeds(one) for one in value]
        return [seed for seeds, _ in parts for seed in seeds], [rest for _, rest in parts]
    if isinstance(value, dict):
        seeds = [value["seed"]] if "seed" in value else []
        rest = {}
        for key in sorted(value.keys() - {"seed"}):
            more, rest[key] = _without_seeds(value[key])
            seeds += more
        return seeds, rest
    return [], value


def table(found: Comparison) -> str:
    """*found* as lines for a terminal: accuracy and calibration error on each label set, then cost."""
    width = max(len(row.name) for row in found.rows)
    heads = "".join(f"  {one.data:^28}" for one in found.rows[0].figures)
    under = "".join(f"  {'% (95 %)':>20}     ECE" for _ in found.rows[0].figures)
    lines = [f"{'':<{width}}{heads}", f"{found.split:<{width}}{under}  parameters     MACs     file"]
    for row in found.rows:
        shown = "".join(f"  {interval_text(one):>20}  {one.calibration_error:>6.3f}" for one in row.figures)
        cost = f"  {count(row.cost.parameters):>10} {count(row.cost.macs):>8} {row.size / 1000:>5.0f} kB"
        lines.append(f"{row.name:<{width}}{shown}{cost}")
    if found.seeds:
        lines += ["", "mean and standard deviation over seeds"]
    for seeds in found.seeds:
        mean, deviation = 100 * seeds.mean, 100 * seeds.deviation
        runs = ", ".join(seeds.runs)
        lines.append(f"  {seeds.network}, {seeds.data}: {mean:.2f} ± {deviation:.2f} % ({runs})")
    if found.pairs:
        lines += ["", "rows only one of two has right (McNemar, mid-p): the best against each other"]
    for number, figure in enumerate(found.rows[0].figures):
        best = max(found.rows, key=lambda row: row.figures[number].accuracy).name
        for one in found.pairs:
            if one.data == figure.data and best in (one.first, one.second):
                counts = f"{one.first} {one.only_first}, {one.second} {one.only_second}"
                lines.append(f"  {one.data}: {counts}, p {p_text(one.p)}")
    return "\n".join(lines)


def interval_text(one: Figures) -> str:
    """Accuracy and its interval in percent: "60.27 (58.66–61.86)"."""
    low, high = one.interval
    return f"{100 * one.accuracy:.2f} ({100 * low:.2f}–{100 * high:.2f})"


def count(value: int | None) -> str:
    """A large number in three digits: 747 k, 31.2 M; a dash if unknown."""
    if value is None:
        return "–"
    power = min(int(math.log10(max(value, 1)) // 3), 3)
    return f"{value / 1000**power:.3g}{('', ' k', ' M', ' G')[power]}"
