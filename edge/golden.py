"""Golden vectors: pictures with what a model made of them when it was made, to be made of them again.

A device's chip, delegate or driver may compute otherwise than the machine that the model was measured on.
"""

from __future__ import annotations

import io
import zipfile
from typing import NamedTuple

import numpy as np

from edge.card import Model, read_beside
from edge.classify import FaceClassifier
from edge.types import EdgeError, Floats, Image

SUFFIX = ".golden.npz"


class Golden(NamedTuple):
    """What one model file makes of some pictures."""

    pictures: Image  # (n, height, width) uint8, framed faces
    scores: Floats  # (n, labels) float32 probabilities
    tolerance: float  # by which a probability may differ on another chip


def read_golden(model: Model) -> Golden:
    """The golden vectors that *model*'s card lists; EdgeError where there are none, or none for this file.

    The archive holds ``pictures``, ``files`` (k,) names, ``scores`` (k, n, labels), ``tolerance`` (k,).
    """
    name, content = read_beside(model, SUFFIX)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            row = archive["files"].tolist().index(model.path.name)
            golden = Golden(archive["pictures"], archive["scores"][row], float(archive["tolerance"][row]))
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        place = model.path.with_name(name)
        raise EdgeError(
            f"{place}: no golden vectors of {model.path.name} in it; quantize writes them"
        ) from error
    return golden


def mismatch(golden: Golden, classifier: FaceClassifier) -> str:
    """Why what *classifier* makes of the pictures is wrong, in one line; empty where it is right."""
    found = deviations(golden, classifier)
    worst = max(found)
    # Asked so that a runtime that gives no numbers at all fails as well.
    if worst <= golden.tolerance:
        return ""
    return (
        f"{len(found)} golden pictures, probabilities differ by up to {worst:.4f} (picture "
        f"{found.index(worst)}), {golden.tolerance:.4f} is allowed; this runtime "
        "computes otherwise than the one that the model was measured on, use another"
    )


def deviations(golden: Golden, classifier: FaceClassifier) -> list[float]:
    """For each picture, the largest difference of a probability from what it should be, 0..1."""
    found = np.array([classifier.scores(picture) for picture in golden.pictures])
    return [float(value) for value in np.abs(found - golden.scores).max(1)]
