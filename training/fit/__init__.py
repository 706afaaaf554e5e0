"""Training, top to bottom: rows, targets, batches, steps, one checkpoint per epoch, the run's files.

A run is a folder: ``recipe.json`` (its settings), ``history.csv`` (a line per epoch), ``checkpoint.npz``
(everything needed to resume), ``model.keras`` (averaged weights of the last or the best epoch),
``epoch-N.keras`` (those of the last few, if requested), ``calibration.npz`` (for ``quantize --data``) and
``tensorboard/``. An epoch's data depends only on seed and epoch, so a resumed run follows the same curve.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from edge.types import EdgeError
from training import data
from training.data import Dataset
from training.fit import board, records, schedule
from training.fit.batches import Rows, epoch_of, select, workers
from training.fit.precision import available, computing_in
from training.fit.steps import steps
from training.networks import build
from training.recipe import Recipe
from training.runs import load, model_file

AVERAGE_EVERY = 8  # steps between updates of the averaged weights


def fit(
    network: str,
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    start_from: Path | None = None,
    teachers: Sequence[Path] = (),
    weights: str = "none",
    processes: int = 0,
) -> keras.Model:
    """Train *network* on *dataset* by *recipe* and write the run's files to *out*; returns the kept network.

    Trains on the Training rows and evaluates on PublicTest after each epoch. With *resume* it continues after
    the last epoch in *out*; EdgeError if that run had another network or recipe. *start_from* is a run of the
    same network to take initial weights from; *teachers* are runs to distil: folders or model.keras files.
    *weights*: see `build`. *processes* augment the pictures, or a thread if 0; the batches are the same.
    """
    rows = select(dataset, recipe)
    count = len(rows.images) // recipe.batch
    if not count:
        raise EdgeError(f"{len(rows.images)} usable Training rows; expected {recipe.batch} (a batch) or more")
    asked: dict[str, Any] = {
        "network": network, "recipe": recipe.values(), "training_rows": len(rows.images),
        "data_hash": records.data_hash(dataset),
    }  # fmt: skip
    if not dataset.seven:
        asked["labels"] = list(dataset.names)
    # The provenance of initial weights and teachers is part of this run's: all of it goes into the card.
    if start_from is not None:
        start_from = model_file(start_from)
        asked["start_from"] = records.of_run(start_from)
    if weights != "none":
        asked["weights"] = Path(weights).name
    files = [model_file(path) for path in teachers]
    if files:
        asked["teachers"] = [records.of_run(file) for file in files]
    taught_by = _teachers(files, recipe, len(dataset.names))

    keras.utils.set_random_seed(recipe.seed)
    first = "none" if os.path.exists(out / "checkpoint.npz") else weights
    model = build(network, recipe.dropout, first, len(dataset.names))
    if available(recipe.precision) == "bfloat16":
        model = computing_in("bfloat16", model)
    optimizer = schedule.optimizer(recipe, count)
    optimizer.build(model.trainable_variables)
    if start_from is not None:
        model.set_weights(_weights(start_from, model))
    with records.open_run(out, asked, resume, Recipe().values()):
        records.save_calibration(out, rows, recipe)
        cost = f"{model.count_params():,} parameters, {len(rows.images):,} rows, {count} steps per epoch"
        _say(f"{network}: {cost}")
        _train(model, optimizer, taught_by, rows, recipe, out, resume, processes)
        return load(out / "model.keras")


def _train(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    teachers: Sequence[keras.Model],
    rows: Rows,
    recipe: Recipe,
    out: Path,
    resume: bool,
    processes: int,
) -> None:
    """Run the epochs missing in *out*, and write each one's files."""
    count = len(rows.images) // recipe.batch
    averaged = computing_in("float32", model)  # evaluated and saved
    state = [*model.variables, *optimizer.variables]
    done = records.restore_checkpoint(out, state, averaged.weights) if resume else 0
    accuracies = records.accuracies(out, recipe, done)
    do = steps(model, averaged, optimizer, teachers, recipe)
    board.warn_if_missing()

    with workers(rows, recipe, processes) as pipes:
        for epoch in range(done, recipe.epochs):
            if schedule.over(accuracies, recipe):
                _say(f"stopped: epoch {schedule.best(accuracies) + 1} was the best of {epoch}")
                break
            began, losses = time.monotonic(), []
            # Torch's dropout uses a generator that checkpoints do not include.
            keras.utils.set_random_seed(recipe.seed + epoch)
            if recipe.schedule == "plateau":
                optimizer.learning_rate.assign(schedule.plateau(accuracies, recipe))
            title = f"epoch {epoch + 1}/{recipe.epochs}"
            with tqdm(total=count, desc=title, disable=None, leave=False) as bar:
                for step, (images, targets) in enumerate(epoch_of(rows, recipe, epoch, pipes)):
                    losses.append(do.step(images, targets))
                    if step % AVERAGE_EVERY == 0 and recipe.ema:
                        do.average(_share(recipe.ema, epoch * count + step))
                    bar.update()
            if not recipe.ema:
                do.average(0.0)  # the weights as they are now
            do.settle()
            loss = float(np.mean(keras.ops.convert_to_numpy(keras.ops.stack(losses))))
            if not math.isfinite(loss):
                raise EdgeError(f"{out}: the loss of epoch {epoch + 1} is not finite; lower learning_rate")
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            measured = _accuracies(averaged, rows.validation)
            accuracies.append(records.judged(*measured, recipe))
            if recipe.keep == "last" or schedule.best(accuracies) == epoch:
                records.write(out / "model.keras", averaged.save)
            if epoch >= recipe.epochs - recipe.snapshots:
                records.write(out / f"epoch-{epoch + 1:03d}.keras", averaged.save)
            row = (epoch + 1, loss, rate, *measured, time.monotonic() - began)
            # History before checkpoint: after a kill in between, the epoch repeats and rewrites its line.
            records.append(out, row)
            records.save_checkpoint(out, state, averaged.weights, epoch + 1)
            with records.writing(out / "tensorboard"):
                figures = dict(zip(records.COLUMNS[1:], row[1:], strict=True))
                board.log(out / "tensorboard", epoch + 1, figures)
            _say(
                f"epoch {epoch + 1:3d}  loss {loss:.3f}  fer2013 {100 * measured[0]:.2f} %  "
                f"plus7 {100 * measured[1]:.2f} %  {row[-1]:.0f} s"
            )


