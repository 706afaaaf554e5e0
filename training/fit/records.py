"""A run's files: settings, history, checkpoint. Writes are atomic, so a kill leaves each file whole."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.types import EdgeError
from quantize.figures.labelsets import OWN_NAMES
from training import data
from training.data import Dataset
from training.fit.batches import Rows
from training.recipe import Recipe
from training.runs import RECORD, RUN_FILE, first_line, read_record

CALIBRATION = 2000  # Training pictures kept for quantize
COLUMNS = ("epoch", "loss", "learning_rate", "accuracy_fer2013", "accuracy_plus7", "seconds")


@contextlib.contextmanager
def open_run(out: Path, asked: dict[str, Any], resume: bool, defaults: Mapping[str, Any]) -> Iterator[None]:
    """Lock *out* as this run's folder; with *resume* it must hold a run with the settings *asked*.

    *defaults* are the recipe's: an older run without a newer key had its default.

    The lock is exclusive: two runs in one folder would mix histories and weights.
    """
    record = out / RECORD
    if resume and not os.path.exists(record):
        raise EdgeError(f"{out}: no run to resume here; start one without --resume")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the kernel, even after a kill
        except BlockingIOError as error:
            raise EdgeError(f"{out}: in use by another emotion-train; choose another --out") from error
        except OSError:
            pass  # the file system has no locks
        _begin(record, asked, resume, defaults)
        yield


def _begin(record: Path, asked: dict[str, Any], resume: bool, defaults: Mapping[str, Any]) -> None:
    out = record.parent
    if resume:
        if other := _differences(read_record(record), json.loads(json.dumps(asked)), defaults):
            raise EdgeError(f"{record}: made with other settings: {', '.join(other)}; choose another --out")
    elif os.path.exists(out / "checkpoint.npz"):
        raise EdgeError(f"{out}: contains a run; continue it with --resume, or choose another --out")
    else:
        with writing(out):
            (out / "history.csv").unlink(missing_ok=True)
        write(record, lambda path: path.write_text(json.dumps(asked, indent=1)))


def _differences(before: dict[str, Any], asked: dict[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    """Settings that differ from those *before*, named as on the command line."""
    before, asked = _whole(before, defaults), _whole(asked, defaults)
    before.setdefault("data_hash", asked.get("data_hash"))  # older runs have none
    found: dict[str, None] = {}
    for key in [*asked, *(before.keys() - asked.keys())]:
        if before.get(key) == asked.get(key):
            continue
        if key == "recipe":
            then, now = _flat(before[key]), _flat(asked[key])
            others = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
            found[f"recipe ({', '.join(others)})"] = None
        else:
            found[_WORDS.get(key, key)] = None
    return list(found)


_WORDS = {
    "training_rows": "data", "data_hash": "data", "start_from": "--start-from", "teachers": "--teachers",
    "weights": "--weights", "labels": "--own-labels",
}  # fmt: skip


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    augment = {f"augment.{key}": value for key, value in recipe.get("augment", {}).items()}
    return {**recipe, **augment, "augment": None}


def _whole(asked: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """*asked* plus the *defaults* of newer recipe keys, so that older runs can resume."""
    recipe = {**defaults, "data": [], **asked.get("recipe", {})}
    if "augment" in defaults:
        recipe["augment"] = {**defaults["augment"], **recipe["augment"]}
    return {**asked, "recipe": recipe}


def data_hash(dataset: Dataset) -> str:
    """Identifies the rows of Training and PublicTest by their pictures, labels and votes.

    Integers only, not the targets derived from them: these are the same on every machine.
    """
    digest = hashlib.blake2b(digest_size=8)
    for usage in ("Training", "PublicTest"):
        rows = dataset.split(usage)
        digest.update(f"{usage} {len(rows)}".encode())
        for array in (rows.images, rows.labels, rows.votes):
            digest.update(np.ascontiguousarray(array, np.uint8).tobytes())
    return digest.hexdigest()


def of_run(model: Path) -> Any:
    """The settings of the run that contains *model*, as its weights' provenance; else the file's name."""
    record = model.with_name(RECORD)
    return read_record(record) if os.path.exists(record) else model.name


def append(out: Path, row: Sequence[float], columns: Sequence[str] = COLUMNS) -> None:
    """Append *row* to the history, replacing lines of the same and later epochs."""
    kept = [line for line in _lines(out, columns) if int(line["epoch"]) < row[0]]
    line = dict(zip(columns, [row[0], *(f"{value:.6g}" for value in row[1:])], strict=True))

    def save(target: Path) -> None:
        with target.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows([*kept, line])

    write(out / "history.csv", save)


def accuracies(out: Path, recipe: Recipe, done: int) -> list[float]:
    """The deciding accuracy of each of the first *done* epochs."""
    lines = [line for line in _lines(out) if int(line["epoch"]) <= done]
    if len(lines) != done:
        raise EdgeError(
            f"{out}/history.csv: {len(lines)} epochs, the checkpoint has {done}; use another --out"
        )
    return [judged(float(line["accuracy_fer2013"]), float(line["accuracy_plus7"]), recipe) for line in lines]


def judged(fer2013: float, plus7: float, recipe: Recipe) -> float:
    """The deciding accuracy; FER2013's if PublicTest has no votes."""
    return plus7 if recipe.judged_by == "plus7" and not np.isnan(plus7) else fer2013


