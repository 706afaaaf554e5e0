"""This project's npz files: named arrays, pictures plain or as second differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.analysis.preprocess import crop_whole
from edge.labels import Order, ours
from edge.types import LABELS, EdgeError
from quantize.figures.labelsets import OWN_NAMES, own_names
from quantize.figures.votes import VOTES
from training.data.dataset import FER2013, SIZE, Dataset, Problems, brief, stacked
from training.data.labels import USAGES, usage_of

_NAMES = ("images", "delta", "labels", "usage", "ferplus", OWN_NAMES)


def read_npz(path: Path, problems: Problems, order: Order, own: bool = False) -> tuple[Dataset, list[str]]:
    """Read `images` or second differences `delta`, `labels`, and `usage` (or by name) and `ferplus` if there.

    Returns each row's number as well. *order* names the numeric labels; with *own* the array OWN_NAMES does.
    """
    arrays = _arrays(path)
    names = own_names(path, arrays.pop(OWN_NAMES, None))
    if own != (names is not None):
        unnamed = f"no array {OWN_NAMES!r}; expected folders, or an npz with label names, for --own-labels"
        named = f"has its own labels, {', '.join(names or ())}; use --own-labels"
        raise EdgeError(f"{path}: {unnamed if own else named}")
    images = _images(path, arrays)
    n = len(images)
    usage = np.full(n, usage_of(path.stem) or 0, np.uint8)
    arrays = {"usage": usage, "ferplus": np.zeros((n, len(VOTES)), np.uint8), **arrays}
    for name, shape in (("labels", (n,)), ("usage", (n,)), ("ferplus", (n, len(VOTES)))):
        array = arrays[name]
        if array.shape != shape:
            raise EdgeError(f"{path}: {name} {array.shape}; expected {shape} for {n} images")
        if array.dtype.kind not in "iu":
            raise EdgeError(f"{path}: {name} {array.dtype}; expected whole numbers")
    # Checked before the cast: uint8 turns a usage of 256 into 0.
    labels, usage, votes = arrays["labels"], arrays["usage"], arrays["ferplus"]
    numbers, labels = labels, ours(labels, order) if names is None else labels
    count = len(order.of_number if names is None else names)
    unknown = (labels < 0) | (numbers >= count) | (usage < 0) | (usage >= len(USAGES))
    bad = unknown | ((votes < 0) | (votes > 255)).any(1)
    for row in np.flatnonzero(bad):
        found = f"votes {votes[row].tolist()}; expected ten numbers 0 to 255"
        if unknown[row]:
            most = f"expected 0 to {count - 1} and 0 to {len(USAGES) - 1}"
            found = f"label {numbers[row]}, usage {usage[row]}; {most}"
        problems.add(f"{path}: row {row}: {found}", "bad row")
    if images.shape[1:] != (SIZE, SIZE):
        images = stacked([crop_whole(image, SIZE, SIZE) for image in images])
    cast = labels.astype(np.int64), usage.astype(np.uint8), votes.astype(np.uint8)
    source = FER2013 if names is None else path.stem
    dataset = Dataset(images, *cast, np.arange(n), source, names or LABELS).take(~bad)
    return dataset, [str(row) for row in dataset.rows]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The known arrays in *path*; EdgeError if pictures or labels are missing."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from error
    try:
        with file, np.load(file) as archive:
            found = sorted(archive.files)
            arrays = {name: archive[name] for name in _NAMES if name in found}
    except Exception as error:  # numpy passes on whatever zipfile, zlib and tokenize raise on damage
        raise EdgeError(f"{path}: not an npz archive, or damaged; expected np.savez's format") from error
    for name in ("images", "labels"):
        if name not in arrays and not (name == "images" and "delta" in arrays):
            raise EdgeError(f"{path}: no array {name!r}; found {brief(', '.join(found)) or 'nothing'}")
    return arrays


def _images(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The pictures (n, height, width) uint8, integrated if stored as differences."""
    name = "delta" if "delta" in arrays else "images"
    array = arrays[name]
    if array.dtype != np.uint8 or array.ndim != 3 or 0 in array.shape[1:]:
        raise EdgeError(f"{path}: {name} {array.dtype} {array.shape}; expected uint8 (n, height, width)")
    if name == "images":
        return array
    # Rows, then columns, were differenced modulo 256: cumulative sums in uint8 wrap back.
    return np.cumsum(np.cumsum(array, 1, dtype=np.uint8), 2, dtype=np.uint8)
