"""Average the weights of several networks of one architecture.

After M. Wortsman et al., "Model soups", ICML 2022: networks fine-tuned from one start lie in one basin of the
loss, and their mean is often better than each of them. It costs nothing at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.types import EdgeError
from training.fit.records import derive_run
from training.runs import RECORD, load, model_file, read_record


def average(models: Sequence[Path], out: Path) -> None:
    """Write *out*/model.keras with the mean weights of *models*, and its run's other files next to it.

    *models* are run folders, or networks in them; the record and the calibration data, or a detector's
    history, come from the last. EdgeError if a file is not a network or the architectures differ.
    """
    if len(models) < 2:
        raise EdgeError(f"{models[0]}: only one network; expected two or more")
    models = [model_file(path) for path in models]
    networks = [load(path) for path in models]
    shapes = [[weight.shape for weight in network.get_weights()] for network in networks]
    for path, one in zip(models, shapes, strict=True):
        if one != shapes[0]:
            raise EdgeError(f"{path}: another architecture than {models[0]}; expected the same")
    classifies = len(networks[-1].outputs) == 1
    copied = models[-1].with_name("calibration.npz" if classifies else "history.csv")
    for path in models:
        if not path.with_name(RECORD).exists() or not copied.exists():
            raise EdgeError(f"{path}: no {RECORD}, {copied.name} next to it; use a run's folder")
    asked = [read_record(path.with_name(RECORD)) for path in models]
    weights = [np.mean(some, axis=0) for some in zip(*(n.get_weights() for n in networks), strict=True)]
    networks[-1].set_weights(weights)
    # The last run's record is the new one's: quantize reads the data sets from it. Epochs of one run share a
    # record; only others' are added, because a model's card includes all of this.
    others = [record for i, record in enumerate(asked) if record not in (*asked[:i], asked[-1])]
    record = {**asked[-1], "networks": len(models), **({"averaged_with": others} if others else {})}
    derive_run(out, networks[-1], record, copied)
