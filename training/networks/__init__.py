"""The networks by name: 48x48 luma in, a probability per label out."""

from __future__ import annotations

from collections.abc import Callable

import keras

from edge.types import LABELS, EdgeError
from training.networks import earlier, ours, transfer

NETWORKS: dict[str, Callable[[float, int], keras.Model]] = {
    "plain": ours.plain,
    "edge-xs": ours.edge_xs,
    "edge-s": ours.edge_s,
    "edge-s2": ours.edge_s2,
    "edge-xs2": ours.edge_xs2,
    "edge-m": ours.edge_m,
    "shallow-cnn": earlier.shallow_cnn,
    "deep-cnn": earlier.deep_cnn,
    "custom-cnn": earlier.custom_cnn,
    "cnn-64-128-256": earlier.cnn_64_128_256,
    "mini-xception": earlier.mini_xception,
}
TRANSFER: dict[str, Callable[[float, int, str], keras.Model]] = {
    "mobilenet-v2": transfer.mobilenet_v2,
    "vgg16": transfer.vgg16,
}


def build(name: str, dropout: float = 0.0, weights: str = "none", labels: int = len(LABELS)) -> keras.Model:
    """A new network *name*; *dropout* (0..1) applies before the dense layer.

    Input ``pixels`` (n, 48, 48, 1) float, 0..255; output ``probabilities`` (n, *labels*).
    *weights*, for those in TRANSFER: ``imagenet``, a file, or ``none``. EdgeError if there is no such network
    or its weights are unavailable.
    """
    check(name, weights)
    return TRANSFER[name](dropout, labels, weights) if name in TRANSFER else NETWORKS[name](dropout, labels)


def check(name: str, weights: str = "none") -> None:
    """EdgeError if there is no network *name*, or it does not take *weights*."""
    if name not in {*NETWORKS, *TRANSFER}:
        raise EdgeError(
            f"--model {name}: unknown network; expected {', '.join(sorted({*NETWORKS, *TRANSFER}))}"
        )
    if weights != "none" and name not in TRANSFER:
        raise EdgeError(
            f"--weights {weights}: {name} takes none; only {' and '.join(TRANSFER)} do; "
            "use --start-from for those of a run"
        )
