"""One compiled training step for any Keras backend, without waiting for its result.

Keras's own `train_on_batch` fetches the loss, and on JAX all weights, from the device at every step; here
nothing leaves the device before the end of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from training.recipe import Recipe

_LEAST = 1e-7  # lower bound of a probability before the logarithm


class Steps(NamedTuple):
    """A run's operations on its network."""

    step: Callable[[np.ndarray, np.ndarray], Any]  # images uint8, targets -> the loss, still on the device
    average: Callable[[float], None]  # updates the averaged weights, keeping this fraction
    settle: Callable[[], None]  # call before anything else reads the weights


def steps(
    model: keras.Model,
    averaged: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    teachers: Sequence[keras.Model],
    recipe: Recipe,
) -> Steps:
    """The steps of *model* with *optimizer*; *averaged* is a copy that holds the averaged weights."""
    # The loss takes logits: exact where probabilities round to 0 or 1.
    student = keras.Model(model.input, model.get_layer("logits").output)
    match keras.backend.backend():
        case "tensorflow":
            return _tensorflow(model, averaged, optimizer, teachers, recipe, student)
        case "jax":
            return _jax(model, averaged, optimizer, teachers, recipe, student)
        case _:
            return _torch(model, averaged, optimizer, teachers, recipe, student)


def loss_of(logits, targets, taught, recipe: Recipe):
    """Mean cross-entropy of *logits* (b, 7) to *targets*, and to the teachers' *taught* unless None.

    The softened part is multiplied by the squared temperature to keep the size of its gradients (Hinton et
    al. 2015).
    """
    loss = -ops.sum(targets * ops.log_softmax(logits), axis=-1)
    if taught is not None:
        soft = ops.softmax(ops.log(ops.maximum(taught, _LEAST)) / recipe.temperature)
        far = -ops.sum(soft * ops.log_softmax(logits / recipe.temperature), axis=-1)
        loss = (1 - recipe.distill) * loss + recipe.distill * recipe.temperature**2 * far
    return ops.mean(loss)


def _mean(answers: Sequence[Any]) -> Any:
    return ops.mean(ops.stack(answers), axis=0) if answers else None


def _tensorflow(model, averaged, optimizer, teachers, recipe, student) -> Steps:
    import tensorflow as tf

    @tf.function(jit_compile=False)
    def step(images, targets):
        images = tf.cast(images, tf.float32)
        taught = _mean([teacher(images, training=False) for teacher in teachers])
        with tf.GradientTape() as tape:
            loss = loss_of(student(images, training=True), targets, taught, recipe)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return Steps(
        lambda images, targets: step(tf.constant(images), tf.constant(targets)),
        averaging(model, averaged),
        lambda: None,
    )


def averaging(model: keras.Model, averaged: keras.Model) -> Callable[[float], None]:
    """On TensorFlow: updates the weights of *averaged* from *model*, keeping the given fraction."""
    import tensorflow as tf

    @tf.function
    def average(keep):
        for mean, weight in zip(averaged.weights, model.weights, strict=True):
            mean.assign(keep * mean + (1 - keep) * weight)

    return lambda keep: average(tf.constant(keep, tf.float32))


def _jax(model, averaged, optimizer, teachers, recipe, student) -> Steps:
    import jax

    # JAX functions are pure: between calls of `settle` the variables' values are in `held`.
    held: dict[str, Any] = {}
    parts = {
        "trained": student.trainable_variables,
        "other": student.non_trainable_variables,
        "optimizer": optimizer.variables,
        "averages": averaged.weights,
    }
    place = {id(v): (name, i) for name in ("trained", "other") for i, v in enumerate(parts[name])}
    averaged_from = [place[id(weight)] for weight in model.weights]
    taught_by = [
        ([v.value for v in teacher.trainable_variables], [v.value for v in teacher.non_trainable_variables])
        for teacher in teachers
    ]

    @partial(jax.jit, donate_argnums=0)
    def compiled(state, taught_by, images, targets):
        trained, other, optimizing = state
        images = images.astype("float32")
        answers = zip(teachers, taught_by, strict=True)
        taught = _mean([teacher.stateless_call(*its, images, training=False)[0] for teacher, its in answers])

        def lose(trained, other):
            logits, other = student.stateless_call(trained, other, images, training=True)
            return loss_of(logits, targets, taught, recipe), other

        (loss, other), gradients = jax.value_and_grad(lose, has_aux=True)(trained, other)
        trained, optimizing = optimizer.stateless_apply(optimizing, gradients, trained)
        return loss, (trained, other, optimizing)

    @partial(jax.jit, donate_argnums=0)
    def blended(averages, weights, keep):
        return [keep * mean + (1 - keep) * weight for mean, weight in zip(averages, weights, strict=True)]

    def hold() -> None:
        if not held:
            held.update({name: [v.value for v in variables] for name, variables in parts.items()})

    def step(images, targets):
        hold()
        state = held["trained"], held["other"], held["optimizer"]
        loss, (held["trained"], held["other"], held["optimizer"]) = compiled(
            state, taught_by, images, targets
        )
        return loss

    def average(keep: float) -> None:
        hold()
        weights = [held[name][i] for name, i in averaged_from]
        held["averages"] = blended(held["averages"], weights, keep)

    def settle() -> None:
        for name, values in held.items():
            for variable, value in zip(parts[name], values, strict=True):
                variable.assign(value)
        held.clear()

    return Steps(step, average, settle)


def _torch(model, averaged, optimizer, teachers, recipe, student) -> Steps:
    import torch

    def step(images, targets):
        images, targets = ops.cast(ops.convert_to_tensor(images), "float32"), ops.convert_to_tensor(targets)
        with torch.no_grad():
            taught = _mean([teacher(images, training=False) for teacher in teachers])
        loss = loss_of(student(images, training=True), targets, taught, recipe)
        student.zero_grad()
        loss.backward()
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in model.trainable_variables], model.trainable_variables)
        return loss.detach()

    @torch.no_grad()
    def average(keep: float) -> None:
        for mean, weight in zip(averaged.weights, model.weights, strict=True):
            mean.value.lerp_(weight.value, 1 - keep)

    return Steps(step, average, lambda: None)
