"""Makes batches from rows: drawn, augmented and mixed, the same for any number of processes.

Nothing here imports Keras, so augmentation processes start quickly and stay small.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

import cv2
import numpy as np

from edge.types import EdgeError
from training import data
from training.data import Dataset
from training.fit.augment import vary
from training.recipe import Recipe

T = TypeVar("T")
Batch = tuple[np.ndarray, np.ndarray]  # images (b, 48, 48, 1) uint8, targets (b, labels) float32


@dataclass(frozen=True)
class Rows:
    """Training rows with targets, and the validation rows."""

    images: np.ndarray  # (n, 48, 48) uint8
    targets: np.ndarray  # (n, labels) float32, each row sums to 1
    validation: Dataset


def select(dataset: Dataset, recipe: Recipe) -> Rows:
    """The rows to train on with their targets, and PublicTest; reports skipped rows on stderr.

    Skipped Training rows: blank pictures, pictures that also occur in PublicTest, and, if FER+ is part of the
    target, rows without a usable vote.
    """
    training, validation = dataset.split("Training"), dataset.split("PublicTest")
    if not len(training):
        raise EdgeError("no Training rows in the data; expected a folder train/ or usage Training")
    if not len(validation):
        raise EdgeError("no PublicTest rows in the data; expected a folder validation/ or that usage")
    blank = data.blank(training.images)
    leaked = data.recurring(training.images, validation.images) & ~blank
    drop, left_out = (
        blank | leaked,
        [f"{blank.sum()} blank", f"{leaked.sum()} with pixels that recur in PublicTest"],
    )
    soft = data.targets(training.votes, recipe.votes)
    if recipe.ferplus:
        if not dataset.seven:
            raise EdgeError("the recipe uses FER+, which has the seven labels only; set ferplus = 0")
        if not training.has_votes:
            raise EdgeError("the recipe uses FER+ (ferplus > 0), the data has no votes; add --ferplus FILE")
        voteless = (soft.sum(1) == 0) & ~drop
        drop |= voteless
        left_out.append(f"{voteless.sum()} without a usable FER+ vote")
    print(f"Training rows skipped, of {len(training):,}: {', '.join(left_out)}", file=sys.stderr, flush=True)
    count = len(dataset.names)
    hard = np.eye(count, dtype=np.float32)[training.labels]
    # FER+ has votes for the seven labels only; for others the recipe must not use it.
    targets = (1 - recipe.ferplus) * hard + recipe.ferplus * soft if recipe.ferplus else hard
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / count
    return Rows(training.images[~drop], targets[~drop].astype(np.float32), validation)


def batches(rows: Rows, recipe: Recipe, epoch: int, first: int = 0, every: int = 1) -> Iterator[Batch]:
    """One epoch of batches, or every *every*-th from *first* on; a last, incomplete batch is dropped.

    A batch depends only on the recipe's seed, the epoch and its index, not on which process makes it.
    """
    random = np.random.default_rng((recipe.seed, epoch))
    order = random.permutation(len(rows.images))
    if recipe.balance:
        labels = rows.targets.argmax(1)
        chances = np.bincount(labels, minlength=rows.targets.shape[1])[labels] ** -recipe.balance
        order = random.choice(len(labels), len(labels), p=chances / chances.sum())
    for place in range(first, len(order) // recipe.batch, every):
        some = order[place * recipe.batch : (place + 1) * recipe.batch]
        # Starts at 1: numpy treats (seed, epoch) and (seed, epoch, 0) as the same seed.
        random = np.random.default_rng((recipe.seed, epoch, place + 1))
        images, targets = vary(rows.images[some], recipe.augment, random), rows.targets[some]
        if recipe.mixup:
            images, targets = _mixed(images, targets, recipe.mixup, random)
        yield images[..., None], targets


def _mixed(images: np.ndarray, targets: np.ndarray, alpha: float, random: np.random.Generator) -> Batch:
    """Blend each picture and target with its neighbour's (Zhang et al. 2018, "mixup")."""
    share = random.beta(alpha, alpha, len(images)).astype(np.float32)
    share = np.maximum(share, 1 - share)  # mostly itself: each pair occurs in the batch both ways
    kept, given = share[:, None, None], (1 - share)[:, None, None]
    blended = np.rint(kept * images + given * np.roll(images, 1, axis=0)).astype(np.uint8)
    return blended, kept[..., 0] * targets + given[..., 0] * np.roll(targets, 1, axis=0)


@contextlib.contextmanager
def workers(rows: Rows, recipe: Recipe, count: int) -> Iterator[Sequence[Connection]]:
    """*count* processes that make batches, for `epoch_of`; none if *count* is 0.

    They exit when their pipe closes, however this process ends.
    """
    # Spawned, not forked: a fork copies locks that the backend's threads may hold.
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    try:
        for first in range(count):
            ours, theirs = context.Pipe()
            work = (theirs, rows.images, rows.targets, recipe, first, count)
            context.Process(target=_work, args=work, daemon=True, name=f"batches-{first}").start()
            theirs.close()
            pipes.append(ours)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()


def epoch_of(rows: Rows, recipe: Recipe, epoch: int, pipes: Sequence[Connection]) -> Iterator[Batch]:
    """One epoch of batches, prefetched by the processes behind *pipes*, or by a thread without any."""
    if not pipes:
        yield from ahead(batches(rows, recipe, epoch))
        return
    yield from ahead(_received(pipes, epoch, len(rows.images) // recipe.batch))


def _received(pipes: Sequence[Connection], epoch: int, steps: int) -> Iterator[Batch]:
    try:
        for pipe in pipes:
            pipe.send(epoch)
        for step in range(steps):
            yield pipes[step % len(pipes)].recv()
    except (EOFError, OSError) as error:
        raise EdgeError("an augmentation process was killed; use --resume with fewer --workers") from error


def _work(
    pipe: Connection, images: np.ndarray, targets: np.ndarray, recipe: Recipe, first: int, every: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    cv2.setNumThreads(1)
    rows = Rows(images, targets, validation=None)  # type: ignore[arg-type]
    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            for batch in batches(rows, recipe, pipe.recv(), first, every):
                pipe.send(batch)  # blocks until taken, which limits prefetching


def ahead(items: Iterator[T], depth: int = 4) -> Iterator[T]:
    """*items*, prefetched by a thread up to *depth* ahead, so that steps need not wait for pictures."""
    slots: queue.Queue = queue.Queue(depth)
    end = object()

    def work() -> None:
        try:
            for item in items:
                slots.put(item)
            slots.put(end)
        except Exception as error:  # raised by the consumer
            slots.put(error)

    threading.Thread(target=work, daemon=True, name="batches").start()
    while (item := slots.get()) is not end:
        if isinstance(item, Exception):
            raise item
        yield item
