"""Makes the mean faces of the ``portraits`` camera: one per label, none of a real person."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from edge.types import LABELS, EdgeError
from training import data
from training.data import Dataset

AGREE = 0.5  # minimum share of the annotators' votes for one label
MOST = 400  # pictures per label: those with the most agreement
FEWEST = 20  # minimum number of faces, so that the mean resembles none of them
# Rounds of aligning pictures to their mean: a second sharpens it, but few pictures of disgust are alike.
ROUNDS = dict.fromkeys(LABELS, 2) | {"disgust": 1}
# Exaggeration of an expression's difference from the mean of all seven, since a mean is milder than any face
# in it. Like ROUNDS and ALIKE, tuned until the shipped network read the faces through the camera: portraits
# are a clear test signal, not evidence of accuracy.
EXAGGERATE = 0.15
ALIKE = 0.6  # minimum correlation with the plain mean; excludes profiles, hands, …


def mean_faces(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(faces (7, 48, 48) uint8 in LABELS' order, number of pictures in each mean (7,) int64).

    Uses distinct Training pictures on which FER2013's label and at least AGREE of the FER+ votes agree
    (contempt, unknown and "not a face" count against), up to MOST per label, most agreed first. Each is
    normalized to one mean and contrast, so that lighting does not dominate, and aligned to the plain mean;
    otherwise faces wash out until neither people nor networks can distinguish fear from surprise. The mean is
    made symmetric, exaggerated and stretched back to a photograph's contrast.
    """
    training = dataset.split("Training")
    training = training.take(~data.blank(training.images) & data.first_seen(training.images))
    if not training.has_votes:
        raise EdgeError("portraits need FER+ votes, to know on which faces people agree; add --ferplus FILE")
    of_label = training.votes[:, data.VOTE_OF_LABEL].astype(np.float64)
    share = of_label / np.maximum(training.votes.sum(1, keepdims=True), 1)
    agreed = (share.max(1) >= AGREE) & (share.argmax(1) == training.labels)
    faces, counts = [], []
    for index, label in enumerate(LABELS):
        rows = np.flatnonzero(agreed & (training.labels == index))
        rows = rows[np.argsort(-share[rows, index], kind="stable")][:MOST]
        pictures = [_standardised(image) for image in training.images[rows].astype(np.float32)]
        moved = pictures
        for _ in range(ROUNDS[label] if pictures else 0):  # alignment improves with a sharper mean
            mean = _symmetric(moved)
            moved = [found for picture in pictures if (found := _moved_onto(mean, picture)) is not None]
        if len(moved) < FEWEST:
            raise EdgeError(
                f"portraits: annotators agree on {len(moved)} pictures of {label}; expected {FEWEST} or more"
            )
        faces.append(_standardised(_symmetric(moved)))
        counts.append(len(moved))
    stack = np.stack(faces)
    stack = stack + EXAGGERATE * (stack - stack.mean(0))
    drawn = [np.clip(np.rint(_standardised(face) * 50 + 128), 0, 255) for face in stack]
    return np.stack(drawn).astype(np.uint8), np.array(counts)


def _standardised(image: np.ndarray) -> np.ndarray:
    return (image - image.mean()) / max(float(image.std()), 1e-3)


def _symmetric(pictures: list[np.ndarray]) -> np.ndarray:
    """The mean of *pictures* and their mirror images."""
    mean = np.mean(pictures, 0, dtype=np.float32)
    return (mean + mean[:, ::-1]) / 2


def _moved_onto(mean: np.ndarray, picture: np.ndarray) -> np.ndarray | None:
    """*picture* under the affine map that correlates most with *mean* (Evangelidis and Psarakis 2008).

    None if that fails, or needs much shrinking or stretching.
    """
    motion = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)
    try:
        alike, motion = cv2.findTransformECC(mean, picture, motion, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # it does not converge
        return None
    if alike < ALIKE or abs(np.linalg.det(motion[:, :2]) - 1) > 0.35 or np.abs(motion[:, 2]).max() > 14:
        return None
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, motion, mean.shape[::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)


def save(dataset: Dataset, out: Path) -> np.ndarray:
    """Write the mean faces to *out* (npz: ``faces``, ``labels``, ``counts``); returns the counts."""
    faces, counts = mean_faces(dataset)
    partial = out.with_name(f".{out.stem}.partial.npz")
    try:
        with partial.open("wb") as file:
            np.savez_compressed(file, faces=faces, labels=np.array(LABELS), counts=counts)
        os.replace(partial, out)
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; expected a writable folder for --out") from error
    return counts
