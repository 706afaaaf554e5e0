"""FER+'s votes of ten annotators, as a distribution and as a majority (Barsoum et al. 2016)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.types import LABELS, Floats
from quantize.figures.scores import Indices

# FER+'s own order; contempt, unknown and NF (not a face) have no label here.
VOTES = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF",
)  # fmt: skip
VOTE_OF_LABEL = [4, 5, 6, 1, 3, 2, 0]  # LABELS' order -> column of VOTES
RULES = ("firm", "raw", "microsoft")

Votes = npt.NDArray[np.uint8]  # (n, 10)


def distributions(votes: Votes) -> Floats:
    """FER+ *votes* (n, 10) as probabilities (n, 7) float32 in LABELS' order.

    Contempt, unknown and NF are dropped and the rest renormalized. Single votes are dropped as outliers, as
    in Microsoft's rule, if other votes remain. All zero: no usable vote.
    """
    seven = votes[:, VOTE_OF_LABEL].astype(np.float32)
    firm = np.where(seven > 1, seven, 0)
    chosen = np.where(firm.sum(1, keepdims=True) > 0, firm, seven)
    return np.asarray(chosen / np.maximum(chosen.sum(1, keepdims=True), 1), np.float32)


def targets(votes: Votes, rule: str) -> Floats:
    """FER+ *votes* (n, 10) as targets (n, 7) float32 in LABELS' order by *rule*, one of RULES.

    ``firm`` is `distributions`; ``raw`` counts every vote for one of the seven; ``microsoft`` drops single
    votes, and the row if most remaining votes are for unknown or NF, or none is for one of the seven. All
    zero: no target, the row cannot be used for training.
    """
    if rule == "firm":
        return distributions(votes)
    kept = np.where(votes > 1, votes, 0) if rule == "microsoft" else votes
    seven = kept[:, VOTE_OF_LABEL].astype(np.float32)
    if rule == "microsoft":
        seven[kept.argmax(1) >= VOTES.index("unknown")] = 0
    return np.asarray(seven / np.maximum(seven.sum(1, keepdims=True), 1), np.float32)


def majority(votes: Votes) -> Indices:
    """FER+ majority label (n,) int64 in LABELS' order, -1 for none ("plus7").

    Microsoft's rule: single votes are dropped, then one class must have more than half of the rest; rows with
    a majority for contempt, unknown or NF have no label.
    """
    firm = np.where(votes > 1, votes, 0).astype(np.int64)
    best = firm.argmax(1)
    clear = 2 * firm.max(1) > firm.sum(1)
    label_of_vote = np.full(len(VOTES), -1)
    label_of_vote[VOTE_OF_LABEL] = np.arange(len(LABELS))
    return np.asarray(np.where(clear, label_of_vote[best], -1), np.int64)
