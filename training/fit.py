"""Training, top to bottom: rows, targets, batches, steps, one checkpoint an epoch, the run's files.

A run is a folder: ``recipe.json`` (what was asked), ``history.csv`` (a line an epoch),
``checkpoint.npz`` (everything needed to go on after a kill), ``model.keras`` (averaged weights of the
last epoch) and ``calibration.npz`` (what ``quantize --data`` needs). What an epoch sees depends
on seed and epoch alone, so a resumed run follows the curve it would have had.
"""

from __future__ import annotations

import csv
import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from edge.types import LABELS, EdgeError
from training import data
from training.augment import vary
from training.data import Dataset
from training.networks import build
from training.recipe import Recipe

CALIBRATION = 2000  # pictures of the Training split kept for quantize
AVERAGE_EVERY = 8  # steps between two takes of the weights' average: each costs a copy off the device
_COLUMNS = ("epoch", "loss", "learning_rate", "accuracy_fer2013", "accuracy_plus7", "seconds")


@dataclass(frozen=True)
class Rows:
    """What is trained on and what is chosen by."""

    images: np.ndarray  # (n, 48, 48) uint8
    targets: np.ndarray  # (n, 7) float32, each row sums to 1
    validation: Dataset


def fit(
    network: str,
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    resume: bool = False,
    start_from: Path | None = None,
) -> keras.Model:
    """Train *network* on *dataset* by *recipe*, leaving the run's files in *out*.

    Trains on the Training rows and evaluates on PublicTest after each epoch. With *resume* it goes on
    after the last epoch that *out* holds; EdgeError where that is another network's or recipe's.
    *start_from* is a model.keras of the same network whose weights are the first ones.
    """
    rows = select(dataset, recipe)
    steps = len(rows.images) // recipe.batch
    if not steps:
        raise EdgeError(f"{len(rows.images)} usable Training rows, fewer than one batch of {recipe.batch}")
    asked = {"network": network, "recipe": recipe.values(), "training_rows": len(rows.images)}
    if start_from is not None:
        # How those weights came about belongs to how these do: the whole story goes into the card.
        record = start_from.with_name("recipe.json")
        asked["start_from"] = json.loads(record.read_text()) if record.exists() else str(start_from.name)
    _open_run(out, asked, resume)
    _write(out / "calibration.npz", partial(_save_calibration, rows, recipe))

    keras.utils.set_random_seed(recipe.seed)
    model = build(network, recipe.dropout)
    model.compile(_optimizer(recipe, steps), loss="categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    if start_from is not None:
        model.set_weights(_weights(start_from, model))
    averages = model.get_weights()
    done = _restore(model, averages, out) if resume else 0
    _say(f"{network}: {model.count_params():,} parameters, {len(rows.images):,} rows, {steps} steps an epoch")

    for epoch in range(done, recipe.epochs):
        began, losses = time.monotonic(), []
        with tqdm(total=steps, desc=f"epoch {epoch + 1}/{recipe.epochs}", disable=None, leave=False) as bar:
            for step, (images, targets) in enumerate(_ahead(batches(rows, recipe, epoch))):
                model.reset_metrics()  # the loss of this batch, not a mean since the last reset
                losses.append(float(model.train_on_batch(images, targets)))
                if step % AVERAGE_EVERY == 0:
                    _average(averages, model.get_weights(), recipe.ema, epoch * steps + step)
                bar.update()
        loss = sum(losses) / steps
        if not math.isfinite(loss):
            raise EdgeError(f"{out}: the loss of epoch {epoch + 1} is not finite; lower learning_rate")
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        live = model.get_weights()
        model.set_weights(averages)
        measured = _accuracies(model, rows.validation)
        _write(out / "model.keras", model.save)
        model.set_weights(live)
        row = (epoch + 1, loss, rate, *measured, time.monotonic() - began)
        # History before checkpoint: a kill in between repeats the epoch and rewrites its line.
        _append(out / "history.csv", row)
        _write(out / "checkpoint.npz", partial(_save, model, averages, epoch + 1))
        _say(
            f"epoch {epoch + 1:3d}  loss {row[1]:.3f}  fer2013 {100 * row[3]:.2f} %  "
            f"plus7 {100 * row[4]:.2f} %  {row[5]:.0f} s"
        )
    return keras.models.load_model(out / "model.keras", compile=False)


def select(dataset: Dataset, recipe: Recipe) -> Rows:
    """The rows to train on with their targets, and PublicTest; what is left out is told on stderr.

    Left out of Training: blank pictures, pictures that also stand in PublicTest, and, where FER+ is
    part of the target, rows without a usable vote.
    """
    training, validation = dataset.split("Training"), dataset.split("PublicTest")
    if not len(training):
        raise EdgeError("no Training rows in the data; a folder train/ or the usage Training would do")
    if not len(validation):
        raise EdgeError("no PublicTest rows in the data; a folder validation/ or that usage would do")
    blank = data.blank(training.images)
    leaked = data.recurring(training.images, validation.images) & ~blank
    drop, told = blank | leaked, [f"{blank.sum()} blank", f"{leaked.sum()} whose pixels recur in PublicTest"]
    soft = data.distributions(training.votes)
    if recipe.ferplus:
        if not training.has_votes:
            raise EdgeError("the recipe wants FER+ (ferplus > 0), the data has no votes; --ferplus FILE")
        voteless = (soft.sum(1) == 0) & ~drop
        drop |= voteless
        told.append(f"{voteless.sum()} without a usable FER+ vote")
    _say(f"Training rows left out of {len(training):,}: {', '.join(told)}")
    hard = np.eye(len(LABELS), dtype=np.float32)[training.labels]
    targets = (1 - recipe.ferplus) * hard + recipe.ferplus * soft
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / len(LABELS)
    return Rows(training.images[~drop], targets[~drop].astype(np.float32), validation)


def batches(rows: Rows, recipe: Recipe, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """One epoch of (images (b, 48, 48, 1) float32 0..255, targets (b, 7)); the odd rest is left out."""
    random = np.random.default_rng((recipe.seed, epoch))
    order = random.permutation(len(rows.images))
    if recipe.balance:
        labels = rows.targets.argmax(1)
        chances = np.bincount(labels, minlength=len(LABELS))[labels] ** -recipe.balance
        order = random.choice(len(labels), len(labels), p=chances / chances.sum())
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        some = order[start : start + recipe.batch]
        images = vary(rows.images[some], recipe.augment, random)
        yield images[..., None].astype(np.float32), rows.targets[some]


def _ahead(items: Iterator, depth: int = 4) -> Iterator:
    """*items*, made by a thread up to *depth* ahead, so that a step need not wait for its pictures."""
    slots: queue.Queue = queue.Queue(depth)
    end = object()

    def work() -> None:
        try:
            for item in items:
                slots.put(item)
            slots.put(end)
        except Exception as error:  # the consumer's to raise
            slots.put(error)

    threading.Thread(target=work, daemon=True, name="batches").start()
    while (item := slots.get()) is not end:
        if isinstance(item, Exception):
            raise item
        yield item


def _optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    warmup = min(round(recipe.warmup_epochs * steps), recipe.epochs * steps - 1)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else recipe.learning_rate, recipe.epochs * steps - warmup,
        warmup_target=recipe.learning_rate if warmup else None, warmup_steps=warmup,
    )  # fmt: skip
    optimizer = keras.optimizers.SGD(
        rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=recipe.weight_decay or None
    )
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _average(averages: list[np.ndarray], weights: list[np.ndarray], momentum: float, step: int) -> None:
    """Move *averages* towards *weights*: an exponential mean with *momentum* a step, shorter at first.

    Batch statistics are averaged too: those of the live weights do not fit the averaged ones. (Keras's
    own average, weights alone and no shorter at first, stood at 33.7 % after four epochs, this at 50.4;
    the first run also blurred more.)
    """
    keep = min(momentum, (1 + step) / (10 + step)) ** AVERAGE_EVERY
    for average, weight in zip(averages, weights, strict=True):
        average *= keep
        average += (1 - keep) * weight


def _accuracies(model: keras.Model, validation: Dataset) -> tuple[float, float]:
    """Share of rows right, on FER2013's labels and on the FER+ majority (nan without votes)."""
    pixels = validation.images[..., None].astype(np.float32)
    chosen = model.predict(pixels, batch_size=256, verbose=0).argmax(1)
    truth = data.majority(validation.votes)
    known = truth >= 0
    plus7 = float((chosen == truth)[known].mean()) if known.any() else math.nan
    return float((chosen == validation.labels).mean()), plus7


# --- the run's files -------------------------------------------------------------------------------


def _open_run(out: Path, asked: dict, resume: bool) -> None:
    record = out / "recipe.json"
    if resume:
        if not record.exists():
            raise EdgeError(f"{out}: no run to resume here; leave --resume out to start one")
        if json.loads(record.read_text()) != json.loads(json.dumps(asked)):
            raise EdgeError(f"{record}: another network, recipe or data than asked for; give another --out")
    elif (out / "checkpoint.npz").exists():
        raise EdgeError(f"{out}: holds a run; --resume goes on with it, another --out starts a new one")
    else:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EdgeError(f"{out}: {error.strerror}; --out needs a folder that can be written") from error
        (out / "history.csv").unlink(missing_ok=True)
        _write(record, lambda path: path.write_text(json.dumps(asked, indent=1)))


def _weights(path: Path, model: keras.Model) -> list[np.ndarray]:
    """The weights of the network in *path*, which must be *model*'s own kind."""
    try:
        weights: list[np.ndarray] = keras.models.load_model(path, compile=False).get_weights()
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: not a saved network: {str(error).splitlines()[0]}") from error
    if [w.shape for w in weights] != [w.shape for w in model.get_weights()]:
        raise EdgeError(f"{path}: another network than {model.name}; --start-from needs one of the same kind")
    return weights


def _save(model: keras.Model, averages: list[np.ndarray], done: int, path: Path) -> None:
    """Every variable: weights, batch statistics, random states, momenta, the step count; the averages."""
    arrays = {f"v{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(_state(model))}
    arrays |= {f"a{i}": average for i, average in enumerate(averages)}
    with path.open("wb") as file:
        np.savez(file, done=done, **arrays)


def _restore(model: keras.Model, averages: list[np.ndarray], out: Path) -> int:
    """Epochs done; *model*, its optimizer and *averages* become what they were after them."""
    path = out / "checkpoint.npz"
    if not path.exists():  # killed in its first epoch
        return 0
    try:
        with np.load(path) as archive:
            for i, variable in enumerate(_state(model)):
                variable.assign(archive[f"v{i}"])
            averages[:] = [archive[f"a{i}"] for i in range(len(averages))]
            return int(archive["done"])
    except (OSError, ValueError, KeyError) as error:
        raise EdgeError(f"{path}: not a checkpoint of this network: {error}; start anew") from error


def _state(model: keras.Model) -> list:
    metrics = {id(variable) for variable in model.metrics_variables}
    return [v for v in model.variables if id(v) not in metrics] + list(model.optimizer.variables)


def _append(path: Path, row: tuple) -> None:
    """*row* of the history, after the lines of earlier epochs only."""
    kept = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [line for line in list(csv.reader(file))[1:] if int(line[0]) < row[0]]

    def save(target: Path) -> None:
        with target.open("w", newline="") as file:
            csv.writer(file).writerows([_COLUMNS, *kept, [row[0], *(f"{value:.6g}" for value in row[1:])]])

    _write(path, save)


def _save_calibration(rows: Rows, recipe: Recipe, path: Path) -> None:
    """Some Training pictures, balanced over labels, and all of PublicTest, in the npz data form."""
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


def _write(path: Path, save) -> None:
    """*save* a file beside *path* and move it there: a kill leaves the old file or the new one."""
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    save(partial)
    os.replace(partial, path)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
