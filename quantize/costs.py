"""Cost of each file compared with the float network: accuracy, calibration, most affected label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from edge.types import LABELS, EdgeError, Floats
from quantize.data import Data
from quantize.figures import labelsets, scores
from quantize.figures.labelsets import FERPLUS, LabelSet

FER2013, OWN = "FER2013", "own labels"
CONFIDED = {"fer2013": FER2013, "plus7": FERPLUS}  # names of --confidence


class Cost(NamedTuple):
    """One file's cost on one label set of PublicTest; fractions 0..1."""

    file: str
    data: str
    n: int
    float_accuracy: float
    accuracy: float
    float_error: float  # calibration error before the temperature
    error: float  # and of the file
    only_float: int  # rows that only the float network classifies correctly
    only_file: int
    labels: tuple[str, ...]
    float_recalls: list[float | None]  # of each of labels
    recalls: list[float | None]

    @property
    def drop(self) -> float:
        """Accuracy lost, in points; positive if the file is worse."""
        return 100 * (self.float_accuracy - self.accuracy)

    @property
    def p(self) -> float:
        """McNemar's p of file and float network."""
        return scores.mcnemar(self.only_float, self.only_file)

    @property
    def moved(self) -> tuple[str, float]:
        """The label with the largest change of recall, and that in points (negative if the file is worse)."""
        changes = [
            (label, 100 * (after - before))
            for label, before, after in zip(self.labels, self.float_recalls, self.recalls, strict=True)
            if before is not None and after is not None
        ]
        return max(changes, key=lambda change: abs(change[1]))


def label_sets(data: Data) -> list[LabelSet]:
    """FER2013's labels and FER+'s majority if there are votes, or the data's own labels."""
    if data.names != LABELS:
        return [LabelSet(OWN, np.ones(len(data.labels), bool), data.labels, data.names)]
    return labelsets.label_sets(FER2013, data.labels, data.majority)


def confided(data: Data, asked: str | None) -> LabelSet:
    """The label set for calibration: *asked*, one of CONFIDED, or by default FER+'s majority.

    EdgeError if FER+'s majority is requested without votes.
    """
    found = label_sets(data)
    if asked is None:
        return found[-1]
    if data.names != LABELS:
        raise EdgeError(f"--confidence {asked}: not applicable to the data's own labels; leave it out")
    for one in found:
        if one.name == CONFIDED[asked]:
            return one
    raise EdgeError(f"--confidence {asked}: the data has no FER+ votes; use --confidence fer2013")


def costs(probabilities: Mapping[str, Floats], before: Floats, data: Data) -> list[Cost]:
    """The cost of each file's *probabilities* (n, labels) against the float network's, by label set."""
    return [
        _cost(file, after[part.rows], before[part.rows], part)
        for file, after in probabilities.items()
        for part in label_sets(data)
    ]


def _cost(file: str, after: Floats, before: Floats, part: LabelSet) -> Cost:
    truth = part.truth
    right, float_right = after.argmax(1) == truth, before.argmax(1) == truth
    return Cost(
        file, part.name, len(truth),
        scores.accuracy(before, truth), scores.accuracy(after, truth),
        scores.calibration_error(before, truth), scores.calibration_error(after, truth),
        *scores.split(float_right, right),
        part.labels,
        scores.recalls(before, truth, len(part.labels)), scores.recalls(after, truth, len(part.labels)),
    )  # fmt: skip
