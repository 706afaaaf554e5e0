"""The mean faces that the ``portraits`` camera shows: one per label, nobody's."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edge.types import LABELS, EdgeError
from training import data
from training.data import Dataset

AGREE = 0.5  # share of the taggers' votes that one label must have
FEWEST = 20  # faces for a mean that shows none of them


def mean_faces(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(faces (7, 48, 48) uint8 in LABELS' order, how many pictures each is the mean of (7,) int64).

    Taken are distinct Training pictures that FER2013's label and at least AGREE of the FER+ votes (contempt,
    unknown and "not a face" counted against) call the same. Each is first brought to one mean and
    contrast, so that no lamp's light outweighs a face; the mean is made symmetric, which doubles the
    faces in it, and stretched back to a photograph's contrast.
    """
    training = dataset.split("Training")
    training = training.take(~data.blank(training.images) & data.first_seen(training.images))
    if not training.has_votes:
        raise EdgeError("portraits need FER+ votes to know on which faces people agree; --ferplus FILE")
    of_label = training.votes[:, data.VOTE_OF_LABEL].astype(np.float64)
    share = of_label / np.maximum(training.votes.sum(1, keepdims=True), 1)
    agreed = (share.max(1) >= AGREE) & (share.argmax(1) == training.labels)
    faces, counts = [], []
    for index, label in enumerate(LABELS):
        some = training.images[agreed & (training.labels == index)].astype(np.float64)
        if len(some) < FEWEST:
            raise EdgeError(
                f"portraits: taggers agree on {len(some)} pictures of {label}; {FEWEST} are needed"
            )
        mean, deviation = some.mean((1, 2), keepdims=True), some.std((1, 2), keepdims=True)
        face = ((some - mean) / np.maximum(deviation, 1)).mean(0)
        face = (face + face[:, ::-1]) / 2
        face = (face - face.mean()) / face.std() * 50 + 128
        faces.append(np.clip(np.rint(face), 0, 255).astype(np.uint8))
        counts.append(len(some))
    return np.stack(faces), np.array(counts)


def save(dataset: Dataset, out: Path) -> np.ndarray:
    """Write the mean faces to *out* (npz: ``faces``, ``labels``, ``counts``) and give the counts."""
    faces, counts = mean_faces(dataset)
    partial = out.with_name(f".{out.stem}.partial.npz")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, faces=faces, labels=np.array(LABELS), counts=counts)
        os.replace(partial, out)
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; --out needs a folder that can be written") from error
    return counts
