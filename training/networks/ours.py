"""This project's networks, built to quantize well on every target.

Only 3x3 (and 1x1) convolution + batch normalization + ReLU, residual additions, strides, global
average pooling, one dense layer and softmax; channels are multiples of 8. The Edge TPU maps all of
these, and int8 keeps them accurate: no swish, squeeze-and-excite, attention or large dense layers.
"""

from __future__ import annotations

import keras
from keras import layers

from training.networks.blocks import classified, convolution, dropped, pixels, residual, scaled


def plain(dropout: float, labels: int) -> keras.Model:
    """Seven 3x3 convolutions in a row: 0.51 M parameters, 21 M multiply-adds."""
    given = pixels()
    x = scaled(given)
    for channels, stride in ((16, 1), (32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (192, 2)):
        x = convolution(x, channels, stride)
    return _pooled(given, x, dropout, labels, "plain")


def edge_xs(dropout: float, labels: int) -> keras.Model:
    """Four residual blocks of 16, 32, 64 and 96 channels: 0.22 M parameters, 8 M multiply-adds.

    For a Raspberry Pi Zero 2.
    """
    return _residual("edge-xs", dropout, labels, 16, 2, ((16, 1), (32, 2), (64, 2), (96, 2)))


def edge_xs2(dropout: float, labels: int) -> keras.Model:
    """A convolution on all 48x48 pixels, then four residual blocks of 24, 48, 72 and 80 channels.

    0.24 M parameters, 17 M multiply-adds: edge-s2 at about half the width.
    """
    return _residual("edge-xs2", dropout, labels, 16, 1, ((24, 2), (48, 2), (72, 2), (80, 1)))


def edge_s(dropout: float, labels: int) -> keras.Model:
    """Four residual blocks of 32, 64, 128 and 160 channels: 0.75 M parameters, 31 M multiply-adds."""
    return _residual("edge-s", dropout, labels, 32, 2, ((32, 1), (64, 2), (128, 2), (160, 2)))


def edge_s2(dropout: float, labels: int) -> keras.Model:
    """A convolution on all 48x48 pixels, then four residual blocks of 48, 96, 144 and 160 channels.

    0.96 M parameters, 68 M multiply-adds; its last map is 6x6 (edge-s: 3x3).
    """
    return _residual("edge-s2", dropout, labels, 32, 1, ((48, 2), (96, 2), (144, 2), (160, 1)))


def edge_m(dropout: float, labels: int) -> keras.Model:
    """Eight residual blocks, the first two on all 48x48 pixels: 1.9 M parameters, 280 M multiply-adds.

    A teacher, and for a Jetson.
    """
    blocks = ((32, 1), (32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (192, 2), (192, 1))
    return _residual("edge-m", dropout, labels, 32, 1, blocks)


def _residual(
    name: str, dropout: float, labels: int, first: int, stride: int, blocks: tuple[tuple[int, int], ...]
) -> keras.Model:
    given = pixels()
    x = convolution(scaled(given), first, stride)
    for channels, step in blocks:
        x = residual(x, channels, step)
    return _pooled(given, x, dropout, labels, name)


def _pooled(given, x, dropout: float, labels: int, name: str) -> keras.Model:
    return classified(given, dropped(layers.GlobalAveragePooling2D()(x), dropout), labels, name)
