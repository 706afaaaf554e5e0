"""Simplifies a network: batch normalization folded, one operation per layer."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edge.types import Floats
from quantize.network.layers import TRAINING_ONLY, consumers, copied, networks, rebuilt

WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold(model: Any) -> Any:
    """*model* as convolutions and dense layers with bias, separate activations, and what joins them.

    A batch normalization is folded into the preceding convolution or dense layer if it is its only consumer
    (Jacob et al. 2018), or becomes a 1x1 depthwise convolution. A separable convolution becomes two, a
    rescaling with an offset a 1x1 depthwise one; training-only layers are dropped. Predictions do not change.
    """
    after = foldable(model)  # layer's id -> the normalization to fold into it
    gone = {id(norm) for norm in after.values()}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, TRAINING_ONLY) or id(layer) in gone:
            return args[0]
        norm = after.get(id(layer))
        if isinstance(layer, keras.layers.SeparableConv2D):
            x = _depthwise_of(layer)(args[0])
            conv = keras.layers.Conv2D(layer.filters, 1, name=f"{layer.name}_pointwise")
            _, kernel, *bias = layer.get_weights()
            return _activated(layer, _weighted(conv, x, kernel, bias, norm))
        if type(layer) in WEIGHTED:
            copy = type(layer).from_config(layer.get_config() | {"activation": "linear", "use_bias": True})
            kernel, *bias = layer.get_weights()
            return _activated(layer, _weighted(copy, args[0], kernel, bias, norm))
        if isinstance(layer, keras.layers.BatchNormalization) and len(args[0].shape) == 4:
            return _scaled(layer.name, args[0], *affine(layer))
        if isinstance(layer, keras.layers.Rescaling) and np.any(layer.offset) and len(args[0].shape) == 4:
            channels = args[0].shape[-1]
            scale, offset = (np.zeros(channels, np.float32) + part for part in (layer.scale, layer.offset))
            return _scaled(layer.name, args[0], scale, offset)
        return copied(layer, *args, **kwargs)

    return rebuilt(model, call)


def foldable(model: Any) -> dict[int, Any]:
    """id of a layer -> the batch normalization to fold into it, the only consumer of its output."""
    found = {}
    for network in networks(model):
        takes = consumers(network)
        for layer in network.operations:
            followers = takes[layer.name]
            if (
                isinstance(layer, (*WEIGHTED, keras.layers.SeparableConv2D))
                and layer.activation is keras.activations.linear
                and len(followers) == 1
                and isinstance(followers[0], keras.layers.BatchNormalization)
                and followers[0].axis in (-1, len(layer.output.shape) - 1)
            ):
                found[id(layer)] = followers[0]
    return found


def equalize(model: Any) -> None:
    """Balance each channel's magnitude between the kernels that write and read it, in place.

    *model* comes from fold. ReLU and pooling commute with factors, so predictions do not change; but no
    channel is limited to a few of the 256 steps because another one is large (Nagel et al. 2019, section
    4.1).
    """
    takes = consumers(model)
    pairs = [(layer, _reader(layer, takes)) for layer in model.layers if isinstance(layer, WEIGHTED)]
    for _ in range(3):  # each pair's change affects the next
        for writer, reader in pairs:
            if reader is None:
                continue
            (kernel, bias), (read, read_bias) = writer.get_weights(), reader.get_weights()
            written = _largest(kernel, kernel.ndim - (2 if _is_depthwise(writer) else 1))
            taken = _largest(read, read.ndim - 2)
            factor = np.where((written > 0) & (taken > 0), np.sqrt(written / np.maximum(taken, 1e-30)), 1)
            factor = factor.astype(np.float32)
            by_output = factor[:, np.newaxis] if _is_depthwise(writer) else factor
            writer.set_weights([kernel / by_output, bias / factor])
            reader.set_weights([read * factor[:, np.newaxis], read_bias])


def _reader(writer: Any, takes: dict[str, list[Any]]) -> Any:
    """The only layer with a kernel that reads *writer*'s channels, or None."""
    layer = writer
    homogeneous = (
        keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D,
        keras.layers.ZeroPadding2D,
    )  # fmt: skip
    channels = writer.output.shape[-1]
    if _is_depthwise(writer) and writer.depth_multiplier != 1:
        return None
    while len(takes[layer.name]) == 1 and takes[layer.name][0] is not layer:
        layer = takes[layer.name][0]
        if isinstance(layer, WEIGHTED):
            fits = layer.get_weights()[0].shape[-2] == channels and getattr(layer, "groups", 1) == 1
            return layer if fits and layer.input.shape[-1] == channels else None
        relu = isinstance(layer, keras.layers.ReLU) and layer.max_value is None and not layer.threshold
        if not relu and not isinstance(layer, homogeneous):
            return None
    return None


def _largest(kernel: Floats, axis: int) -> Floats:
    """The largest absolute weight of each channel along *axis*."""
    return np.asarray(np.abs(kernel).max(tuple(other for other in range(kernel.ndim) if other != axis)))


def _is_depthwise(layer: Any) -> bool:
    return isinstance(layer, keras.layers.DepthwiseConv2D)


def affine(norm: Any) -> tuple[Floats, Floats]:
    """The scale and offset (channels,) of *norm* at inference."""
    mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma)
    offset = -mean * scale
    if norm.center:
        offset = offset + np.asarray(norm.beta)
    return scale.astype(np.float32), offset.astype(np.float32)


def _weighted(layer: Any, x: Any, kernel: Floats, bias: list[Floats], norm: Any) -> Any:
    """The output of *layer* (with bias, not yet built) with these weights and *norm* folded in."""
    output = layer(x)
    channels = output.shape[-1]
    start = bias[0] if bias else np.zeros(channels, np.float32)
    if norm is not None:
        scale, offset = affine(norm)
        # Depthwise kernels are (h, w, channels, multiplier); output channels are the product of the last two.
        kernel = kernel * (scale.reshape(kernel.shape[2:]) if _is_depthwise(layer) else scale)
        start = start * scale + offset
    layer.set_weights([kernel, start])
    return output


def _depthwise_of(layer: Any) -> Any:
    """The first half of a separable convolution, as a separate layer."""
    depthwise = keras.layers.DepthwiseConv2D(
        layer.kernel_size, layer.strides, layer.padding, layer.depth_multiplier,
        dilation_rate=layer.dilation_rate, name=f"{layer.name}_depthwise",
    )  # fmt: skip
    kernel = layer.get_weights()[0]
    depthwise.build(layer.input.shape)
    depthwise.set_weights([kernel, np.zeros(kernel.shape[2] * kernel.shape[3], np.float32)])
    return depthwise


def _scaled(name: str, x: Any, scale: Floats, offset: Floats) -> Any:
    return _weighted(
        keras.layers.DepthwiseConv2D(1, name=f"{name}_depthwise"),
        x, scale[np.newaxis, np.newaxis, :, np.newaxis].astype(np.float32), [offset], None,
    )  # fmt: skip


def _activated(layer: Any, x: Any) -> Any:
    """*x* through the activation contained in *layer*, as a separate layer."""
    activation = layer.activation
    if activation is keras.activations.linear:
        return x
    if activation is keras.activations.relu:
        return keras.layers.ReLU(name=f"{layer.name}_relu")(x)
    if activation is keras.activations.softmax:
        return keras.layers.Softmax(name=f"{layer.name}_softmax")(x)
    return keras.layers.Activation(activation, name=f"{layer.name}_activation")(x)
