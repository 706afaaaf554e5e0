"""The detector's network: luma in; scores, boxes and eyes at three levels out, each a separate output.

Only 3x3 convolutions, batch normalization, ReLU and additions: all of it maps to an Edge TPU and keeps its
accuracy at int8. Scores, boxes and eyes are separate outputs because one tensor would share one scale.
Sigmoid, exp and non-maximum suppression are not part of the network; the daemon does them.
"""

from __future__ import annotations

import keras
from keras import layers

from training.networks.blocks import convolution, residual, scaled

STRIDES = (8, 16, 32)  # pixels between the cells of each level
CHANNELS = (48, 64, 96)
PARTS = {
    "score": 1,
    "box": 4,
    "eyes": 4,
}  # values per cell, explained in edge/analysis/detectors/ssd.py

_RARE = -4.6  # initial logit: one cell in a hundred is a face


def build(height: int | None = None, width: int | None = None) -> keras.Model:
    """A new network: input ``pixels`` (n, height, width, 1) float 0..255, sides multiples of 32 or open.

    Nine outputs in a dictionary: ``score_8`` (n, height / 8, width / 8, 1), ``box_8`` (…, 4),
    ``eyes_8`` (…, 4) and the same for strides 16 and 32. 0.53 M parameters, 345 M multiply-adds at 448x352.
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
