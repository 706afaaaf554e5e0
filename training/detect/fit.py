"""Training a detector, top to bottom: photos, crops, steps, one checkpoint per epoch, the run's files.

A run is a folder like the classifier's: ``recipe.json``, ``history.csv``, ``checkpoint.npz``,
``model.keras`` (averaged weights). An epoch's data depends only on seed and epoch.
"""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from tqdm import tqdm

from edge.types import EdgeError
from quantize.figures.photos import Photo
from training.detect.crops import Crops
from training.detect.loss import detection_loss
from training.detect.network import build
from training.detect.promote import promote
from training.detect.recipe import DetectorRecipe
from training.detect.targets import cells
from training.fit import records
from training.fit.batches import ahead
from training.fit.steps import averaging
from training.runs import load, model_file

COLUMNS = ("epoch", "loss", "seconds")  # of history.csv
AVERAGE_EVERY = 4  # steps between updates of the averaged weights


def fit(
    photos: Sequence[Photo],
    recipe: DetectorRecipe,
    out: Path,
    *,
    resume: bool = False,
    start_from: Path | None = None,
) -> keras.Model:
    """Train the detector on those of *photos* that are not held out, and write the run's files to *out*.

    With *resume* it continues after the last epoch in *out*; EdgeError if that run had other settings.
    *start_from* is a run to take initial weights from.
    """
    training = [photo for photo in photos if not photo.held_out]
    if not any(len(photo.boxes) for photo in training):
        raise EdgeError("no training photo has a face")
    if recipe.promote and start_from is None:
        raise EdgeError(f"the recipe promotes (promote = {recipe.promote:g}); expected --start-from RUN")
    count = recipe.crops // recipe.batch
    asked: dict[str, Any] = {
        "network": "edge-face", "recipe": recipe.values(), "photos": len(training),
        "data_hash": _hash(training),
    }  # fmt: skip
    if start_from is not None:
        start_from = model_file(start_from)
        asked["start_from"] = records.of_run(start_from)
    keras.utils.set_random_seed(recipe.seed)
    cv2.setNumThreads(1)
    cv2.setRNGSeed(recipe.seed)
    model, averaged = build(), build()
    if start_from is not None:
        model.set_weights(load(start_from).get_weights())
    averaged.set_weights(model.get_weights())
    optimizer = _optimizer(recipe, count)
    optimizer.build(model.trainable_variables)
    with records.open_run(out, asked, resume, DetectorRecipe().values()):
        state = [*model.variables, *optimizer.variables]
        done = records.restore_checkpoint(out, state, averaged.weights) if resume else 0
        parameters = model.count_params()
        _say(f"edge-face: {parameters:,} parameters, {len(training):,} photos, {count} steps per epoch")
        if recipe.promote:
            before = sum(len(photo.boxes) for photo in training)
            training = promote(training, load(start_from), recipe.promote)
            faces = sum(len(photo.boxes) for photo in training)
            _say(f"boxes to ignore that became faces: {faces - before:,}, of {faces:,} faces")
        crops = Crops(training, recipe)
        step, average = _steps(model, averaged, optimizer, cells(recipe.side))
        for epoch in range(done, recipe.epochs):
            began, losses = time.monotonic(), []
            cv2.setRNGSeed(recipe.seed + epoch)  # for the sensor noise
            title = f"epoch {epoch + 1}/{recipe.epochs}"
            with tqdm(total=count, desc=title, disable=None, leave=False) as bar:
                for number, (images, wanted) in enumerate(ahead(crops.epoch(epoch))):
                    losses.append(step(images, wanted))
                    if number % AVERAGE_EVERY == 0:
                        taken = epoch * count + number
                        average(min(recipe.ema, (1 + taken) / (10 + taken)) ** AVERAGE_EVERY)
                    bar.update()
            loss = float(np.mean([float(value) for value in losses]))
            if not math.isfinite(loss):
                raise EdgeError(f"{out}: the loss of epoch {epoch + 1} is not finite; lower learning_rate")
            records.write(out / "model.keras", averaged.save)
            seconds = time.monotonic() - began
            records.append(out, (epoch + 1, loss, seconds), COLUMNS)
            _say(f"epoch {epoch + 1:3d}  loss {loss:.4f}  {seconds:.0f} s")
            records.save_checkpoint(out, state, averaged.weights, epoch + 1)
        return averaged


def _optimizer(recipe: DetectorRecipe, count: int) -> keras.optimizers.Optimizer:
    warmup = max(1, round(recipe.warmup_epochs * count))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, recipe.epochs * count - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
    )
    made = keras.optimizers.SGD(
        rate, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.weight_decay or None,
        global_clipnorm=10.0,
    )  # fmt: skip
    if recipe.weight_decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def _steps(
    model: keras.Model, averaged: keras.Model, optimizer: keras.optimizers.Optimizer, grid: np.ndarray
):
    import tensorflow as tf

    @tf.function
    def step(images, wanted):
        with tf.GradientTape() as tape:
            loss = detection_loss(model(tf.cast(images, tf.float32), training=True), wanted, grid)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return lambda images, wanted: step(tf.constant(images), tf.constant(wanted)), averaging(model, averaged)


def _hash(photos: Sequence[Photo]) -> str:
    """Identifies these photos and boxes."""
    digest = hashlib.blake2b(digest_size=8)
    for photo in photos:
        digest.update(photo.file.name.encode())
        for array in (photo.boxes, photo.eyes, photo.ignore):
            digest.update(np.ascontiguousarray(array, np.float32).tobytes())
    return digest.hexdigest()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
