"""Trees of label-named folders of pictures, the format of most face data sets."""

from __future__ import annotations

import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge.analysis.preprocess import crop_whole
from edge.host.quiet import quiet
from edge.labels import Order, is_number, label_of, numbered
from edge.sources.images import read_image
from edge.types import LABELS, EdgeError
from quantize.figures.votes import VOTES
from training.data.dataset import SIZE, Dataset, Problems, source_of, stacked
from training.data.labels import USAGES, usage_of


def read_tree(
    root: Path, problems: Problems, order: Order | None, own: bool = False
) -> tuple[Dataset, list[str]]:
    """Read SPLIT/LABEL/picture (at any depth above SPLIT), or LABEL/picture, which counts as Training.

    Also returns each row's picture, relative to *root*. EdgeError for numeric labels without *order*. With
    *own* the folder names are the labels, sorted.
    """
    images, labels, usages, rows = [], [], [], []
    before, bare = len(problems.lines), list[Path]()
    files = list(_files(root, problems, bare))
    if not files and len(problems.lines) == before:
        raise EdgeError(f"{root}: empty folder; expected train/<label>/*.png and validation/<label>/*.png")
    for folder in bare:
        problems.add(f"{folder}: empty folder", "folder")
    held, unknown = Counter(file.parent for file in files), set()
    names = _own_names(root, files) if own else LABELS
    with quiet(show_on_error=False):  # OpenCV's decoders report damage too, but not in which file
        for row, file in enumerate(files):
            folders = file.relative_to(root).parts[:-1]
            if own:
                label = names.index(folders[-1]) if folders and usage_of(folders[-1]) is None else None
            else:
                label = label_of(folders[-1], order) if folders else None
            if label is None:
                if folders and is_number(folders[-1]) and order is None and not own:
                    raise EdgeError(numbered(file.parent))
                if file.parent not in unknown:
                    unknown.add(file.parent)
                    other = f"{file.name} is not in a label's folder; pass a csv or npz itself"
                    reason = f"not one of the labels {', '.join(LABELS)}" if folders and not own else other
                    problems.add(f"{file.parent}: {reason}", "file", held[file.parent])
                continue
            image = _picture(file)
            if isinstance(image, str):
                problems.add(f"{file}: {image}", "file")
                continue
            known = (usage_of(folder) for folder in reversed(folders[:-1]))
            images.append(image)
            labels.append(label)
            usages.append(next((usage for usage in known if usage is not None), 0))
            rows.append(row)
    if 2 in usages and 1 not in usages:
        # Trees with two splits call the validation split "test"; it often contains PublicTest and
        # PrivateTest.
        print(f"{root}: test/ without validation/: its pictures count as {USAGES[1]}", file=sys.stderr)
        usages = [min(usage, 1) for usage in usages]
    votes = np.zeros((len(rows), len(VOTES)), np.uint8)
    arrays = np.array(labels, np.int64), np.array(usages, np.uint8), votes, np.array(rows, np.int64)
    places = [str(files[row].relative_to(root)) for row in rows]
    return Dataset(stacked(images), *arrays, source_of(root), names), places


def _own_names(root: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """The names of the folders of *files* in *root*, without splits."""
    parents = {file.relative_to(root).parts[-2] for file in files if len(file.relative_to(root).parts) > 1}
    return tuple(sorted(name for name in parents if usage_of(name) is None))


def _files(
    folder: Path, problems: Problems, bare: list[Path], above: tuple[Path, ...] = ()
) -> Iterator[Path]:
    """The files below *folder*, sorted, following links; empty folders are added to *bare*."""
    here = folder.resolve()
    if here in above:  # a link back up: those files are found in their own place
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        problems.add(f"{folder}: {error.strerror or error}", "folder")
        return
    if not entries:
        bare.append(folder)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            dead = entry.is_symlink() and isinstance(error, FileNotFoundError)
            problems.add(f"{entry}: {'a broken link' if dead else error.strerror or error}", "file")
            continue
        if stat.S_ISDIR(mode):
            yield from _files(entry, problems, bare, (*above, here))
        elif stat.S_ISREG(mode):
            yield entry
        else:
            problems.add(f"{entry}: neither a file nor a folder", "file")


def _picture(file: Path) -> np.ndarray | str:
    """The picture in *file*, (48, 48) uint8, or why it cannot be read."""
    try:
        image = read_image(file)
    except EdgeError as error:
        return str(error).removeprefix(f"{file}: ")
    return crop_whole(image, SIZE, SIZE)
