"""Shift a trained network's label biases so that rare labels get their due.

Trained on the votes of ten people, a network gives a doubtful face to a frequent label more often than most
of them do. One bias per label, fitted on PublicTest, is the part of calibration that moves decisions (vector
scaling: Guo et al. 2017; weighted as in logit adjustment: Menon et al. 2021). It becomes part of the last
layer, so nothing downstream needs to know.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from edge.types import LABELS, EdgeError
from quantize.figures import scores
from training import data
from training.data import Dataset
from training.fit.records import derive_run
from training.runs import RECORD, load, model_file, read_record

PENALTY = 2e-3  # L2 on the biases, against fitting the noise of few rows
FOLDS = 5
TOLERANCE = 1e-5  # of the fit, in logits


def balance(run: Path, dataset: Dataset, strength: float, out: Path, votes: bool = True) -> list[str]:
    """Write to *out* the run in the folder *run* with its biases shifted; returns lines on what that changed.

    Rows count n(label) ** -*strength*: 0 takes labels as often as they occur, 1 all equally often. The truth
    is the FER+ majority where *dataset* has *votes*, else its labels. EdgeError where *run* is not a run on
    the same labels, or a label has no rows.
    """
    record, calibration = read_record(run / RECORD), run / "calibration.npz"
    if not os.path.isfile(calibration):
        raise EdgeError(f"{run}: no {calibration.name}; expected the whole folder of a run")
    if (labels := tuple(record.get("labels", LABELS))) != dataset.names:
        ours, theirs = (", ".join(names) for names in (labels, dataset.names))
        raise EdgeError(f"{run}: the run's labels are {ours}, the data's {theirs}; expected the same")
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
    shifts = fit(answers, truth, strength)

    layer = network.get_layer("logits")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, bias + shifts])
    named = dict(zip(dataset.names, shifts.round(4).tolist(), strict=True))
    balanced = {"strength": strength, "votes": votes, "shifts": named}
    derive_run(out, network, {**record, "balanced": balanced}, calibration)

    lines = ["shifts: " + ", ".join(f"{name} {shift:+.2f}" for name, shift in named.items())]
    stages = answers, _held_out(answers, truth, strength), answers + shifts
    for way, *figures in zip(("single crop", "mirrored mean"), *stages, strict=True):
        before, held_out, after = (_accuracies(some, truth) for some in figures)
        lines.append(f"{way}: {before}; cross-validated {held_out}; fitted on all rows {after}")
    return lines


def fit(answers: np.ndarray, truth: np.ndarray, strength: float) -> np.ndarray:
    """Biases (labels,) of maximum weighted likelihood, with mean 0, in units of *answers*.

    *answers*: log-probabilities (ways, n, labels); *truth* (n,). Newton's method: the problem is convex. A
    common scale is fitted along and dropped: temperature scaling comes later.
    """
    ways, _, labels = answers.shape
    weights = np.tile(np.bincount(truth, minlength=labels)[truth] ** -float(strength), ways)
    weights /= weights.sum()
    rows, right = answers.reshape(-1, labels).astype(np.float64), np.eye(labels)[np.tile(truth, ways)]
    # A row's logits are linear in the parameters: the scale, then the biases.
    design = np.concatenate(
        (rows[..., None], np.broadcast_to(np.eye(labels), (len(rows), labels, labels))), 2
    )
    penalty = np.diag([0.0, *[2 * PENALTY] * labels])

    def loss(found: np.ndarray) -> float:
        logits = design @ found
        highest = logits.max(1)
        likelihood = (logits * right).sum(1) - highest - np.log(np.exp(logits - highest[:, None]).sum(1))
        return float(found @ penalty @ found / 2 - weights @ likelihood)

    found = np.array([1.0, *[0.0] * labels])
    lowest, step = loss(found), np.inf
    while np.abs(step).max() > TOLERANCE:
        logits = design @ found
        chances = np.exp(logits - logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        slope = np.einsum("i,ij,ijp->p", weights, chances - right, design) + penalty @ found
        centered = design - np.einsum("ij,ijp->ip", chances, design)[:, None]
        curve = np.einsum("i,ij,ijp,ijq->pq", weights, chances, centered, centered, optimize=True) + penalty
        step = np.linalg.solve(curve, slope)
        while (least := loss(found - step)) > lowest and np.abs(step).max() > TOLERANCE:
            step = step / 2
        lowest, found = least, found - step
    shifts: np.ndarray = found[1:] / found[0]
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