def _lines(out: Path, columns: Sequence[str] = COLUMNS) -> list[dict[str, str]]:
    path = out / "history.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        for number, line in enumerate(lines, 2):
            if tuple(line) != tuple(columns) or None in line.values():
                raise ValueError(f"line {number}: expected the columns {', '.join(columns)}")
            int(line["epoch"])
            for value in line.values():
                float(value)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise EdgeError(f"{path}: not the history of a run: {error}; use another --out") from error
    return lines


def save_checkpoint(out: Path, variables: Sequence, averages: Sequence, done: int) -> None:
    """Save all variables (weights, batch statistics, random states, momenta, step count) and averages."""
    arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    arrays |= {f"a{i}": keras.ops.convert_to_numpy(average) for i, average in enumerate(averages)}

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, done=done, **arrays)

    write(out / "checkpoint.npz", save)


def restore_checkpoint(out: Path, variables: Sequence, averages: Sequence) -> int:
    """Restore *variables* and *averages*; returns the number of finished epochs."""
    path = out / "checkpoint.npz"
    if not path.exists():  # killed in the first epoch
        return 0
    try:
        with path.open("rb") as file, np.load(file) as archive:
            for letter, some in (("v", variables), ("a", averages)):
                for i, variable in enumerate(some):
                    variable.assign(archive[f"{letter}{i}"])
            return int(archive["done"])
    except Exception as error:  # on damaged bytes numpy and zipfile raise nearly anything
        raise EdgeError(
            f"{path}: not a valid checkpoint of this network ({first_line(error)}); use another --out"
        ) from error


def save_calibration(out: Path, rows: Rows, recipe: Recipe) -> None:
    """Save some Training pictures, balanced over labels, and all of PublicTest, as npz."""
    write(out / "calibration.npz", partial(_save_calibration, rows, recipe))


def _save_calibration(rows: Rows, recipe: Recipe, path: Path) -> None:
    random = np.random.default_rng(recipe.seed)
    labels = rows.targets.argmax(1)
    count = rows.targets.shape[1]
    share = CALIBRATION // count
    of_label = [random.permutation(np.flatnonzero(labels == i))[:share] for i in range(count)]
    chosen = np.sort(np.concatenate(of_label))
    validation = rows.validation
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            images=np.concatenate([rows.images[chosen], validation.images]),
            labels=np.concatenate([labels[chosen], validation.labels]),
            usage=np.repeat(np.array([0, 1], np.uint8), [len(chosen), len(validation)]),
            ferplus=np.concatenate([np.zeros((len(chosen), len(data.VOTES)), np.uint8), validation.votes]),
            **({} if validation.seven else {OWN_NAMES: np.array(validation.names)}),
        )


def write(path: Path, save: Callable[[Path], object]) -> None:
    """*save* to a temporary file and rename it to *path*: a kill leaves the old file or the new one."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        with writing(path):
            save(partial)
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()  # frees a full disk


def derive_run(out: Path, network: keras.Model, record: Mapping[str, Any], copied: Path) -> None:
    """Write a run made from another without training: *network*, *record*, and that run's file *copied*."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    write(out / RUN_FILE, network.save)
    write(out / copied.name, partial(shutil.copyfile, copied))
    write(out / RECORD, lambda path: path.write_text(json.dumps(record, indent=1)))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise a one-line EdgeError if *path* cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise EdgeError(f"{path}: {reason}; expected a writable folder for --out") from error
