"""One training step: its loss against hand-computed values, its effect, and the average of weights."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from training.fit import schedule
from training.fit.steps import loss_of, steps
from training.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STILL = Recipe(schedule="constant", learning_rate=0.5, momentum=0.0, weight_decay=0.0)
DISTIL = replace(STILL, distill=1.0, temperature=2.0)


def tiny(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    given = keras.Input((48, 48, 1))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(given))
    return keras.Model(given, layers.Softmax()(layers.Dense(7, name="logits")(x)))


def value(loss: object) -> float:
    return float(keras.ops.convert_to_numpy(loss))


def test_without_teachers_the_loss_is_the_cross_entropy() -> None:
    logits = np.log(np.array([[0.7, 0.3], [0.4, 0.6]], np.float32))
    targets = np.array([[1, 0], [0.5, 0.5]], np.float32)
    by_hand = (-np.log(0.7) - 0.5 * np.log(0.4) - 0.5 * np.log(0.6)) / 2
    assert value(loss_of(logits, targets, None, STILL)) == pytest.approx(by_hand, rel=1e-5)


def test_teacher_loss_is_weighted_and_softened_by_the_temperature() -> None:
    logits, targets = np.array([[0.0, 0.0]], np.float32), np.array([[1, 0]], np.float32)
    taught = np.array([[0.9, 0.1]], np.float32)  # softened by 2: 3 to 1
    hard, soft = np.log(2), 4 * np.log(2)  # times the temperature squared
    half = replace(DISTIL, distill=0.5)
    assert value(loss_of(logits, targets, taught, half)) == pytest.approx((hard + soft) / 2, rel=1e-5)
    same = np.log(taught)
    entropy = -4 * (0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert value(loss_of(same, targets, taught, DISTIL)) == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("taught", [False, True])
def test_steps_learn_the_targets_or_the_teachers(taught: bool) -> None:
    recipe = DISTIL if taught else STILL
    model, teachers = tiny(0), [tiny(1), tiny(2)] if taught else []
    optimizer = schedule.optimizer(recipe, 1)
    optimizer.build(model.trainable_variables)
    do = steps(model, tiny(0), optimizer, teachers, recipe)
    images = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 1), np.uint8)
    targets = np.eye(7, dtype=np.float32)[[2] * 8]
    for _ in range(60):
        do.step(images, targets)
    do.settle()
    found = model.predict(images.astype(np.float32), verbose=0)
    wanted = targets
    if taught:
        wanted = np.mean([t.predict(images.astype(np.float32), verbose=0) for t in teachers], axis=0)
    assert np.abs(found - wanted).max() < 0.05


def test_average_is_exponential_with_the_given_decay() -> None:
    model, averaged = tiny(0), tiny(1)
    before, live = averaged.get_weights(), model.get_weights()
    do = steps(model, averaged, schedule.optimizer(STILL, 1), [], STILL)
    do.average(0.75)
    do.settle()
    for mean, old, new in zip(averaged.get_weights(), before, live, strict=True):
        np.testing.assert_allclose(mean, 0.75 * old + 0.25 * new, rtol=1e-5, atol=1e-7)
