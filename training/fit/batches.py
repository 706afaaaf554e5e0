"""From rows to the batches that a step takes: drawn, varied and mixed, the same for any number of processes.

Nothing here needs keras: the processes that vary pictures start in a moment and stay small.
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
    """What is trained on and what is chosen by."""

    images: np.ndarray  # (n, 48, 48) uint8
    targets: np.ndarray  # (n, labels) float32, each row sums to 1
    validation: Dataset


def select(dataset: Dataset, recipe: Recipe) -> Rows:
    """The rows to train on with their targets, and PublicTest; what is left out is told on stderr.

    Left out of Training: blank pictures, pictures that also stand in PublicTest, and, where FER+ is
    part of the target, rows without a usable vote.
    """
    training, validation = dataset.split("Training"), dataset.split("PublicTest")
    if not len(training):
        raise EdgeError("no Training rows in the data; expected a folder train/ or the usage Training")
    if not len(validation):
        raise EdgeError("no PublicTest rows in the data; expected a folder validation/ or that usage")
    blank = data.blank(training.images)
    leaked = data.recurring(training.images, validation.images) & ~blank
    drop, left_out = (
        blank | leaked,
        [f"{blank.sum()} blank", f"{leaked.sum()} whose pixels recur in PublicTest"],
    )
    soft = data.targets(training.votes, recipe.votes)
    if recipe.ferplus:
        if not dataset.seven:
            raise EdgeError("the recipe wants FER+, whose votes are for the seven labels; set ferplus = 0")
        if not training.has_votes:
            raise EdgeError("the recipe wants FER+ (ferplus > 0), the data has no votes; --ferplus FILE")
        voteless = (soft.sum(1) == 0) & ~drop
        drop |= voteless
        left_out.append(f"{voteless.sum()} without a usable FER+ vote")
    print(f"Training rows left out of {len(training):,}: {', '.join(left_out)}", file=sys.stderr, flush=True)
    count = len(dataset.names)
    hard = np.eye(count, dtype=np.float32)[training.labels]
    # Votes are for the seven; of other labels the recipe may want none.
    targets = (1 - recipe.ferplus) * hard + recipe.ferplus * soft if recipe.ferplus else hard
    targets = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / count
    return Rows(training.images[~drop], targets[~drop].astype(np.float32), validation)


def batches(rows: Rows, recipe: Recipe, epoch: int, first: int = 0, every: int = 1) -> Iterator[Batch]:
    """One epoch of batches, or of each *every*-th of them from *first* on; the odd rest is left out.

    A batch depends on the recipe's seed, the epoch and its place in it, not on who makes the others.
    """
    random = np.random.default_rng((recipe.seed, epoch))
    order = random.permutation(len(rows.images))
    if recipe.balance:
        labels = rows.targets.argmax(1)
        chances = np.bincount(labels, minlength=rows.targets.shape[1])[labels] ** -recipe.balance
        order = random.choice(len(labels), len(labels), p=chances / chances.sum())
    for place in range(first, len(order) // recipe.batch, every):
        some = order[place * recipe.batch : (place + 1) * recipe.batch]
        # From 1 on: to numpy, (seed, epoch) and (seed, epoch, 0) are the same seed.
        random = np.random.default_rng((recipe.seed, epoch, place + 1))
        images, targets = vary(rows.images[some], recipe.augment, random), rows.targets[some]
        if recipe.mixup:
            images, targets = _mixed(images, targets, recipe.mixup, random)
        yield images[..., None], targets


def _mixed(images: np.ndarray, targets: np.ndarray, alpha: float, random: np.random.Generator) -> Batch:
    """Each picture and its target, blended with its neighbour's (Zhang et al. 2018, "mixup")."""
    share = random.beta(alpha, alpha, len(images)).astype(np.float32)
    share = np.maximum(share, 1 - share)  # mostly itself: a pair stands in the batch once each way
    kept, given = share[:, None, None], (1 - share)[:, None, None]
    blended = np.rint(kept * images + given * np.roll(images, 1, axis=0)).astype(np.uint8)
    return blended, kept[..., 0] * targets + given[..., 0] * np.roll(targets, 1, axis=0)


@contextlib.contextmanager
def workers(rows: Rows, recipe: Recipe, count: int) -> Iterator[Sequence[Connection]]:
    """*count* processes that make batches, for `epoch_of`; none where *count* is 0.

    They end when the other end of their pipe is gone, however this process ends.
    """
    # Spawned, not forked: a fork would copy the backend's threads halfway through what they hold.
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
    """One epoch of batches, made ahead: by the processes behind *pipes*, or by a thread if there are none."""
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
        raise EdgeError(
            "a process that varies pictures was ended from outside; --resume with fewer --workers"
        ) from error


def _work(
    pipe: Connection, images: np.ndarray, targets: np.ndarray, recipe: Recipe, first: int, every: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to tell
    cv2.setNumThreads(1)
    rows = Rows(images, targets, validation=None)  # type: ignore[arg-type]
    with contextlib.suppress(EOFError, OSError):  # the other end is gone: nobody needs more
        while True:
            for batch in batches(rows, recipe, pipe.recv(), first, every):
                pipe.send(batch)  # waits while it is not taken: that is how far ahead this one gets


def ahead(items: Iterator[T], depth: int = 4) -> Iterator[T]:
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
