"""The pictures for quantize: some for calibration, a labelled split for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.analysis.preprocess import crop_whole
from edge.labels import FER2013, Order, ours
from edge.types import LABELS, EdgeError, Image
from quantize.figures.labelsets import OWN_NAMES, own_names
from quantize.figures.scores import Indices
from quantize.figures.votes import VOTES, majority

FEWEST_OF_LABEL = 10  # calibration pictures per label: fewer do not show the ranges of activations
_TRAINING, _PUBLIC_TEST, _LEFT_OUT = 0, 1, 255


class Data(NamedTuple):
    """Pictures in the network's size, and their labels."""

    calibration: Image  # (m, height, width) uint8
    rows: Indices  # (m,) rows of the archive that calibration was drawn from
    images: Image  # (n, height, width) uint8, PublicTest
    labels: Indices  # (n,) the data's labels, indices into names
    majority: Indices  # (n,) FER+ majority, -1 for none
    names: tuple[str, ...] = LABELS  # label names: the seven, or the data's own


def read_data(path: Path, height: int, width: int, calibrate: int, seed: int, order: Order = FER2013) -> Data:
    """PublicTest of *path* and *calibrate* pictures of its Training split, balanced over the labels.

    *path* is an npz of ``images`` (n, h, w) uint8, ``labels`` (n,), ``usage`` (n,; 0 Training,
    1 PublicTest) and optionally ``ferplus`` (n, 10) votes; ``emotion-train fit`` writes one to its run.
    *order* names the numeric labels, unless an array ``label_names`` does (own labels).
    EdgeError in one line for missing data.
    """
    if seed < 0:
        raise EdgeError(f"--seed {seed}: expected 0 or more")
    arrays = _arrays(path)
    names = own_names(path, arrays.get(OWN_NAMES))
    if names is not None:
        if order is not FER2013:
            raise EdgeError(f"--labels {order}: {path} already names its labels, {', '.join(names)}")
        order = Order(tuple(range(len(names))), ",".join(names))
    names = names or LABELS
    if calibrate < FEWEST_OF_LABEL * len(names):
        raise EdgeError(f"--calibrate {calibrate}: expected {FEWEST_OF_LABEL * len(names)} pictures or more")
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
            raise EdgeError(f"{path}: {name} {array.shape}; expected {shape} for {n} images")
    if (strange := labels < 0).any():
        print(f"{path}: skipped: {strange.sum()} rows with other labels than the seven (--labels)")
        usage = np.where(strange, _LEFT_OUT, usage)
    rows = _balanced(labels, np.flatnonzero(usage == _TRAINING), names, calibrate, seed, path)
    public = np.flatnonzero(usage == _PUBLIC_TEST)
    if not len(public):
        raise EdgeError(f"{path}: no PublicTest rows (usage 1); expected some to measure the loss on")
    return Data(
        _sized(images[rows], height, width), rows,
        _sized(images[public], height, width), labels[public], majority(votes[public]),
        names,
    )  # fmt: skip


def names_of(path: Path) -> tuple[str, ...]:
    """The label names of the npz at *path*: its own, or LABELS. EdgeError as in read_data()."""
    return own_names(path, _arrays(path, OWN_NAMES).get(OWN_NAMES)) or LABELS


def _arrays(path: Path, only: str = "") -> dict[str, npt.NDArray[Any]]:
    """The arrays of the npz at *path* by name, or just *only*."""
    try:
        with path.open("rb") as file, np.load(file) as archive:
            return {name: archive[name] for name in archive.files if only in ("", name)}
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}; expected a run's calibration.npz") from error
    except Exception as error:  # numpy passes on whatever zipfile, zlib and tokenize raise on damage
        raise EdgeError(f"{path}: not an npz archive; expected a run's calibration.npz") from error


def _balanced(
    labels: Indices, rows: Indices, names: Sequence[str], count: int, seed: int, path: Path
) -> Indices:
    """*count* of *rows*, balanced over the labels as far as possible; deterministic by *seed*."""
    random = np.random.default_rng(seed)
    queues = [list(random.permutation(rows[labels[rows] == index])) for index in range(len(names))]
    for label, queue in zip(names, queues, strict=True):
        if len(queue) < FEWEST_OF_LABEL:
            raise EdgeError(
                f"{path}: {len(queue)} Training pictures of {label}; expected {FEWEST_OF_LABEL} per label"
            )
    chosen: list[int] = []
    while len(chosen) < count and any(queues):
        chosen += [int(queue.pop()) for queue in queues if queue]
    return np.array(chosen[:count], np.int64)


def _sized(images: Image, height: int, width: int) -> Image:
    if images.shape[1:] == (height, width):
        return images
    return np.stack([crop_whole(image, height, width) for image in images])
