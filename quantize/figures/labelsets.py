"""What people say that pictures show: the data's own labels, and the majority of FER+'s ten voters."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edge.labels import wrong_names
from edge.types import LABELS, EdgeError
from quantize.figures.scores import Indices

FERPLUS = "FER+ majority (plus7)"
OWN_NAMES = "label_names"  # the array of an npz that names labels of its own


class LabelSet(NamedTuple):
    """One answer to what the pictures show."""

    name: str  # for tables
    rows: npt.NDArray[np.bool_]  # (n,) pictures that have a label in it
    truth: Indices  # their labels, indices into labels
    labels: tuple[str, ...] = LABELS


def label_sets(
    name: str, truth: Indices, majority: Indices, labels: tuple[str, ...] = LABELS
) -> list[LabelSet]:
    """The data's own *truth* (n,) about *labels*, called *name*; then FER+'s *majority* (n,; -1: none).

    The latter only where somebody voted.
    """
    known = majority >= 0
    own = LabelSet(name, np.ones_like(known), truth, labels)
    return [own, LabelSet(FERPLUS, known, majority[known])] if known.any() else [own]


def own_names(path: Path, names: npt.NDArray[np.generic] | None) -> tuple[str, ...] | None:
    """The labels in *names*, the array OWN_NAMES of the npz at *path*, checked; None where it has none."""
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1:
        raise EdgeError(f"{path}: {OWN_NAMES} {names.dtype} {names.shape}; expected a row of texts")
    found = tuple(map(str, names.tolist()))
    if wrong := wrong_names(found):
        raise EdgeError(f"{path}: {OWN_NAMES}: {wrong}")
    return found
