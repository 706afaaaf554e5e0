"""Shift a trained network's label biases so that its decisions are right more often, for rare labels too.

Trained on the votes of ten people, a network gives a doubtful face to a frequent label more often than most
of them do. Biases are the part of calibration that moves decisions, so they are fitted on PublicTest to what
is decided: to accuracy, with a share for the mean of the labels' recalls. Fitted to a weighted likelihood
instead, they make fewer of them right (tests/test_training_balance.py has a plain case). They become
part of the last layer, so nothing downstream needs to know.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.types import LABELS, EdgeError
from quantize.figures import scores
from training import data
from training.data import Dataset
from training.fit.records import derive_run
from training.runs import RECORD, load, model_file, read_record

PENALTY = 1e-3  # L2 on the biases, against fitting the noise of few rows
# Temperatures of the probabilities that stand for decisions, one after the other: the last is close to a
# decision, the first smooth enough to start from.
SOFTNESS = (1.0, 0.5, 0.25, 0.125)
TOLERANCE = 1e-4  # of the fit, in logits
FOLDS = 5


def balance(
    run: Path,
    dataset: Dataset,
    strength: float,
    out: Path,
    votes: bool = True,
    more: Mapping[str, float] | None = None,
) -> list[str]:
    """Write to *out* the run in the folder *run* with its biases shifted; returns lines on what that changed.

    *strength*: see `fit`. *more* is added to the fitted biases, by label. The truth is the FER+ majority
    where *dataset* has *votes*, else its labels. EdgeError where *run* is not a run on the same labels, a
    label has no rows, or *more* names another.
    """
    record, calibration = read_record(run / RECORD), run / "calibration.npz"
    if not os.path.isfile(calibration):
        raise EdgeError(f"{run}: no {calibration.name}; expected the whole folder of a run")
    if (labels := tuple(record.get("labels", LABELS))) != dataset.names:
        ours, theirs = (", ".join(names) for names in (labels, dataset.names))
        raise EdgeError(f"{run}: the run's labels are {ours}, the data's {theirs}; expected the same")
    more = more or {}
    if unknown := [name for name in more if name not in labels]:
        raise EdgeError(f"--shift {unknown[0]}: no such label; expected {', '.join(labels)}")
    network, rows = load(model_file(run)), dataset.split("PublicTest")
    truth = data.majority(rows.votes) if votes and rows.has_votes else rows.labels.astype(np.int64)
    pixels, truth = rows.images[truth >= 0].astype(np.float32)[..., None], truth[truth >= 0]
    if missing := [name for label, name in enumerate(dataset.names) if label not in truth]:
        raise EdgeError(
            f"no PublicTest rows of {', '.join(missing)} in the data; expected some of each label"
        )
    plain = _probabilities(network, pixels)
    mirrored = (plain + _probabilities(network, pixels[:, :, ::-1])) / 2
    answers = np.log(np.stack((plain, mirrored)))  # a device uses one or the other (model.mirror)
    by_hand = np.array([more.get(name, 0.0) for name in labels], np.float32)
    shifts = fit(answers, truth, strength) + by_hand

    layer = network.get_layer("logits")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + shifts])
    named = dict(zip(dataset.names, shifts.round(4).tolist(), strict=True))
    balanced = {"strength": strength, "votes": votes, **({"more": {**more}} if more else {}), "shifts": named}
    derive_run(out, network, {**record, "balanced": balanced}, calibration)

    lines = ["shifts: " + ", ".join(f"{name} {shift:+.2f}" for name, shift in named.items())]
    stages = answers, _held_out(answers, truth, strength) + by_hand, answers + shifts
    for way, *figures in zip(("single crop", "mirrored mean"), *stages, strict=True):
        before, held_out, after = (_accuracies(some, truth) for some in figures)
        lines.append(f"{way}: {before}; cross-validated {held_out}; fitted on all rows {after}")
    return lines


def fit(answers: np.ndarray, truth: np.ndarray, strength: float) -> np.ndarray:
    """Biases (labels,) with mean 0, in units of *answers*, that make the most decisions right.

    *answers*: log-probabilities (ways, n, labels); *truth* (n,). What is maximized is accuracy, and the mean
    of the labels' recalls with a share of *strength*, 0 to 1. Gradient ascent, with decisions softened to
    probabilities: less and less, because they are flat almost everywhere and have many optima.
    """
    ways, _, labels = answers.shape
    counts = np.bincount(truth, minlength=labels)
    weights = np.tile((1 - strength) / len(truth) + strength / (labels * counts[truth]), ways) / ways
    rows, right = answers.reshape(-1, labels).astype(np.float64), np.tile(truth, ways)
    every = np.arange(len(rows))

    def gain(shifts: np.ndarray, softness: float) -> tuple[float, np.ndarray]:
        logits = (rows + shifts) / softness
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        won = weights * chances[every, right]
        slope = (np.bincount(right, won, labels) - won @ chances) / softness
        return float(won.sum() - PENALTY * shifts @ shifts), slope - 2 * PENALTY * shifts

    shifts = np.zeros(labels)
    for softness in SOFTNESS:
        best, slope = gain(shifts, softness)
        step = 1.0
        while step * np.abs(slope).max() > TOLERANCE:
            further = shifts + step * slope
            reached, its_slope = gain(further, softness)
            if reached > best:
                shifts, best, slope, step = further, reached, its_slope, 2 * step
            else:
                step /= 4
    return (shifts - shifts.mean()).astype(np.float32)


def _held_out(answers: np.ndarray, truth: np.ndarray, strength: float) -> np.ndarray:
    """*answers*, each shifted by biases fitted on other rows: what they are worth on new faces."""
    fold = np.random.default_rng(0).permutation(len(truth)) % FOLDS
    shifted = answers.copy()
    for one in range(FOLDS):
        shifted[:, fold == one] += fit(answers[:, fold != one], truth[fold != one], strength)
    return shifted


def _probabilities(network, pixels: np.ndarray) -> np.ndarray:
    return np.maximum(network.predict(pixels, batch_size=256, verbose=0), 1e-7)


def _accuracies(answers: np.ndarray, truth: np.ndarray) -> str:
    balanced = np.mean(
        [share for share in scores.recalls(answers, truth, answers.shape[1]) if share is not None]
    )
    return f"{100 * scores.accuracy(answers, truth):.2f} % (balanced {100 * balanced:.1f} %)"
