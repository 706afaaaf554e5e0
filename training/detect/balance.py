"""How sure the network must be of small faces against large ones, moved after its training.

One false positive costs the same at any size, but most cells, and so most false positives, are those of the
finest level. A lower bias there trades a few of the smallest faces for more of all larger ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.types import EdgeError
from training.detect.network import STRIDES
from training.fit.records import derive_run
from training.runs import RECORD, load, model_file, read_record


def balance(run: Path, shifts: Mapping[int, float], out: Path) -> None:
    """Write to *out* the run in the folder *run* with each stride's score logit shifted by *shifts*.

    EdgeError where a stride is not the network's, or *run* is no run.
    """
    for stride in shifts:
        if stride not in STRIDES:
            raise EdgeError(f"--shift: stride {stride}; expected {', '.join(map(str, STRIDES))}")
    record, network = read_record(run / RECORD), load(model_file(run))
    for stride, shift in shifts.items():
        layer = network.get_layer(f"score_{stride}")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, bias + shift])
    before = record.get("score_shifts", {})
    after = {**before, **{str(stride): before.get(str(stride), 0) + by for stride, by in shifts.items()}}
    derive_run(out, network, {**record, "score_shifts": after}, run / "history.csv")
