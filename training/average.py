"""One network out of several of its kind: the mean of their weights.

After M. Wortsman et al., "Model soups", ICML 2022: networks that were trained on from one start lie in one
valley, and their middle is often better than either. It costs nothing at inference.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from edge.types import EdgeError


def average(models: Sequence[Path], out: Path) -> None:
    """Write *out*/model.keras with the mean weights of *models*, and what quantize needs beside it.

    The record and the calibration data come from the runs that *models* stand in. EdgeError where a file
    is no network or they are not of one kind.
    """
    if len(models) < 2:
        raise EdgeError(f"{models[0]}: an average needs two networks or more")
    networks = []
    for path in models:
        try:
            networks.append(keras.models.load_model(path, compile=False))
        except (OSError, ValueError) as error:
            raise EdgeError(f"{path}: not a saved network: {str(error).splitlines()[0]}") from error
    shapes = [[weight.shape for weight in network.get_weights()] for network in networks]
    for path, one in zip(models, shapes, strict=True):
        if one != shapes[0]:
            raise EdgeError(f"{path}: another network than {models[0]}; only one kind can be averaged")
    records, calibration = [], models[-1].with_name("calibration.npz")
    for path in models:
        record = path.with_name("recipe.json")
        if not record.exists() or not calibration.exists():
            raise EdgeError(f"{path}: no run around it (recipe.json, calibration.npz); fit leaves them there")
        records.append(json.loads(record.read_text()))
    weights = [np.mean(some, axis=0) for some in zip(*(n.get_weights() for n in networks), strict=True)]
    networks[-1].set_weights(weights)
    out.mkdir(parents=True, exist_ok=True)
    networks[-1].save(out / "model.keras")
    shutil.copyfile(calibration, out / "calibration.npz")
    # The last run's record leads: quantize reads the data sets from it.
    (out / "recipe.json").write_text(json.dumps({**records[-1], "average_of": records}, indent=1))
