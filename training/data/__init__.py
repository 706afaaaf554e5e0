"""From a data set's files to one value: images, labels, split, FER+ votes, row by row.

Reads what people have: ``fer2013.csv`` and ``icml_face_data.csv`` (FER+ votes joined by row), folder
trees of pictures, and the npz forms of the project. Nothing is dropped in silence: every row that
cannot be used gets one line with its place, and reading stops there unless asked to go on. Blank
pictures are told and kept: FER2013 itself has twelve, and its figures count them.
"""

from __future__ import annotations

import csv
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from edge.preprocess import crop_whole
from edge.types import LABELS, EdgeError
from training.data.labels import USAGES, label_of, usage_of
from training.data.votes import VOTE_OF_LABEL, VOTES, distributions, majority

__all__ = [
    "SIZE", "USAGES", "VOTES", "VOTE_OF_LABEL", "Dataset", "blank", "distributions", "first_seen",
    "label_of", "majority", "read", "recurring",
]  # fmt: skip

SIZE = 48  # pixels
_SHOWN = 20  # problems, or places of one, shown before "and N more"


@dataclass(frozen=True)
class Dataset:
    """Rows of one or several data sets; all arrays are n long."""

    images: np.ndarray  # (n, 48, 48) uint8 luma
    labels: np.ndarray  # (n,) int64, index into LABELS
    usage: np.ndarray  # (n,) uint8, index into USAGES
    votes: np.ndarray  # (n, 10) uint8 in VOTES' order; all zero where FER+ says nothing
    rows: np.ndarray  # (n,) int64, row in the file or folder it came from

    def __len__(self) -> int:
        return len(self.images)

    def take(self, keep: np.ndarray) -> Dataset:
        """The rows that *keep* (mask or indices) names, in its order."""
        return Dataset(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    def split(self, usage: str) -> Dataset:
        """The rows of one of USAGES."""
        return self.take(self.usage == USAGES.index(usage))

    @property
    def has_votes(self) -> bool:
        return bool(self.votes.any())


def read(paths: Sequence[Path], ferplus: Path | None = None, skip_bad: bool = False) -> Dataset:
    """The rows of all *paths* (csv, npz, or a folder), in order.

    *ferplus* is Microsoft's fer2013new.csv, joined by row to the one csv among *paths*. A row that
    cannot be read raises EdgeError with one line a problem; with *skip_bad* the lines go to stderr,
    the rows are left out and counted.
    """
    problems: list[str] = []
    parts = [_read(path, problems) for path in paths]
    if ferplus is not None:
        if len(parts) != 1 or paths[0].suffix != ".csv":
            raise EdgeError(f"--ferplus {ferplus}: joins one csv by row; give exactly one csv as --data")
        parts[0] = _with_votes(parts[0], ferplus, paths[0], problems)
    if len(problems) == 1 and not skip_bad:
        raise EdgeError(f"{problems[0]}; --skip-bad would leave it out")
    if problems:
        shown, count = _first(problems), _counted(len(problems), "bad row")
        if not skip_bad:
            raise EdgeError("\n".join([*shown, f"{count}; mend them or leave them out with --skip-bad"]))
        print("\n".join([*shown, f"left out: {count} (--skip-bad)"]), file=sys.stderr)
    merged = Dataset(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Dataset)))
    if not len(merged):
        raise EdgeError(f"{', '.join(map(str, paths))}: no usable row")
    return merged


def blank(images: np.ndarray) -> np.ndarray:
    """Mask (n,): pictures of one single gray value, which show nothing."""
    return np.asarray(images.min((1, 2)) == images.max((1, 2)))


