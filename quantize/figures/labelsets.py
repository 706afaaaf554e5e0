"""What people say that pictures show: the data's own labels, and the majority of FER+'s ten voters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quantize.figures.scores import Indices

FERPLUS = "FER+ majority (plus7)"


class LabelSet(NamedTuple):
    """One answer to what the pictures show."""

    name: str  # for tables
    rows: npt.NDArray[np.bool_]  # (n,) pictures that have a label in it
    truth: Indices  # their labels


def label_sets(name: str, labels: Indices, majority: Indices) -> list[LabelSet]:
    """The data's own *labels* (n,), called *name*; then the *majority* (n,; -1: none), where there is one."""
    known = majority >= 0
    own = LabelSet(name, np.ones_like(known), labels)
    return [own, LabelSet(FERPLUS, known, majority[known])] if known.any() else [own]