def _share(momentum: float, step: int) -> float:
    """Fraction of the average that an update keeps: an exponential mean with a shorter window at first.

    Batch statistics are averaged too: those of the live weights do not fit the averaged ones. (Keras's own
    average, of weights only and with a fixed window, had reached 33.7 % after four epochs, this one 50.4; the
    first run also used more blur.)
    """
    return min(momentum, (1 + step) / (10 + step)) ** AVERAGE_EVERY


def _accuracies(model: keras.Model, validation: Dataset) -> tuple[float, float]:
    """Accuracy (0..1) on FER2013's labels and on the FER+ majority (nan without votes)."""
    pixels = validation.images[..., None].astype(np.float32)
    chosen = model.predict(pixels, batch_size=256, verbose=0).argmax(1)
    truth = data.majority(validation.votes)
    known = truth >= 0
    plus7 = float((chosen == truth)[known].mean()) if known.any() else math.nan
    return float((chosen == validation.labels).mean()), plus7


def _teachers(files: Sequence[Path], recipe: Recipe, labels: int) -> list[keras.Model]:
    if files and not recipe.distill:
        raise EdgeError("--teachers: unused by the recipe (distill = 0); expected 0.5 to 1")
    if recipe.distill and not files:
        raise EdgeError(f"the recipe distils (distill = {recipe.distill:g}); expected --teachers RUN,RUN")
    found = [load(file) for file in files]
    ours = (None, 48, 48, 1), (None, labels)
    for file, teacher in zip(files, found, strict=True):
        given, made = teacher.input_shape, teacher.output_shape
        if (given, made) != ours:
            raise EdgeError(f"{file}: takes {given}, gives {made}; expected {ours[0]} and {ours[1]}")
    return found


def _weights(path: Path, model: keras.Model) -> list[np.ndarray]:
    """The weights of the network in *path*, which must have *model*'s architecture."""
    weights: list[np.ndarray] = load(path).get_weights()
    if [w.shape for w in weights] != [w.shape for w in model.get_weights()]:
        raise EdgeError(f"{path}: another architecture than {model.name}; expected the same for --start-from")
    return weights


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
