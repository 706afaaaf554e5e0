"""What a network weighs: parameters, and multiply-adds for one picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge.types import EdgeError
from quantize.figures import graph as graphs
from quantize.figures.reader import read


@dataclass(frozen=True)
class Cost:
    """None where the file's form does not tell."""

    parameters: int | None  # weights and biases; a .keras file's batch normalization besides
    macs: int | None  # multiply-adds of convolutions and dense layers for one picture


def cost_of_file(suffix: str, content: bytes) -> Cost:
    """The cost of a .tflite or .onnx file; batch normalization is folded into its convolutions."""
    try:
        graph = read(suffix, content)
    except EdgeError:  # a runtime may take what the readers do not, or onnx is not installed
        return Cost(None, None)
    pictures = max([1, *(size for index in graph.inputs for size in graph.tensors[index].shape[:1])])
    return Cost(graphs.parameters(graph), graphs.macs(graph) // pictures)


def cost_of_keras(model: Any) -> Cost:
    """The cost of a loaded Keras *model* whose picture size is fixed."""
    return Cost(model.count_params(), macs_of_keras(model))


def macs_of_keras(model: Any) -> int:
    """Multiply-adds of one picture through the Keras *model*: its convolutions and dense layers.

    What costs one operation a value (normalization, additions, activations) is not counted; normalization
    is folded into the convolutions on a device anyway.
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
    # Each kernel (the depthwise one too: it keeps as many products as it has channels) is used whole
    # at every place of the output.
    places = math.prod(layer.output.shape[1:-1]) if kernels else 0
    return int(places * sum(math.prod(getattr(layer, name).shape) for name in kernels))
