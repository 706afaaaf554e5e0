"""Learning rate, early stopping and the choice of the epoch to keep.

Plateau, early stopping and the best epoch are functions of the accuracies so far, which are in the run's
history: a resumed run needs no further state.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from training.recipe import Recipe


def optimizer(recipe: Recipe, steps: int) -> keras.optimizers.Optimizer:
    """The recipe's optimizer for *steps* steps per epoch; for ``plateau``, see `plateau`."""
    rate: float | keras.optimizers.schedules.LearningRateSchedule = recipe.learning_rate
    if recipe.schedule == "cosine":
        warmup = min(round(recipe.warmup_epochs * steps), recipe.epochs * steps - 1)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else recipe.learning_rate, recipe.epochs * steps - warmup,
            warmup_target=recipe.learning_rate if warmup else None, warmup_steps=warmup,
        )  # fmt: skip
    decay = recipe.weight_decay or None
    if recipe.optimizer == "adam":
        made = keras.optimizers.Adam(rate, beta_1=recipe.momentum, weight_decay=decay)
    else:
        made = keras.optimizers.SGD(
            rate, momentum=recipe.momentum, nesterov=recipe.momentum > 0, weight_decay=decay
        )
    if decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def plateau(accuracies: Sequence[float], recipe: Recipe) -> float:
    """The rate after epochs with *accuracies*: reduced by the factor after patience epochs of no gain."""
    best, waited, rate = float("-inf"), 0, recipe.learning_rate
    for accuracy in accuracies:
        best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
        if waited == recipe.plateau_patience:
            waited, rate = 0, max(rate * recipe.plateau_factor, recipe.plateau_least)
    return rate


def best(accuracies: Sequence[float]) -> int:
    """Index of the best epoch, the first if several are equal."""
    return max(range(len(accuracies)), key=accuracies.__getitem__)


def over(accuracies: Sequence[float], recipe: Recipe) -> bool:
    """Whether early stopping ends the run after epochs with *accuracies*."""
    if not recipe.early_stopping or not accuracies:
        return False
    return len(accuracies) - 1 - best(accuracies) >= recipe.early_stopping
