"""Learning rate schedule, early stopping and the choice of epoch."""

import keras
import pytest

from training.fit import schedule
from training.recipe import Recipe


def test_plateau_cuts_the_rate_after_each_patience_without_progress() -> None:
    recipe = Recipe(schedule="plateau", learning_rate=0.1, plateau_patience=2, plateau_factor=0.5)
    seen = [0.3, 0.4, 0.4, 0.39, 0.38, 0.37, 0.5]
    rates = [schedule.plateau(seen[:epoch], recipe) for epoch in range(len(seen) + 1)]
    assert rates == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025]


def test_rate_never_falls_below_the_minimum() -> None:
    recipe = Recipe(schedule="plateau", learning_rate=0.1, plateau_patience=1, plateau_least=0.03)
    assert schedule.plateau([0.5, 0.5, 0.5, 0.5], recipe) == 0.03


def test_run_is_over_after_its_patience_without_progress() -> None:
    recipe = Recipe(early_stopping=2)
    assert not schedule.over([], recipe)
    assert not schedule.over([0.5, 0.4], recipe)
    assert schedule.over([0.5, 0.4, 0.5], recipe)
    assert not schedule.over([0.5, 0.4, 0.6], recipe)
    assert not schedule.over([0.5] * 100, Recipe())


def test_first_of_equal_epochs_is_the_best() -> None:
    assert schedule.best([0.2, 0.6, 0.6, 0.5]) == 1


def test_recipe_selects_optimizer_and_rate() -> None:
    sgd = schedule.optimizer(Recipe(epochs=2, warmup_epochs=0.5), steps=10)
    assert isinstance(sgd, keras.optimizers.SGD)
    rates = [float(keras.ops.convert_to_numpy(sgd._learning_rate(step))) for step in (0, 5, 20)]
    assert rates == [pytest.approx(0), pytest.approx(0.05), pytest.approx(0)]
    adam = schedule.optimizer(Recipe(optimizer="adam", schedule="constant", learning_rate=0.001), steps=10)
    assert isinstance(adam, keras.optimizers.Adam)
    assert float(adam.learning_rate) == pytest.approx(0.001)
