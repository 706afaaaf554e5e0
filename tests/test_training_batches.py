"""Training batches: determined by seed, epoch and position."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.types import EdgeError
from training.fit.batches import Batch, Rows, batches, epoch_of, workers
from training.recipe import Augment, Recipe

STILL = Augment(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
RECIPE = Recipe(batch=16, seed=5)


def made_up(count: int) -> Rows:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 48, 48), np.uint8)
    return Rows(images, np.eye(7, dtype=np.float32)[np.arange(count) % 7], validation=None)  # type: ignore[arg-type]


ROWS = made_up(100)


def same(some: list[Batch], others: list[Batch]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(a, b)
        for one, other in zip(some, others, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def test_batch_is_pictures_and_targets_and_an_incomplete_one_is_dropped() -> None:
    found = list(batches(ROWS, RECIPE, 0))
    assert len(found) == 6
    assert [(part.shape, part.dtype) for part in found[0]] == [
        ((16, 48, 48, 1), np.uint8),
        ((16, 7), np.float32),
    ]


def test_batches_depend_only_on_epoch_and_seed() -> None:
    first = list(batches(ROWS, RECIPE, 0))
    assert same(first, list(batches(ROWS, RECIPE, 0)))
    assert not same(first, list(batches(ROWS, RECIPE, 1)))
    assert not same(first, list(batches(ROWS, replace(RECIPE, seed=6), 0)))


def test_batches_are_the_same_for_any_number_of_processes() -> None:
    alone = [list(batches(ROWS, RECIPE, epoch)) for epoch in (0, 1)]
    assert same(alone[0], list(epoch_of(ROWS, RECIPE, 0, ())))
    with workers(ROWS, RECIPE, 3) as pipes:
        shared = [list(epoch_of(ROWS, RECIPE, epoch, pipes)) for epoch in (0, 1)]
    assert same(alone[0], shared[0])
    assert same(alone[1], shared[1])


def test_failed_worker_is_reported_in_one_line() -> None:
    with workers(ROWS, RECIPE, 1) as pipes:
        list(epoch_of(ROWS, RECIPE, 0, pipes))
        pipes[0].send("no epoch")  # makes it fail
        with pytest.raises(EdgeError, match="was killed"):
            list(epoch_of(ROWS, RECIPE, 1, pipes))


def test_mixup_blends_pictures_and_targets_by_the_same_share() -> None:
    images = np.where(np.arange(64) % 2, 200, 0).astype(np.uint8)[:, None, None] * np.ones((48, 48), np.uint8)
    rows = Rows(images, np.eye(7, dtype=np.float32)[np.arange(64) % 2], validation=None)  # type: ignore[arg-type]
    recipe = Recipe(batch=64, mixup=0.4, augment=STILL)
    ((mixed, targets),) = batches(rows, recipe, 0)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed[:, 0, 0, 0] / 200, targets[:, 1], atol=0.003)
    assert 0.05 < (targets.max(1) < 0.99).mean() < 0.95  # adjacent rows often share a label
    assert not same(list(batches(rows, recipe, 0)), list(batches(rows, replace(recipe, mixup=0.0), 0)))


def test_balance_shows_rare_labels_more_often() -> None:
    labels = np.repeat([0, 3], [700, 7000])
    images = np.zeros((7700, 48, 48), np.uint8)
    rows = Rows(images, np.eye(7, dtype=np.float32)[labels], validation=None)  # type: ignore[arg-type]
    shares = []
    for balance in (0.0, 0.5, 1.0):
        recipe = Recipe(batch=770, balance=balance, augment=STILL)
        shares.append(
            float(np.concatenate([targets for _, targets in batches(rows, recipe, 0)])[:, 0].mean())
        )
    assert shares == [pytest.approx(1 / 11), pytest.approx(0.24, abs=0.02), pytest.approx(0.5, abs=0.02)]
