"""FER2013's csv files, and FER+ votes joined by row."""

from __future__ import annotations

import csv
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edge.labels import Order, label_of
from edge.types import EdgeError
from quantize.figures.votes import VOTES
from training.data.dataset import SIZE, Dataset, Problems, brief, source_of, stacked
from training.data.labels import USAGES, usage_of


def read_csv(path: Path, problems: Problems, order: Order) -> tuple[Dataset, list[str]]:
    """Read fer2013.csv or icml_face_data.csv (other column order), and each row's line number.

    *order* names the numeric labels.
    """
    images, labels, usages, rows, lines = [], [], [], [], []
    for row, line, record in _records(path, ("emotion", "pixels")):
        if isinstance(record, str):
            problems.add(f"{path}:{line}: {record}", "bad row")
            continue
        label = label_of(record["emotion"], order)
        usage = usage_of(record.get("usage") or "training")
        image = _pixels(record["pixels"])
        if label is None:
            found = f"emotion {brief(record['emotion'])!r}; expected {_known(order)}"
        elif usage is None:
            found = f"usage {brief(record['usage'])!r}; expected {', '.join(USAGES)}"
        elif isinstance(image, str):
            found = image
        else:
            images.append(image)
            labels.append(label)
            usages.append(usage)
            rows.append(row)
            lines.append(str(line))
            continue
        problems.add(f"{path}:{line}: {found}", "bad row")
    votes = np.zeros((len(rows), len(VOTES)), np.uint8)
    arrays = np.array(labels, np.int64), np.array(usages, np.uint8), votes, np.array(rows, np.int64)
    return Dataset(stacked(images), *arrays, source_of(path)), lines


def with_votes(dataset: Dataset, ferplus: Path, data: Path, problems: Problems) -> Dataset:
    """*dataset* with the votes of *ferplus*; its row i belongs to row i of the csv.

    A row with unreadable votes is skipped like any other bad row.
    """
    votes: list[list[int]] = []
    bad: list[int] = []
    usages = dict(zip(dataset.rows.tolist(), dataset.usage.tolist(), strict=True))
    for row, line, record in _records(ferplus, [name.lower() for name in VOTES]):
        counts = record if isinstance(record, str) else _votes(record)
        votes.append([0] * len(VOTES) if isinstance(counts, str) else counts)
        if isinstance(counts, str) and row in usages:  # else the row is missing or already skipped
            bad.append(row)
            problems.add(f"{ferplus}:{line}: {counts}", "bad row")
        stated = None if isinstance(record, str) else usage_of(record.get("usage", ""))
        if stated is not None and usages.get(row, stated) != stated:
            raise EdgeError(
                f"{ferplus}:{line}: {USAGES[stated]}, where {data} has {USAGES[usages[row]]}; "
                "both must be complete and in original order"
            )
    if len(votes) <= dataset.rows.max(initial=0):
        raise EdgeError(
            f"{ferplus}: {len(votes)} rows, fewer than the {dataset.rows.max() + 1} of {data}; "
            "both must be complete and in original order"
        )
    table = np.array(votes, np.uint8)[dataset.rows]
    return dataclasses.replace(dataset, votes=table).take(~np.isin(dataset.rows, bad))


def _votes(record: dict[str, str]) -> list[int] | str:
    """The ten counts of a FER+ row, or what is wrong with them."""
    texts = [record[name.lower()].strip() for name in VOTES]
    if all(text.isdecimal() and len(text) <= 3 and int(text) <= 255 for text in texts):
        return [int(text) for text in texts]
    return f"votes {brief(','.join(texts))!r}; expected ten numbers 0 to 255"


def _records(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, int, dict[str, str] | str]]:
    """(row, line number, lower-case column -> text) for each row of a csv with the columns *needed*.

    For a bad row, the text says what is wrong. Blank lines do not count as rows.
    """
    header: list[str] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            texts = ((line, text) for line, text in enumerate(file, 1) if text.strip())
            for row, (line, text) in enumerate(texts, -1):
                try:
                    # No field in these files spans lines, so parse each line alone: an unclosed quote then
                    # costs one row, not all that follow.
                    (fields,) = csv.reader([text], strict=True)
                except csv.Error as error:
                    what = str(error).replace("unexpected end of data", "an unclosed quote")
                    found = f"not a row of a csv: {what}; expected {brief(', '.join(header or needed), 200)}"
                    if row < 0:
                        raise EdgeError(f"{path}:{line}: {found}") from error
                    yield row, line, found
                    continue
                if row < 0:
                    header = [name.strip().lower() for name in fields]
                    _check(path, line, header, needed)
                else:
                    padded = fields + [""] * (len(header) - len(fields))
                    yield row, line, dict(zip(header, padded, strict=False))
    except UnicodeDecodeError as error:
        raise EdgeError(f"{path}: not UTF-8 text; expected a csv file") from error
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from error
    if not header:
        _check(path, 1, header, needed)


def _check(path: Path, line: int, header: Sequence[str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in header:
            found = brief(", ".join(header), 200) or "nothing"
            raise EdgeError(f"{path}:{line}: no column {name!r}; found {found}")


def _known(order: Order) -> str:
    numbers = [str(number) for number, label in enumerate(order.of_number) if label is not None]
    whole = len(numbers) == len(order.of_number)
    return f"a number 0 to {numbers[-1]}" if whole else f"one of {', '.join(numbers)}"


def _pixels(text: str) -> np.ndarray | str:
    """The picture in a csv field, or what is wrong with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns about trailing non-numbers
        try:
            values = np.fromstring(text, np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            return f"pixels are not all whole numbers; expected {SIZE * SIZE} from 0 to 255"
    if len(values) != SIZE * SIZE:
        return f"{len(values)} pixels; expected {SIZE * SIZE} ({SIZE}x{SIZE})"
    if values.min() < 0 or values.max() > 255:
        return f"a pixel of {values.min() if values.min() < 0 else values.max()}; expected 0 to 255"
    return values.astype(np.uint8).reshape(SIZE, SIZE)
