"""Reads a data set's files into one value: images, labels, split and FER+ votes, row by row.

Formats: ``fer2013.csv`` and ``icml_face_data.csv`` (FER+ votes joined by row), folder trees of pictures, and
this project's npz files. Nothing is dropped silently: every unusable row is reported on one line with its
place, and is an error unless skipping was requested. Blank pictures are reported and kept: FER2013 itself has
twelve, and published figures count them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.labels import FER2013, Order, label_of, wrong_names
from edge.types import EdgeError
from quantize.figures.votes import RULES, VOTE_OF_LABEL, VOTES, distributions, majority, targets
from training.data.archives import read_npz
from training.data.csvs import read_csv, with_votes
from training.data.dataset import SIZE, Dataset, Problems, blank, first, joined
from training.data.labels import USAGES, usage_of
from training.data.trees import read_tree

__all__ = [
    "RULES", "SIZE", "USAGES", "VOTES", "VOTE_OF_LABEL", "Dataset", "blank", "distributions", "first_seen",
    "label_of", "majority", "read", "recurring", "targets",
]  # fmt: skip


def read(
    paths: Sequence[Path],
    ferplus: Path | None = None,
    skip_bad: bool = False,
    order: Order | None = None,
    own: bool = False,
) -> Dataset:
    """The rows of all *paths* (csv, npz, or a folder), in order.

    *ferplus* is Microsoft's fer2013new.csv, joined by row to the only csv in *paths*. Unreadable rows raise
    EdgeError with one line each; with *skip_bad* the lines go to stderr and the rows are skipped and counted.
    Rows given twice raise EdgeError. *order* names the data's numeric labels; without it, those of csv and
    npz are FER2013's, and numbered folders raise EdgeError. With *own* the folder names (or an npz's array
    `label_names`) are the labels.
    """
    if own and (ferplus or order):
        given = "--ferplus" if ferplus else "--labels"
        raise EdgeError(f"{given}: only for FER2013's labels; do not combine it with --own-labels")
    if ferplus is not None and [path.suffix.lower() for path in paths] != [".csv"]:
        raise EdgeError(f"--ferplus {ferplus}: joined to a csv by row; expected one csv")
    problems = Problems()
    sources = [source for path in paths for source in _sources(path)]
    _refuse_repeated(sources)
    parts = [_read(source, problems, order, own) for source in sources]
    if own:
        parts = _renamed(parts)
    if ferplus is not None:
        parts[0] = with_votes(parts[0], ferplus, paths[0], problems)
    if len(problems.lines) == 1 and not skip_bad:
        raise EdgeError(f"{problems.lines[0]}; fix it, or skip it with --skip-bad")
    if problems.lines:
        shown, count = first(problems.lines), problems.left_out
        if not skip_bad:
            raise EdgeError("\n".join([*shown, f"{count}; fix them, or skip them with --skip-bad"]))
        print("\n".join([*shown, f"skipped: {count} (--skip-bad)"]), file=sys.stderr)
    merged = joined(parts)
    if not len(merged):
        raise EdgeError(f"{', '.join(map(str, paths))}: no usable row")
    return merged


def _renamed(parts: Sequence[Dataset]) -> list[Dataset]:
    """*parts* with the union of their label names; EdgeError if a name cannot be published."""
    names = tuple(sorted({name for part in parts for name in part.names}))
    if wrong := wrong_names(names):
        raise EdgeError(f"--own-labels: {wrong}")
    return [
        dataclasses.replace(part, names=names, labels=np.searchsorted(names, part.names)[part.labels])
        for part in parts
    ]


def recurring(images: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Mask (n,): pictures with the exact pixels of one in *among*."""
    known = {image.tobytes() for image in among}
    return np.fromiter((image.tobytes() in known for image in images), bool, len(images))


def first_seen(images: np.ndarray) -> np.ndarray:
    """Mask (n,): the first picture of each group with identical pixels."""
    seen: dict[bytes, int] = {}
    return np.fromiter((seen.setdefault(image.tobytes(), i) == i for i, image in enumerate(images)), bool)


def _sources(path: Path) -> list[Path]:
    """The npz archives in *path*, by split, or *path* itself."""
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        archives = [file for file in path.iterdir() if _suffix(file) == ".npz" and file.name[0] != "."]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise EdgeError(f"{path}: no such file or folder") from error
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from error
    return sorted(archives, key=_by_split) or [path]


def _by_split(file: Path) -> tuple[int, Path]:
    usage = usage_of(file.stem)
    return len(USAGES) if usage is None else usage, file


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _refuse_repeated(sources: Sequence[Path]) -> None:
    """EdgeError if rows would count twice: a file given twice, or a folder and another inside it."""
    known: dict[Path, Path] = {}
    for source in sources:
        real = source.resolve()
        for other, given in known.items():
            if _within(real, other) or _within(other, real):
                raise EdgeError(f"{source}: the same rows as in {given}; name each once")
        known[real] = source


def _within(path: Path, other: Path) -> bool:
    return path == other or (other in path.parents and os.path.isdir(path))


def _read(path: Path, problems: Problems, order: Order | None, own: bool) -> Dataset:
    if os.path.isdir(path):  # unlike Path.is_dir it does not raise without permission
        dataset, places, what = *read_tree(path, problems, order, own), "picture"
    elif _suffix(path) == ".npz":
        dataset, places, what = *read_npz(path, problems, order or FER2013, own), "row"
    elif _suffix(path) == ".csv" and own:
        raise EdgeError(f"{path}: a csv has no label names; expected folders or a run's npz for --own-labels")
    elif _suffix(path) == ".csv":
        dataset, places, what = *read_csv(path, problems, order or FER2013), "line"
    else:
        raise EdgeError(f"{path}: unknown format; expected a csv, npz or a folder")
    blanks = [places[row] for row in np.flatnonzero(blank(dataset.images))]
    if blanks:
        where = f"{what}{'' if len(blanks) == 1 else 's'} {', '.join(first(blanks))}"
        print(f"{path}: {where}: blank (a single gray value); kept, but not trained on", file=sys.stderr)
    return dataset
