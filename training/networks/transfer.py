"""Networks made for ImageNet's colour photographs, with FER2013's faces in: transfer learning.

The gray picture stands in all three channels. Limits: neither fits a small board (2.3 M and 14.7 M
parameters), MobileNetV2's enlargement in the graph is a step that the Edge TPU's compiler leaves to
the processor, and its depthwise convolutions lose more accuracy at eight bits than whole ones.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from edge.types import EdgeError
from training.networks.blocks import classified, dropped, pixels


def mobilenet_v2(dropout: float, labels: int, weights: str) -> keras.Model:
    """MobileNetV2 on the picture enlarged to 96x96: 2.3 M parameters, 55 M multiply-adds.

    Sandler et al. 2018. The enlargement doubles each pixel: 32-fold striding of 48 pixels leaves nothing.
    """
    given = pixels()
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="scaled")(given)
    x = layers.UpSampling2D(2, name="enlarged")(x)
    x = layers.Concatenate(name="colours")([x, x, x])
    x = _body(keras.applications.MobileNetV2, x, weights)
    return classified(given, dropped(x, dropout), labels, "mobilenet-v2")


def vgg16(dropout: float, labels: int, weights: str) -> keras.Model:
    """VGG16's convolutions on 48x48: 14.7 M parameters, 705 M multiply-adds.

    Simonyan & Zisserman 2015. The means that its weights expect to be taken off blue, green and red
    are taken off each copy of the gray picture.
    """
    given = pixels()
    means = (103.939, 116.779, 123.68)
    x = layers.Concatenate(name="colours")([layers.Rescaling(1.0, offset=-mean)(given) for mean in means])
    x = _body(keras.applications.VGG16, x, weights)
    return classified(given, dropped(x, dropout), labels, "vgg16")


def _body(network: Callable[..., keras.Model], x, weights: str):
    """The pooled features of *network* on *x*; EdgeError where its *weights* cannot be had."""
    given = {"include_top": False, "pooling": "avg", "input_tensor": x, "input_shape": x.shape[1:]}
    try:
        return network(weights=None if weights == "none" else weights, **given).output
    except Exception as error:  # keras raises a bare one for a failed download
        said = str(error).splitlines()[0]
        raise EdgeError(
            f"--weights {weights}: {said}; expected a file of this network's weights without its top, or none"
        ) from error
