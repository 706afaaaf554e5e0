"""What the networks are put together from; every one begins with `pixels` and ends with `classified`."""

from __future__ import annotations

import keras
from keras import layers

SIZE = 48  # pixels, height and width


def pixels():
    """The input (n, 48, 48, 1), 0..255.

    It is named because names that Keras invents change when a file is loaded again.
    """
    return keras.Input((SIZE, SIZE, 1), name="pixels")


def scaled(given):
    """*given* pixels as 0..1."""
    return layers.Rescaling(1 / 255, name="scaled")(given)


def convolution(x, channels: int, stride: int = 1, size: int = 3, relu: bool = True, padding: str = "same"):
    """Convolution without a bias, batch normalization, and ReLU unless *relu* is false."""
    x = layers.Conv2D(
        channels, size, strides=stride, padding=padding, use_bias=False, kernel_initializer="he_normal"
    )(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-3)(x)
    return layers.ReLU()(x) if relu else x


def residual(x, channels: int, stride: int = 1):
    """Two 3x3 convolutions and a way past them; 1x1 where the shape changes (He et al. 2016)."""
    y = convolution(x, channels, stride)
    y = convolution(y, channels, relu=False)
    if stride != 1 or x.shape[-1] != channels:
        x = convolution(x, channels, stride, size=1, relu=False)
    return layers.ReLU()(layers.Add()([x, y]))


def dropped(x, share: float):
    """*x* with that *share* dropped in training; no layer at all for 0."""
    return layers.Dropout(share)(x) if share else x


def classified(given, x, labels: int, name: str, **dense) -> keras.Model:
    """The model *name* from *given* pixels over the flat *x* to a probability for each of so many *labels*.

    Dense and Softmax are layers of their own: quantize folds the temperature into the former.
    """
    x = layers.Dense(labels, name="logits", **dense)(x)
    return keras.Model(given, layers.Softmax(name="probabilities")(x), name=name)
