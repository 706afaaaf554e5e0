"""A model's number format: real values to a tensor's steps and back."""

from __future__ import annotations

import numpy as np

from edge.types import Floats, Tensor, TensorSpec


def quantize(x: Tensor, spec: TensorSpec) -> Tensor:
    """Real *x* (any shape) in *spec*'s dtype; steps after the TFLite 8-bit specification."""
    if spec.dtype.kind == "f":
        return np.asarray(x, spec.dtype)
    bounds = np.iinfo(np.dtype(spec.dtype.str))
    steps = np.rint(np.asarray(x, np.float32) / spec.scale) + spec.zero_point
    return np.asarray(np.clip(steps, bounds.min, bounds.max), spec.dtype)


def dequantize(q: Tensor, spec: TensorSpec) -> Floats:
    """*q* of *spec*'s dtype as real float32."""
    real = np.asarray(q, np.float32)
    return real if spec.dtype.kind == "f" else (real - np.float32(spec.zero_point)) * np.float32(spec.scale)


def levels(span: tuple[float, float], spec: TensorSpec) -> Tensor:
    """(256,) in *spec*'s dtype: each value of a pixel, where *span* is what black and white become."""
    black, white = span
    return quantize(black + np.arange(256) * ((white - black) / 255), spec)
