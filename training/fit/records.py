"""A run's files: what was asked, the history, the checkpoint; a kill leaves each whole, old or new."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from edge.types import LABELS, EdgeError
from training import data
from training.fit.batches import Rows
from training.recipe import Recipe

CALIBRATION = 2000  # pictures of the Training split kept for quantize
COLUMNS = ("epoch", "loss", "learning_rate", "accuracy_fer2013", "accuracy_plus7", "seconds")


@contextlib.contextmanager
def open_run(out: Path, asked: dict[str, Any], resume: bool) -> Iterator[None]:
    """Have *out* as this run's folder; with *resume* it must hold one of which the same was *asked*.

    Nobody else has it at the same time: two would leave one's history beside the other's weights.
    """
    record = out / "recipe.json"
    if resume and not record.exists():
        raise EdgeError(f"{out}: no run to resume here; leave --resume out to start one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; --out needs a folder that can be written") from error
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system gives it back, also after a kill
        except BlockingIOError as error:
            raise EdgeError(f"{out}: another emotion-train is at work there; give another --out") from error
        except OSError:
            pass  # a file system without locks
        _begin(record, asked, resume)
        yield


def _begin(record: Path, asked: dict[str, Any], resume: bool) -> None:
    out = record.parent
    if resume:
        if _whole(json.loads(record.read_text())) != _whole(json.loads(json.dumps(asked))):
            raise EdgeError(f"{record}: another network, recipe or data than asked for; give another --out")
    elif (out / "checkpoint.npz").exists():
        raise EdgeError(f"{out}: holds a run; --resume goes on with it, another --out starts a new one")
    else:
        (out / "history.csv").unlink(missing_ok=True)
        write(record, lambda path: path.write_text(json.dumps(asked, indent=1)))


def _whole(asked: dict[str, Any]) -> dict[str, Any]:
    """*asked* with what later recipes know besides: a run from before they did can go on."""
    defaults = Recipe().values()
    recipe = asked.get("recipe", {})
    varied = {**defaults["augment"], **recipe.get("augment", {})}
    return {**asked, "recipe": {**defaults, **recipe, "augment": varied}}


def of_run(model: Path) -> Any:
    """What was asked of the run that *model* stands in: how its weights came about. Else the file's name."""
    record = model.with_name("recipe.json")
    return json.loads(record.read_text()) if record.exists() else model.name


def load(path: Path) -> keras.Model:
    """The network in *path*; EdgeError, in one line, where there is none."""
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: not a saved network: {str(error).splitlines()[0]}") from error


def append(out: Path, row: Sequence[float]) -> None:
    """*row* of the history, after the lines of earlier epochs only."""
    kept = [line for line in _lines(out) if int(line["epoch"]) < row[0]]
    told = dict(zip(COLUMNS, [row[0], *(f"{value:.6g}" for value in row[1:])], strict=True))

    def save(target: Path) -> None:
        with target.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows([*kept, told])

    write(out / "history.csv", save)


def accuracies(out: Path, recipe: Recipe, done: int) -> list[float]:
    """The accuracy that decides, of each of the first *done* epochs."""
    lines = [line for line in _lines(out) if int(line["epoch"]) <= done]
    if len(lines) != done:
        raise EdgeError(f"{out}/history.csv: {len(lines)} epochs, the checkpoint has {done}; start anew")
    return [judged(float(line["accuracy_fer2013"]), float(line["accuracy_plus7"]), recipe) for line in lines]


def judged(fer2013: float, plus7: float, recipe: Recipe) -> float:
    """The accuracy that decides; FER2013's where PublicTest has no votes."""
    return plus7 if recipe.judged_by == "plus7" and not np.isnan(plus7) else fer2013


def _lines(out: Path) -> list[dict[str, str]]:
    path = out / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def save_checkpoint(out: Path, variables: Sequence, averages: Sequence, done: int) -> None:
    """Every variable (weights, batch statistics, random states, momenta, the step count); the averages."""
    arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(variables)}
    arrays |= {f"a{i}": keras.ops.convert_to_numpy(average) for i, average in enumerate(averages)}

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, done=done, **arrays)

    write(out / "checkpoint.npz", save)


def restore_checkpoint(out: Path, variables: Sequence, averages: Sequence) -> int:
    """Epochs done; *variables* and *averages* become what they were after them."""
    path = out / "checkpoint.npz"
    if not path.exists():  # killed in its first epoch
        return 0
    try:
        with np.load(path) as archive:
            for letter, some in (("v", variables), ("a", averages)):
                for i, variable in enumerate(some):
                    variable.assign(archive[f"{letter}{i}"])
            return int(archive["done"])
    except (OSError, ValueError, KeyError) as error:
        raise EdgeError(f"{path}: not a checkpoint of this network: {error}; start anew") from error


def save_calibration(out: Path, rows: Rows, recipe: Recipe) -> None:
    """Some Training pictures, balanced over labels, and all of PublicTest, in the npz data form."""
    write(out / "calibration.npz", partial(_save_calibration, rows, recipe))


def _save_calibration(rows: Rows, recipe: Recipe, path: Path) -> None:
    random = np.random.default_rng(recipe.seed)
    labels = rows.targets.argmax(1)
    share = CALIBRATION // len(LABELS)
    of_label = [random.permutation(np.flatnonzero(labels == i))[:share] for i in range(len(LABELS))]
    chosen = np.sort(np.concatenate(of_label))
    validation = rows.validation
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            images=np.concatenate([rows.images[chosen], validation.images]),
            labels=np.concatenate([labels[chosen], validation.labels]),
            usage=np.repeat(np.array([0, 1], np.uint8), [len(chosen), len(validation)]),
            ferplus=np.concatenate([np.zeros((len(chosen), len(data.VOTES)), np.uint8), validation.votes]),
        )


def write(path: Path, save: Callable[[Path], object]) -> None:
    """*save* a file beside *path* and move it there: a kill leaves the old file or the new one."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    save(partial)
    os.replace(partial, path)
