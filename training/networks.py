"""The networks by name: 48x48 luma in, seven probabilities out, of shapes that quantize everywhere.

Only 3x3 (and 1x1) convolution + batch normalization + ReLU, residual additions, strides, global
average pooling, one dense layer and softmax; channels are multiples of 8. That is what the Edge TPU
maps whole and what full-int8 keeps accurate: no swish, squeeze-and-excite, attention or large dense.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from edge.types import LABELS, EdgeError

SIZE = 48  # pixels, height and width


def plain(dropout: float) -> keras.Model:
    """Seven 3x3 convolutions in a row: 0.51 M parameters, 21 M multiply-adds."""
    pixels, x = _pixels()
    for channels, stride in ((16, 1), (32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (192, 2)):
        x = _convolution(x, channels, stride)
    return _classified(pixels, x, dropout, "plain")


def edge_s(dropout: float) -> keras.Model:
    """Four residual blocks of 32, 64, 128 and 160 channels: 0.75 M parameters, 31 M multiply-adds."""
    pixels, x = _pixels()
    x = _convolution(x, 32, 2)
    for channels, stride in ((32, 1), (64, 2), (128, 2), (160, 2)):
        x = _residual(x, channels, stride)
    return _classified(pixels, x, dropout, "edge-s")


NETWORKS: dict[str, Callable[[float], keras.Model]] = {"plain": plain, "edge-s": edge_s}


def build(name: str, dropout: float = 0.0) -> keras.Model:
    """A fresh network of that *name*; *dropout* (0..1) stands before the dense layer.

    Input ``pixels`` (n, 48, 48, 1) float, 0..255; output ``probabilities`` (n, 7) in LABELS' order.
    """
    if name not in NETWORKS:
        raise EdgeError(f"--model {name}: unknown network; there are {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](dropout)


def _pixels():
    # The input is named because names that Keras invents change when a file is loaded again.
    pixels = keras.Input((SIZE, SIZE, 1), name="pixels")
    return pixels, layers.Rescaling(1 / 255, name="scaled")(pixels)


def _convolution(x, channels: int, stride: int, size: int = 3, relu: bool = True):
    x = layers.Conv2D(
        channels, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-3)(x)
    return layers.ReLU()(x) if relu else x


def _residual(x, channels: int, stride: int):
    y = _convolution(x, channels, stride)
    y = _convolution(y, channels, 1, relu=False)
    if stride != 1 or x.shape[-1] != channels:
        x = _convolution(x, channels, stride, size=1, relu=False)
    return layers.ReLU()(layers.Add()([x, y]))


def _classified(pixels, x, dropout: float, name: str) -> keras.Model:
    x = layers.GlobalAveragePooling2D()(x)
    if dropout:
        x = layers.Dropout(dropout)(x)
    x = layers.Dense(len(LABELS), name="logits")(x)
    x = layers.Softmax(name="probabilities")(x)
    return keras.Model(pixels, x, name=name)
