"""Explains why a network may quantize badly: the layer, what happens to it, what to use instead.

Statements on accuracy and speed are based on TensorFlow Lite's 8-bit specification, Jacob et al. 2018
(folding, fused activations), MobileNet-EdgeTPU and EfficientNet-Lite (which dropped swish and
squeeze-and-excite for these reasons), and the Edge TPU's table of ops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import keras

from quantize.network.fold import foldable
from quantize.network.layers import consumers, networks, producers

WIDEST_DENSE = 16_384  # inputs; 128 channels of 11x11 still fit
_RELU = "use ReLU or ReLU6, which are fused into the convolution before"
_OWN = "is a separate op with its own range, not fused into the convolution before"
_NO_TPU = "the Edge TPU does not support it and runs everything after it on the CPU"

# activation -> what happens
_ACTIVATIONS = {
    "silu": "becomes LOGISTIC and MUL, each rounded again; its dip below zero gets few of the 256 steps",
    "gelu": f"becomes several rounded ops or a float one; {_NO_TPU}",
    "hard_silu": f"becomes HARD_SWISH or three rounded ops; {_NO_TPU}",
    "mish": f"becomes several rounded ops or float ones; {_NO_TPU}",
    "softplus": f"becomes float ops; {_NO_TPU}",
    "softsign": f"becomes float ops; {_NO_TPU}",
    "elu": f"{_OWN}; {_NO_TPU}",
    "selu": f"{_OWN}; {_NO_TPU}",
    "leaky_relu": f"{_OWN}; {_NO_TPU}",
}
_CALLED = {"silu": "swish (silu)", "hard_silu": "hard swish", "leaky_relu": "leaky ReLU"}
_NORMALIZATIONS = ("LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization")
_ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM2D")
_RESIZING = ("Resizing", "UpSampling2D")
_SIGMOIDS = ("sigmoid", "hard_sigmoid")


class Concern(NamedTuple):
    """One reason why a network quantizes badly."""

    layer: str
    severity: Literal["stop", "warning", "note"]  # stop: it cannot be quantized at all
    what: str
    happens: str
    instead: str


def explain(model: Any) -> list[Concern]:
    """All concerns about *model* in layer order; empty if it quantizes well."""
    concerns = [*_shapes(model)]
    folded = {id(norm) for norm in foldable(model).values()}
    odd: list[Any] = []
    for network in networks(model):
        before, after = producers(network), consumers(network)
        for layer in network.operations:
            concerns += _of_layer(layer, before, after, folded)
            if type(layer) in (keras.layers.Conv2D, keras.layers.SeparableConv2D) and layer.filters % 8:
                odd.append(layer)
    odd = [layer for layer in odd if layer.filters != model.output_shape[-1]]  # one per label
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        concerns.append(Concern(
            odd[0].name, "note", f"{odd[0].filters} channels{more}",
            "kernels process eight or sixteen at once and pad the rest", "use multiples of 8",
        ))  # fmt: skip
    return concerns


def summary(concerns: list[Concern]) -> list[str]:
    """The concerns as text, worst first; the same one for several layers is one line."""
    order = ("stop", "warning", "note")
    alike: dict[tuple[str, ...], list[Concern]] = {}
    for concern in sorted(concerns, key=lambda concern: order.index(concern.severity)):
        alike.setdefault(concern[1:], []).append(concern)
    return [
        f"{first.severity}: {first.layer}{f' and {len(more)} more' if more else ''}: "
        f"{first.what}: {first.happens}; {first.instead}"
        for first, *more in alike.values()
    ]


def _shapes(model: Any) -> Iterator[Concern]:
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            yield Concern(
                tensor.name, "stop", f"input {tuple(tensor.shape)} without a fixed size",
                "accelerators' compilers and the memory plan need fixed sizes",
                "use keras.Input((height, width, 1))",
            )  # fmt: skip


def _of_layer(
    layer: Any, before: dict[str, list[Any]], after: dict[str, list[Any]], folded: set[int]
) -> Iterator[Concern]:
    kind = type(layer).__name__
    activation = _activation(layer)
    if activation in _ACTIVATIONS:
        name = _CALLED.get(activation, activation)
        yield Concern(layer.name, "warning", name, _ACTIVATIONS[activation], _RELU)
    if kind == "PReLU":
        yield Concern(layer.name, "warning", "PReLU", _OWN, _RELU)
    if kind == "Multiply" and len(before[layer.name]) == 2:
        yield from _gate(layer, before)
    if kind in _NORMALIZATIONS:
        yield Concern(
            layer.name, "warning", kind,
            "recomputes mean and variance for each picture, with an op (NEG) that has no int8 form "
            "and stays float",
            "use BatchNormalization after the convolution, which can be folded",
        )  # fmt: skip
    if kind == "BatchNormalization" and id(layer) not in folded:
        yield _left_alone(layer, before[layer.name], after)
    if kind in _ATTENTION:
        yield Concern(
            layer.name, "warning", kind,
            "its softmax and products of two activations have ranges that vary by picture, and "
            f"{_NO_TPU}", "use convolutions and global average pooling",
        )  # fmt: skip
    if kind in _RECURRENT:
        yield Concern(
            layer.name, "warning", kind, "its state is rounded again at each step",
            "use convolutions: a face's crop is one picture",
        )  # fmt: skip
    if kind == "Lambda":
        yield Concern(
            layer.name, "stop", "Lambda", "Python code, which device files cannot contain",
            "use Keras layers that do the same",
        )  # fmt: skip
    if kind in _RESIZING:
        yield Concern(
            layer.name, "warning", f"{kind} inside the network",
            "interpolates in int8, and only some sizes run on the Edge TPU",
            "use an input of the right size: the daemon crops and scales",
        )  # fmt: skip
    if kind == "Dense" and layer.input.shape[-1] > WIDEST_DENSE:
        weights = layer.count_params()
        size = " and do not fit the Edge TPU's 8 MB" if weights > 8_000_000 else ""
        yield Concern(
            layer.name, "warning", f"dense layer of {layer.input.shape[-1]} inputs",
            f"its {weights:,} weights share one scale and are read again for every face{size}",
            "use GlobalAveragePooling2D instead of Flatten",
        )  # fmt: skip


def _activation(layer: Any) -> str:
    """The name of the activation that *layer* is or contains; empty for none."""
    match type(layer).__name__:
        case "LeakyReLU" | "LeakyRelu":
            return "leaky_relu"
        case "ReLU" if layer.negative_slope:
            return "leaky_relu"
        case "ELU":
            return "elu"
        case "Silu" | "Gelu" | "Mish" | "Softplus" | "Elu" | "Selu" as operation:  # keras.ops
            return operation.lower()
        case "HardSilu":
            return "hard_silu"
        case "Sigmoid":
            return "sigmoid"
        case "HardSigmoid":
            return "hard_sigmoid"
    return getattr(getattr(layer, "activation", None), "__name__", "")


def _gate(layer: Any, before: dict[str, list[Any]]) -> Iterator[Concern]:
    """Squeeze-and-excite, explicit swish, or another product with a sigmoid."""
    for factor, other in (before[layer.name], before[layer.name][::-1]):
        gate = factor
        while type(gate).__name__ in ("Reshape", "Permute") and before[gate.name]:
            gate = before[gate.name][0]
        is_sigmoid = _activation(gate) in ("sigmoid", "hard_sigmoid")
        if is_sigmoid and before[gate.name][0] is other:
            yield Concern(layer.name, "warning", "swish (silu)", _ACTIVATIONS["silu"], _RELU)
            return
        # One number per channel, computed from the whole picture.
        squeezed = _pixels(factor) == 1 < _pixels(other) and any(
            type(above).__name__.startswith("GlobalAverage") for above in _above(gate, before)
        )
        if is_sigmoid or squeezed:
            yield Concern(
                layer.name, "warning", "squeeze-and-excite" if squeezed else "a product with a sigmoid",
                "the gate has 256 steps and multiplies rounded values: the errors multiply, and "
                "faint gates become 0", "leave it out and use more channels instead",
            )  # fmt: skip
            return


def _pixels(layer: Any) -> int:
    shape = layer.output.shape
    return math.prod(shape[1:-1]) if None not in shape[1:-1] else 1


def _above(layer: Any, before: dict[str, list[Any]], depth: int = 12) -> Iterator[Any]:
    """The layers before *layer*, along first inputs, nearest first."""
    while depth and before.get(layer.name):
        layer = before[layer.name][0]
        yield layer
        depth -= 1


def _left_alone(layer: Any, before: list[Any], after: dict[str, list[Any]]) -> Concern:
    source = before[0] if before else layer
    kind = type(source).__name__
    if _activation(source) not in ("", "linear") or kind in ("ReLU", "Softmax", "PReLU"):
        why = f"batch normalization after the activation of {source.name!r}"
    elif kind in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"):
        why = f"batch normalization after {source.name!r}, which other layers read as well"
        if len(after[source.name]) == 1:
            why = f"batch normalization over another axis than the channels of {source.name!r}"
    else:
        why = f"batch normalization after {source.name!r} ({kind})"
    return Concern(
        layer.name, "warning", why,
        "cannot be folded into a kernel: stays as MUL and ADD, rounded twice, one channel's scale setting "
        "the steps of all", "put it directly after a convolution, before its activation",
    )  # fmt: skip
