"""Label sets of pictures: the data's own labels, and the majority of FER+'s ten annotators."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.labels import wrong_names
from edge.types import LABELS, EdgeError
from quantize.figures.scores import Indices

FERPLUS = "FER+ majority (plus7)"
OWN_NAMES = "label_names"  # the npz array with the names of own labels


class LabelSet(NamedTuple):
    """One set of true labels."""

    name: str  # for tables
    rows: npt.NDArray[np.bool_]  # (n,) pictures with a label in this set
    truth: Indices  # their labels, indices into labels
    labels: tuple[str, ...] = LABELS


def label_sets(
    name: str, truth: Indices, majority: Indices, labels: tuple[str, ...] = LABELS
) -> list[LabelSet]:
    """The data's own *truth* (n,), indices into *labels*, as *name*; then FER+'s *majority* (n,; -1: none).

    The latter only if there are votes.
    """
    known = majority >= 0
    own = LabelSet(name, np.ones_like(known), truth, labels)
    return [own, LabelSet(FERPLUS, known, majority[known])] if known.any() else [own]


def own_names(path: Path, names: npt.NDArray[np.generic] | None) -> tuple[str, ...] | None:
    """The labels in *names*, the array OWN_NAMES of the npz at *path*, checked; None without one."""
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1:
        raise EdgeError(f"{path}: {OWN_NAMES} {names.dtype} {names.shape}; expected a row of strings")
    found = tuple(map(str, names.tolist()))
    if wrong := wrong_names(found):
        raise EdgeError(f"{path}: {OWN_NAMES}: {wrong}")
    return found
