"""The rows of a data set as one value, and a record of those that could not be read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from edge.types import LABELS
from training.data.labels import USAGES

SIZE = 48  # pixels
FER2013 = "FER2013"
_SHOWN = 20  # problems, or places of one problem, shown before "and N more"


@dataclass(frozen=True)
class Dataset:
    """Rows of one or several data sets; all arrays are n long."""

    images: np.ndarray  # (n, 48, 48) uint8 luma
    labels: np.ndarray  # (n,) int64, index into names
    usage: np.ndarray  # (n,) uint8, index into USAGES
    votes: np.ndarray  # (n, 10) uint8 in VOTES' order; all zero without FER+ votes
    rows: np.ndarray  # (n,) int64, row in the file or folder it came from
    source: np.ndarray | str = FER2013  # (n,) str, name of the label set in tables; or one for all
    names: tuple[str, ...] = LABELS  # label names: the seven, or the data's own (--own-labels)

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", np.broadcast_to(self.source, len(self)))

    def __len__(self) -> int:
        return len(self.images)

    def take(self, keep: np.ndarray) -> Dataset:
        """The rows selected by *keep* (mask or indices), in its order."""
        return replace(self, **{name: getattr(self, name)[keep] for name in ARRAYS})

    def split(self, usage: str) -> Dataset:
        """The rows of one of USAGES."""
        return self.take(self.usage == USAGES.index(usage))

    @property
    def seven(self) -> bool:
        """Whether the labels are LABELS, the ones FER+ has votes for."""
        return self.names == LABELS

    @property
    def has_votes(self) -> bool:
        return bool(self.votes.any())


ARRAYS = tuple(field.name for field in fields(Dataset) if field.name != "names")  # per row


class Problems:
    """Unusable parts of the data: a line each, and counts of what is skipped because of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._left_out: Counter[str] = Counter()

    def add(self, line: str, what: str, count: int = 1) -> None:
        """Record *line* (place: what was found), which skips *count* of *what*."""
        self.lines.append(line)
        self._left_out[what] += count

    @property
    def left_out(self) -> str:
        """Counts as text: "5 files, 1 folder"."""
        return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in self._left_out.items())


def joined(parts: Sequence[Dataset]) -> Dataset:
    """The rows of all *parts* in order; they must have the same label names."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
    return Dataset(**arrays, names=parts[0].names)


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """*images* (48, 48) as one array (n, 48, 48), n may be 0."""
    return np.stack(images) if len(images) else np.zeros((0, SIZE, SIZE), np.uint8)


def blank(images: np.ndarray) -> np.ndarray:
    """Mask (n,): blank pictures, with a single gray value."""
    return np.asarray(images.min((1, 2)) == images.max((1, 2)))


def source_of(path: Path) -> str:
    """Name in tables of the labels in *path*: "FER2013" for its files, else the file's own name."""
    own = Path(os.path.abspath(path))
    name = own.name if os.path.isdir(path) else own.stem
    return FER2013 if name.lower().startswith(("fer2013", "icml_face_data")) else name


def first(lines: list[str]) -> list[str]:
    """*lines*, or the first of many and a count of the rest."""
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN} more"]


def brief(text: str, most: int = 60) -> str:
    """*text* made printable and shortened for use in a message."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= most else f"{text[:most]}…"
