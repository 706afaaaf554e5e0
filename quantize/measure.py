"""Runs a device file on many pictures."""

from __future__ import annotations

import numpy as np

from edge.analysis.tensors import dequantize, quantize
from edge.types import Floats, Image, Runtime


def probabilities_of(runtime: Runtime, images: Image, title: str = "measuring") -> Floats:
    """(n, labels) float32 for *images* (n, height, width) uint8, one inference each, as on a device."""
    from tqdm import tqdm

    tensors = quantize(images[:, np.newaxis, :, :, np.newaxis], runtime.input)
    shown = tqdm(tensors, desc=title, unit="picture", leave=False, disable=None)
    return dequantize(np.concatenate([runtime.run(tensor)[0] for tensor in shown]), runtime.outputs[0])
