"""The pictures that quantize needs: some to calibrate by, a labelled split to measure on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.analysis.preprocess import crop_whole
from edge.labels import FER2013, Order, ours
from edge.types import LABELS, EdgeError, Image
from quantize.figures.scores import Indices
from quantize.figures.votes import VOTES, majority

FEWEST_OF_LABEL = 10  # calibration pictures of each label: fewer do not show what its activations reach
_TRAINING, _PUBLIC_TEST, _LEFT_OUT = 0, 1, 255


class Data(NamedTuple):
    """Pictures in the network's size and what people say that they show."""

    calibration: Image  # (m, height, width) uint8
    rows: Indices  # (m,) rows of the archive that calibration was drawn from
    images: Image  # (n, height, width) uint8, PublicTest
    labels: Indices  # (n,) FER2013's labels
    majority: Indices  # (n,) FER+ majority, -1 where there is none


def read_data(path: Path, height: int, width: int, calibrate: int, seed: int, order: Order = FER2013) -> Data:
    """PublicTest of *path* and *calibrate* pictures of its Training split, balanced over the labels.

    *path* is an npz of ``images`` (n, h, w) uint8, ``labels`` (n,), ``usage`` (n,; 0 Training,
    1 PublicTest) and perhaps ``ferplus`` (n, 10) votes; ``emotion-train fit`` leaves one in its run.
    *order* says what the labels' numbers mean. EdgeError, in one line, for what is missing.
    """
    if calibrate < FEWEST_OF_LABEL * len(LABELS):
        raise EdgeError(f"--calibrate {calibrate}: expected {FEWEST_OF_LABEL * len(LABELS)} pictures or more")
    if seed < 0:
        raise EdgeError(f"--seed {seed}: expected 0 or more")
    try:
        with path.open("rb") as file, np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}; expected a run's calibration.npz") from error
    except Exception as error:  # of a damaged one numpy passes on what zipfile, zlib and tokenize raise
        raise EdgeError(f"{path}: not an npz archive; expected a run's calibration.npz") from error
    for name in ("images", "labels", "usage"):
        if name not in arrays:
            found = ", ".join(sorted(arrays)) or "nothing"
            raise EdgeError(f"{path}: no array {name!r}, found {found}; expected a run's calibration.npz")
    images, labels, usage = arrays["images"], arrays["labels"], arrays["usage"]
    if images.dtype != np.uint8 or images.ndim != 3 or not images.size:
        raise EdgeError(f"{path}: images {images.dtype} {images.shape}; expected uint8 (n, height, width)")
    n = len(images)
    votes = arrays.get("ferplus", np.zeros((n, len(VOTES)), np.uint8))
    if labels.dtype.kind not in "iu":
        raise EdgeError(f"{path}: labels {labels.dtype}; expected integers")
    if labels.shape == (n,) and n and not 0 <= labels.min() <= labels.max() < len(order.of_number):
        last = len(order.of_number) - 1
        raise EdgeError(f"{path}: labels {labels.min()} to {labels.max()}; expected 0 to {last}")
    labels = ours(labels.astype(np.int64), order)
    for name, array, shape in (("labels", labels, (n,)), ("usage", usage, (n,)), ("ferplus", votes, (n, 10))):
        if array.shape != shape:
            raise EdgeError(f"{path}: {name} {array.shape}; expected {shape}, as there are {n} images")
    if (strange := labels < 0).any():
        print(f"{path}: left out: {strange.sum()} rows of labels that are none of ours (--labels)")
        usage = np.where(strange, _LEFT_OUT, usage)
    rows = _balanced(labels, np.flatnonzero(usage == _TRAINING), calibrate, seed, path)
    public = np.flatnonzero(usage == _PUBLIC_TEST)
    if not len(public):
        raise EdgeError(f"{path}: no PublicTest rows (usage 1), which the loss is measured on")
    return Data(
        _sized(images[rows], height, width), rows,
        _sized(images[public], height, width), labels[public], majority(votes[public]),
    )  # fmt: skip


def _balanced(labels: Indices, rows: Indices, count: int, seed: int, path: Path) -> Indices:
    """*count* of *rows*, as evenly over the labels as there are rows, the same for the same *seed*."""
    random = np.random.default_rng(seed)
    queues = [list(random.permutation(rows[labels[rows] == index])) for index in range(len(LABELS))]
    for label, queue in zip(LABELS, queues, strict=True):
        if len(queue) < FEWEST_OF_LABEL:
            raise EdgeError(
                f"{path}: {len(queue)} Training pictures of {label}; expected {FEWEST_OF_LABEL} a label"
            )
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        chosen += [int(queue.pop()) for queue in queues if queue]
    return np.array(chosen[:count], np.int64)


def _sized(images: Image, height: int, width: int) -> Image:
    if images.shape[1:] == (height, width):
        return images
    return np.stack([crop_whole(image, height, width) for image in images])