def recurring(images: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Mask (n,): the pictures whose exact pixels also stand in *among*."""
    known = {image.tobytes() for image in among}
    return np.fromiter((image.tobytes() in known for image in images), bool, len(images))


def first_seen(images: np.ndarray) -> np.ndarray:
    """Mask (n,): the first of each group of pictures with the same pixels."""
    seen: dict[bytes, int] = {}
    return np.fromiter((seen.setdefault(image.tobytes(), i) == i for i, image in enumerate(images)), bool)


# --- one function a form ---------------------------------------------------------------------------


def _read(path: Path, problems: list[str]) -> Dataset:
    if path.is_dir():
        archives = sorted(path.glob("*.npz"), key=lambda file: _usage_or(file.stem, 9))
        if archives:
            parts = [_read_npz(file, problems) for file in archives]
            return Dataset(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Dataset)))
        return _read_tree(path, problems)
    if not path.exists():
        raise EdgeError(f"{path}: no such file or folder")
    if path.suffix == ".npz":
        return _read_npz(path, problems)
    if path.suffix == ".csv":
        return _read_csv(path, problems)
    raise EdgeError(f"{path}: neither csv, npz nor a folder")


def _read_csv(path: Path, problems: list[str]) -> Dataset:
    """fer2013.csv, or icml_face_data.csv, whose header has spaces and another order."""
    images, labels, usages, rows = [], [], [], []
    for line, record in _records(path, ("emotion", "pixels")):
        label = label_of(record["emotion"] or "")
        usage = usage_of(record.get("usage") or "training")
        image = _pixels(record["pixels"] or "")
        if label is None:
            found = f"emotion {record['emotion']!r}; a number 0 to {len(LABELS) - 1} would do"
        elif usage is None:
            found = f"usage {record['usage']!r}; {', '.join(USAGES)} would do"
        elif isinstance(image, str):
            found = image
        else:
            images.append(image)
            labels.append(label)
            usages.append(usage)
            rows.append(line - 2)
            continue
        problems.append(f"{path}:{line}: {found}")
    dataset = _dataset(images, labels, usages, rows)
    _tell_blank(path, dataset, "line", lambda row: str(row + 2))
    return dataset


def _records(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, lower-case column -> text) of each row of a csv that has the columns *needed*."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            for name in needed:
                if name not in header:
                    raise EdgeError(f"{path}:1: no column {name!r}; found {', '.join(header) or 'nothing'}")
            for record in reader:
                padded = record + [""] * (len(header) - len(record))
                yield reader.line_num, dict(zip(header, padded, strict=False))
    except UnicodeDecodeError as error:
        raise EdgeError(f"{path}: no text in UTF-8; a csv file would do") from error
    except (OSError, csv.Error) as error:
        raise EdgeError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def _pixels(text: str) -> np.ndarray | str:
    """The picture in a csv's field, or what is wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns where the text stops being numbers
        try:
            values = np.fromstring(text, np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            return f"pixels are not all whole numbers; {SIZE * SIZE} from 0 to 255 would do"
    if len(values) != SIZE * SIZE:
        return f"{len(values)} pixels, {SIZE * SIZE} expected ({SIZE}x{SIZE})"
    if values.min() < 0 or values.max() > 255:
        return f"a pixel of {values.min() if values.min() < 0 else values.max()}; 0 to 255 would do"
    return values.astype(np.uint8).reshape(SIZE, SIZE)


def _with_votes(dataset: Dataset, ferplus: Path, data: Path, problems: list[str]) -> Dataset:
    """*dataset* with the votes of *ferplus*, whose row i speaks of the csv's row i."""
    votes = []
    usages = dict(zip(dataset.rows.tolist(), dataset.usage.tolist(), strict=True))
    for line, record in _records(ferplus, [name.lower() for name in VOTES]):
        told = usage_of(record.get("usage", ""))
        if told is not None and usages.get(len(votes), told) != told:
            raise EdgeError(
                f"{ferplus}:{line}: {USAGES[told]}, where {data} has {USAGES[usages[len(votes)]]}; "
                "both must be whole and in their original order"
            )
        texts = [record[name.lower()].strip() for name in VOTES]
        if all(text.isdigit() and int(text) <= 255 for text in texts):
            votes.append([int(text) for text in texts])
        else:
            problems.append(f"{ferplus}:{line}: votes {','.join(texts)}; ten whole numbers would do")
            votes.append([0] * len(VOTES))
    if len(votes) <= dataset.rows.max(initial=0):
        raise EdgeError(
            f"{ferplus}: {len(votes)} rows, fewer than the {dataset.rows.max() + 1} of {data}; "
            "both must be whole and in their original order"
        )
    table = np.array(votes, np.uint8)
    return Dataset(dataset.images, dataset.labels, dataset.usage, table[dataset.rows], dataset.rows)


def _read_tree(root: Path, problems: list[str]) -> Dataset:
    """SPLIT/LABEL/picture (any depth above SPLIT), or LABEL/picture, which counts as Training."""
    images, labels, usages, rows = [], [], [], []
    entries = sorted(entry for entry in root.rglob("*") if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.is_file()]
    if not files:
        raise EdgeError(f"{root}: an empty folder; train/<label>/*.png and validation/<label>/*.png would do")
    bare = [entry for entry in entries if entry.is_dir() and not any(entry.iterdir())]
    problems += [f"{folder}: an empty folder" for folder in bare]
    unknown = set()
    for row, file in enumerate(files):
        folders = file.relative_to(root).parts[:-1]
        label = label_of(folders[-1]) if folders else None
        if label is None:
            if file.parent not in unknown:
                unknown.add(file.parent)
                other = f"{file.name} stands in no label's folder; a csv or npz is named itself"
                said = f"not one of the labels {', '.join(LABELS)}" if folders else other
                problems.append(f"{file.parent}: {said}")
            continue
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) if file.stat().st_size else None
        if image is None:
            problems.append(f"{file}: not a picture that OpenCV can read")
            continue
        known = (usage_of(folder) for folder in reversed(folders[:-1]))
        images.append(crop_whole(np.asarray(image, np.uint8), SIZE, SIZE))
        labels.append(label)
        usages.append(next((usage for usage in known if usage is not None), 0))
        rows.append(row)
    if 2 in usages and 1 not in usages:
        # Trees of two parts call the one to choose by "test"; it often holds PublicTest and PrivateTest.
        print(f"{root}: test/ without validation/: its pictures count as {USAGES[1]}", file=sys.stderr)
        usages = [min(usage, 1) for usage in usages]
    dataset = _dataset(images, labels, usages, rows)
    _tell_blank(root, dataset, "picture", lambda row: str(files[row].relative_to(root)))
    return dataset


def _read_npz(path: Path, problems: list[str]) -> Dataset:
    """`images` or second differences `delta`; `labels`; perhaps `usage` (else from the name), `ferplus`."""
    try:
        with np.load(path) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: not an npz archive: {error}") from error
    if "delta" in arrays:
        # Rows, then columns, were differenced modulo 256: summing in uint8 wraps back.
        rows = np.cumsum(arrays["delta"], 1, dtype=np.uint8)
        arrays["images"] = np.cumsum(rows, 2, dtype=np.uint8)
    for name in ("images", "labels"):
        if name not in arrays:
            raise EdgeError(f"{path}: no array {name!r}; found {', '.join(sorted(arrays)) or 'nothing'}")
    images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise EdgeError(f"{path}: images {images.dtype} {images.shape}; uint8 (n, height, width) would do")
    n = len(images)
    usage = arrays.get("usage", np.full(n, _usage_or(path.stem, 0), np.uint8)).astype(np.uint8)
    votes = arrays.get("ferplus", np.zeros((n, len(VOTES)), np.uint8)).astype(np.uint8)
    for name, array, shape in (("labels", labels, (n,)), ("usage", usage, (n,)), ("ferplus", votes, (n, 10))):
        if array.shape != shape:
            raise EdgeError(f"{path}: {name} {array.shape}, {shape} expected as there are {n} images")
    bad = (labels < 0) | (labels >= len(LABELS)) | (usage >= len(USAGES))
    for row in np.flatnonzero(bad):
        problems.append(f"{path}: row {row}: label {labels[row]}, usage {usage[row]}: out of range")
    if images.shape[1:] != (SIZE, SIZE):
        images = np.stack([crop_whole(image, SIZE, SIZE) for image in images])
    dataset = Dataset(images, labels, usage, votes, np.arange(n)).take(~bad)
    _tell_blank(path, dataset, "row", str)
    return dataset


def _dataset(images: list[np.ndarray], labels: list[int], usages: list[int], rows: list[int]) -> Dataset:
    n = len(images)
    return Dataset(
        np.stack(images) if n else np.zeros((0, SIZE, SIZE), np.uint8),
        np.array(labels, np.int64), np.array(usages, np.uint8),
        np.zeros((n, len(VOTES)), np.uint8), np.array(rows, np.int64),
    )  # fmt: skip


def _tell_blank(path: Path, dataset: Dataset, what: str, place: Callable[[int], str]) -> None:
    places = [place(row) for row in dataset.rows[blank(dataset.images)].tolist()]
    if places:
        where = f"{what}{'' if len(places) == 1 else 's'} {', '.join(_first(places))}"
        print(f"{path}: {where}: blank (one single gray value); kept, but not trained on", file=sys.stderr)


def _usage_or(name: str, default: int) -> int:
    usage = usage_of(name)
    return default if usage is None else usage


def _first(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"… and {len(lines) - _SHOWN} more"]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
