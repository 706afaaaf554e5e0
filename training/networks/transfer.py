"""Transfer learning: networks for ImageNet's color photographs, applied to FER2013's faces.

The gray picture fills all three channels. Limits: neither fits a small board (2.3 M and 14.7 M parameters),
the Edge TPU's compiler leaves MobileNetV2's resizing to the CPU, and its depthwise convolutions lose more
accuracy at int8 than full ones.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from edge.types import EdgeError
from training.networks.blocks import classified, dropped, pixels


def mobilenet_v2(dropout: float, labels: int, weights: str) -> keras.Model:
    """MobileNetV2 on the picture enlarged to 96x96: 2.3 M parameters, 55 M multiply-adds.

    Sandler et al. 2018. Each pixel is doubled, because a total stride of 32 leaves too little of 48 pixels.
    """
    given = pixels()
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled")(given)
    x = layers.UpSampling2D(2, name="enlarged")(x)
    x = layers.Concatenate(name="colors")([x, x, x])
    x = _body(keras.applications.MobileNetV2, x, weights)
    return classified(given, dropped(x, dropout), labels, "mobilenet-v2")


def vgg16(dropout: float, labels: int, weights: str) -> keras.Model:
    """VGG16's convolutions on 48x48: 14.7 M parameters, 705 M multiply-adds.

    Simonyan & Zisserman 2015. The means of blue, green and red that its weights expect are subtracted from
    the three copies of the gray picture.
    """
    given = pixels()
    means = (103.939, 116.779, 123.68)
    x = layers.Concatenate(name="colors")([layers.Rescaling(1.0, offset=-mean)(given) for mean in means])
    x = _body(keras.applications.VGG16, x, weights)
    return classified(given, dropped(x, dropout), labels, "vgg16")


def _body(network: Callable[..., keras.Model], x, weights: str):
    """The pooled features of *network* on *x*; EdgeError if its *weights* are unavailable."""
    given = {"include_top": False, "pooling": "avg", "input_tensor": x, "input_shape": x.shape[1:]}
    try:
        return network(weights=None if weights == "none" else weights, **given).output
    except Exception as error:  # Keras raises a bare Exception for a failed download
        reason = str(error).splitlines()[0]
        raise EdgeError(
            f"--weights {weights}: {reason}; expected a file of this network's weights without top, or none"
        ) from error
