"""A network's size: parameters, and multiply-adds per picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge.types import EdgeError
from quantize.figures import graph as graphs
from quantize.figures.reader import read


@dataclass(frozen=True)
class Cost:
    """Values are None if unknown for the file."""

    parameters: int | None  # weights and biases; in .keras files also batch normalization
    macs: int | None  # multiply-adds of convolutions and dense layers per picture


def cost_of_file(suffix: str, content: bytes) -> Cost:
    """The cost of a .tflite or .onnx file; batch normalization is folded into its convolutions."""
    try:
        graph = read(suffix, content)
    except EdgeError:  # a runtime may accept more than the readers, or onnx is not installed
        return Cost(None, None)
    pictures = max([1, *(size for index in graph.inputs for size in graph.tensors[index].shape[:1])])
    return Cost(graphs.parameters(graph), graphs.macs(graph) // pictures)


def cost_of_keras(model: Any) -> Cost:
    """The cost of a loaded Keras *model* with a fixed picture size."""
    return Cost(model.count_params(), macs_of_keras(model))


def macs_of_keras(model: Any) -> int:
    """Multiply-adds per picture of the Keras *model*'s convolutions and dense layers.

    Element-wise operations (normalization, additions, activations) are not counted; on a device normalization
    is folded into the convolutions anyway.
    """
    return sum(_macs(layer) for layer in model.layers)


def _macs(layer: Any) -> int:
    import keras
    from keras import layers

    if isinstance(layer, keras.Model):
        return macs_of_keras(layer)
    if isinstance(layer, layers.Dense):
        return int(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1]))
    kernels = {
        layers.Conv2D: ("kernel",),
        layers.DepthwiseConv2D: ("kernel",),
        layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
    }.get(type(layer), ())
    # Every output position uses the whole kernel, a depthwise one too: it has as many products as channels.
    places = math.prod(layer.output.shape[1:-1]) if kernels else 0
    return int(places * sum(math.prod(getattr(layer, name).shape) for name in kernels))
