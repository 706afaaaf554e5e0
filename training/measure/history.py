"""The columns of runs' history.csv."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from edge.types import EdgeError

History = Mapping[str, Sequence[float]]  # column -> one value per epoch


def read_history(run: Path) -> History:
    """The columns of *run*'s history.csv; *run* is its folder or its model. EdgeError in one line."""
    path = _folder(run) / "history.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = list(csv.reader(file)) or [[]]
        columns = {name: [float(line[i]) for line in lines] for i, name in enumerate(header)}
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}; expected a run's folder") from error
    except (ValueError, IndexError, csv.Error) as error:
        raise EdgeError(f"{path}: not the history of a run: {error}") from error
    if not lines or not {"epoch", "loss"} <= columns.keys():
        of = ", ".join(header) or "no columns"
        raise EdgeError(f"{path}: {len(lines)} epochs of {of}; expected epoch and loss")
    return columns


def histories(runs: Sequence[Path]) -> dict[str, History]:
    """The histories of *runs* by the names of their folders, or full paths if two share a name."""
    found = {str(_folder(run)): read_history(run) for run in runs}
    return {_short(name, found): history for name, history in found.items()}


def _folder(run: Path) -> Path:
    """The folder of *run*: itself, or its model's folder. A missing path counts as a folder."""
    return run.parent if os.path.isfile(run) else run


def _short(name: str, among: Mapping[str, History]) -> str:
    last = Path(name).name
    return last if sum(Path(other).name == last for other in among) == 1 else name
