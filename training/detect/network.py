"""The detector's network: luma in, three levels of scores, boxes and eyes out, each an output of its own.

3x3 convolutions, batch normalization, ReLU and additions alone: all of it maps onto an Edge TPU and keeps
its accuracy in eight bits. Scores, boxes and eyes are apart because outputs that share a tensor share a
scale; sigmoid, exp and the suppression of doubles are the daemon's, outside of the network.
"""

from __future__ import annotations

import keras
from keras import layers

from training.networks.blocks import convolution, residual, scaled

STRIDES = (8, 16, 32)  # pixels from one cell of a level to the next
CHANNELS = (48, 64, 96)
PARTS = {
    "score": 1,
    "box": 4,
    "eyes": 4,
}  # a cell's values: edge/analysis/detectors/ssd.py says what they mean

_RARE = -4.6  # a logit: one cell in a hundred is a face, before anything was learned


def build(height: int | None = None, width: int | None = None) -> keras.Model:
    """A fresh network: ``pixels`` (n, height, width, 1) float 0..255 in, sides multiples of 32 or open.

    Gives a dictionary of nine outputs, ``score_8`` (n, height / 8, width / 8, 1), ``box_8`` (…, 4),
    ``eyes_8`` (…, 4) and the same for strides 16 and 32. 0.53 M parameters, 180 M multiply-adds at 320x256.
    """
    given = keras.Input((height, width, 1), name="pixels")
    x = convolution(convolution(scaled(given), 16, 2), 16, 2)
    outputs = {}
    for stride, channels in zip(STRIDES, CHANNELS, strict=True):
        x = residual(convolution(x, channels, 2), channels)
        y = convolution(x, channels)
        for part, values in PARTS.items():
            bias = keras.initializers.Constant(_RARE if part == "score" else 0.0)
            name = f"{part}_{stride}"
            outputs[name] = layers.Conv2D(
                values, 3, padding="same", bias_initializer=bias, name=name,
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            )(y)  # fmt: skip
    return keras.Model(given, outputs, name="edge-face")
