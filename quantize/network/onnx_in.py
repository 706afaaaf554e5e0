"""Converts an ONNX network, as exported by PyTorch, into a Keras network.

ONNX pictures are (n, channels, height, width), Keras's (n, height, width, channels). Each tensor here records
which layout its ONNX shape has; its Keras tensor always has channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from edge.types import EdgeError, Floats
from quantize.figures import onnx_graph

_SAID = (
    "Conv, BatchNormalization, Relu, Clip, Add, Mul, Sub and Div by numbers, MaxPool, AveragePool, "
    "GlobalAveragePool, Flatten, Gemm, MatMul, Softmax"
)
_NEAR = 1e-3  # tolerance of probabilities between two runtimes
_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


class _Tensor(NamedTuple):
    value: Any  # Keras, channels last if it has four axes
    first: bool  # whether its ONNX layout is channels first


def network(path: Path) -> Any:
    """The network in the ONNX file at *path*, with softmax added if it ends in logits.

    Its outputs are checked against onnxruntime's. EdgeError for operations without a Keras equivalent here.
    """
    try:
        model = onnx_graph.load(path)
    except EdgeError as error:
        raise EdgeError(f"{path}: {error}") from error
    made = _Reader(path, model.graph).network()
    _compare(path, made)
    return made


class _Reader:
    """Converts the nodes of one graph, which ONNX stores in topological order."""

    def __init__(self, path: Path, graph: Any) -> None:
        from onnx import numpy_helper

        self._path, self._graph = path, graph
        self._numbers: dict[str, Floats] = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self._tensors: dict[str, _Tensor] = {}
        self._not_negative: set[str] = set()

    def network(self) -> Any:
        (given,) = [one for one in self._graph.input if one.name not in self._numbers] or [None]
        shape = [axis.dim_value for axis in given.type.tensor_type.shape.dim] if given else []
        if len(shape) != 4 or 0 in shape[1:] or 1 not in (shape[1], shape[3]):
            raise EdgeError(f"{self._path}: input {shape}; expected one of (n, 1, height, width) luma")
        first = shape[1] == 1
        height, width = shape[2:] if first else shape[1:3]
        pixels = keras.Input((height, width, 1), name="pixels")
        self._tensors[given.name] = _Tensor(pixels, first)
        for node in self._graph.node:
            self._read(node)
        end = self._tensors[self._graph.output[0].name].value
        if self._graph.node[-1].op_type not in ("Softmax", "LogSoftmax"):
            end = keras.layers.Softmax(name="probabilities")(end)
        return keras.Model(pixels, end, name="from_onnx")

    def _read(self, node: Any) -> None:
        from onnx import helper, numpy_helper

        attrs = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        if node.op_type == "Constant":
            self._numbers[node.output[0]] = numpy_helper.to_array(attrs["value"])
            return
        read: Callable[..., _Tensor] | None = getattr(self, f"_{node.op_type.lower()}", None)
        if read is None:
            raise self._cannot(node, f"expected {_SAID}")
        found = read(node, attrs)
        self._tensors[node.output[0]] = found
        positive = node.op_type == "MaxPool" and node.input[0] in self._not_negative
        if positive or node.op_type in ("Relu", "Clip"):
            self._not_negative.add(node.output[0])

    def _cannot(self, node: Any, why: str) -> EdgeError:
        return EdgeError(f"{self._path}: {node.op_type} {node.output[0]!r}: {why}")

    def _taken(self, node: Any, place: int = 0) -> _Tensor:
        found = self._tensors.get(node.input[place])
        if found is None:
            raise self._cannot(node, "its input is not a picture; expected a plain chain of layers")
        return found

    def _number(self, node: Any, place: int) -> Floats | None:
        return self._numbers.get(node.input[place]) if len(node.input) > place else None

    # --- one method per operation ---

    def _conv(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken, kernel, bias = self._taken(node), self._number(node, 1), self._number(node, 2)
        if kernel is None or kernel.ndim != 4:
            raise self._cannot(node, "no constant kernel for pictures")
        groups, filters = attrs.get("group", 1), kernel.shape[0]
        more = {
            "strides": attrs.get("strides", [1, 1]), "dilation_rate": attrs.get("dilations", [1, 1]),
            "padding": "valid", "use_bias": bias is not None,
        }  # fmt: skip
        x, more["padding"] = self._padded(node, taken.value, attrs, kernel.shape[2:])
        weights = np.transpose(kernel, (2, 3, 1, 0))
        if groups > 1 and groups == x.shape[-1] and kernel.shape[1] == 1:
            layer = keras.layers.DepthwiseConv2D(kernel.shape[2:], depth_multiplier=filters // groups, **more)
            weights = weights.reshape(*kernel.shape[2:], groups, filters // groups)
        else:
            layer = keras.layers.Conv2D(filters, kernel.shape[2:], groups=groups, **more)
        return self._weighted(layer, x, taken.first, weights, bias)

    def _gemm(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        kernel, bias = self._number(node, 1), self._number(node, 2)
        if kernel is None or attrs.get("transA"):
            raise self._cannot(node, "no constant kernel")
        kernel = (kernel.T if attrs.get("transB") else kernel) * attrs.get("alpha", 1.0)
        bias = None if bias is None else np.broadcast_to(bias * attrs.get("beta", 1.0), kernel.shape[1:])
        layer = keras.layers.Dense(kernel.shape[1], use_bias=bias is not None)
        return self._weighted(layer, self._taken(node).value, False, kernel, bias)

    def _matmul(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        kernel = self._number(node, 1)
        if kernel is None or kernel.ndim != 2:
            raise self._cannot(node, "no constant kernel")
        layer = keras.layers.Dense(kernel.shape[1])  # with bias: the next Add is folded into it
        none = np.zeros(kernel.shape[1], np.float32)
        return self._weighted(layer, self._taken(node).value, False, kernel, none)

    def _batchnormalization(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken = self._taken(node)
        layer = keras.layers.BatchNormalization(epsilon=attrs.get("epsilon", 1e-5))
        x = layer(taken.value)
        layer.set_weights([self._number(node, place) for place in range(1, 5)])
        return _Tensor(x, taken.first)

    def _relu(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken = self._taken(node)
        return _Tensor(keras.layers.ReLU()(taken.value), taken.first)

    def _clip(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken = self._taken(node)
        # The limits were attributes in old opsets and are inputs since.
        low, high = (
            attrs.get(name) if number is None else float(number)
            for name, number in (("min", self._number(node, 1)), ("max", self._number(node, 2)))
        )
        if low != 0:
            raise self._cannot(node, f"from {low}; expected 0, as in ReLU6")
        return _Tensor(keras.layers.ReLU(max_value=high)(taken.value), taken.first)

    def _softmax(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        return _Tensor(keras.layers.Softmax(name="probabilities")(self._taken(node).value), False)

    _logsoftmax = _softmax

    def _maxpool(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken = self._taken(node)
        if any(attrs.get("pads", ())) and node.input[0] not in self._not_negative:
            raise self._cannot(node, "padded, with possibly negative input; expected it after a ReLU")
        return self._pooled(keras.layers.MaxPooling2D, node, attrs, taken)

    def _averagepool(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        if any(attrs.get("pads", ())) and not attrs.get("count_include_pad"):
            raise self._cannot(node, "padded without counting the padding; expected no padding")
        return self._pooled(keras.layers.AveragePooling2D, node, attrs, self._taken(node))

    def _globalaveragepool(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken = self._taken(node)
        return _Tensor(keras.layers.GlobalAveragePooling2D(keepdims=True)(taken.value), taken.first)

    def _reducemean(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken, axes = self._taken(node), self._number(node, 1)
        over = {int(axis) % 4 for axis in (attrs.get("axes", ()) if axes is None else axes)}
        if len(taken.value.shape) != 4 or over != ({2, 3} if taken.first else {1, 2}):
            raise self._cannot(node, f"over the axes {sorted(over)}; expected height and width")
        kept = bool(attrs.get("keepdims", 1))
        return _Tensor(keras.layers.GlobalAveragePooling2D(keepdims=kept)(taken.value), taken.first and kept)

    def _flatten(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken = self._taken(node)
        x = taken.value
        if taken.first and len(x.shape) == 4 and x.shape[1:3] != (1, 1):
            x = keras.layers.Permute((3, 1, 2))(x)  # the order the next kernel expects
        return _Tensor(keras.layers.Flatten()(x), False)

    def _reshape(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken, shape = self._taken(node), self._number(node, 1)
        if shape is not None and len(shape) == 2:
            return self._flatten(node, attrs)
        # tf2onnx moves a single channel this way.
        if shape is not None and len(shape) == 4 and taken.value.shape[-1] == 1:
            height, width = taken.value.shape[1:3]
            for first, wanted in ((True, [1, height, width]), (False, [height, width, 1])):
                if shape[1:].tolist() == wanted:
                    return _Tensor(taken.value, first)
        raise self._cannot(node, "expected one to (n, features)")

    def _squeeze(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        if self._taken(node).value.shape[1:3] != (1, 1):
            raise self._cannot(node, "expected it after global pooling")
        return self._flatten(node, attrs)

    def _transpose(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        taken, order = self._taken(node), tuple(attrs.get("perm", ()))
        if order == (_CHANNELS_LAST if taken.first else _CHANNELS_FIRST):
            return _Tensor(taken.value, not taken.first)
        raise self._cannot(node, f"{order}; expected channels first to last, or back")

    def _identity(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        return self._taken(node)

    _dropout = _identity

    def _concat(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        parts = [self._taken(node, place) for place in range(len(node.input))]
        if attrs["axis"] not in ((1, -3) if parts[0].first else (-1, len(parts[0].value.shape) - 1)):
            raise self._cannot(node, f"along axis {attrs['axis']}; expected the channels")
        return _Tensor(keras.layers.Concatenate()([part.value for part in parts]), parts[0].first)

    def _add(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        if all(name in self._tensors for name in node.input):
            parts = [self._taken(node, place) for place in (0, 1)]
            return _Tensor(keras.layers.Add()([part.value for part in parts]), parts[0].first)
        return self._affine(node, 1.0, self._operand(node))

    def _sub(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        if node.input[1] not in self._numbers:
            raise self._cannot(node, "expected a picture minus a number")
        return self._affine(node, 1.0, -self._operand(node))

    def _mul(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        return self._affine(node, self._operand(node), 0.0)

    def _div(self, node: Any, attrs: dict[str, Any]) -> _Tensor:
        if node.input[1] not in self._numbers:
            raise self._cannot(node, "expected a picture divided by a number")
        return self._affine(node, 1 / self._operand(node), 0.0)

    # --- shared ---

    def _operand(self, node: Any) -> Floats:
        """The constant of a node with one tensor and one constant, a scalar or one per channel."""
        number = next((self._numbers[name] for name in node.input if name in self._numbers), None)
        if number is None:
            raise self._cannot(node, "of two pictures; expected a constant")
        channels = self._tensor_of(node).value.shape[-1]
        if number.size not in (1, channels):
            raise self._cannot(node, f"of {number.size} numbers; expected one, or one per channel")
        return np.asarray(number, np.float32).reshape(-1)

    def _tensor_of(self, node: Any) -> _Tensor:
        place = next((place for place, name in enumerate(node.input) if name in self._tensors), 0)
        return self._taken(node, place)

    def _affine(self, node: Any, scale: Any, offset: Any) -> _Tensor:
        taken = self._tensor_of(node)
        scale, offset = np.asarray(scale, np.float32), np.asarray(offset, np.float32)
        before = taken.value._keras_history.operation
        if isinstance(before, keras.layers.Dense) and node.op_type == "Add":  # a MatMul's bias
            kernel, bias = before.get_weights()
            before.set_weights([kernel, bias + offset])
            return taken
        return _Tensor(keras.layers.Rescaling(scale.tolist(), offset.tolist())(taken.value), taken.first)

    def _padded(self, node: Any, x: Any, attrs: dict[str, Any], size: Sequence[int]) -> tuple[Any, str]:
        """*x* with the explicit padding of *node*, and the padding left to Keras."""
        auto = attrs.get("auto_pad", b"NOTSET").decode()
        if auto == "SAME_UPPER":
            return x, "same"
        if auto not in ("NOTSET", "VALID"):
            raise self._cannot(node, f"auto_pad {auto}; expected explicit pads")
        top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
        if not any((top, left, bottom, right)):
            return x, "valid"
        even = all(length == 2 * before + 1 for length, before in zip(size, (top, left), strict=True))
        whole = attrs.get("strides", [1, 1]) == [1, 1] and set(attrs.get("dilations", [1])) == {1}
        if even and whole and (top, left) == (bottom, right):
            return x, "same"
        return keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(x), "valid"

    def _pooled(self, kind: Any, node: Any, attrs: dict[str, Any], taken: _Tensor) -> _Tensor:
        if attrs.get("ceil_mode") or set(attrs.get("dilations", [1])) != {1}:
            raise self._cannot(node, "with ceil_mode or dilations; expected neither")
        size = attrs["kernel_shape"]
        attrs = {"strides": [1] * len(size), **attrs}
        top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
        x, padding = taken.value, "same" if attrs.get("auto_pad") == b"SAME_UPPER" else "valid"
        if any((top, left, bottom, right)):
            x = keras.layers.ZeroPadding2D(((top, bottom), (left, right)))(x)
        return _Tensor(kind(size, attrs["strides"], padding)(x), taken.first)

    def _weighted(self, layer: Any, x: Any, first: bool, kernel: Floats, bias: Floats | None) -> _Tensor:
        output = layer(x)
        layer.set_weights([kernel] if bias is None else [kernel, bias])
        return _Tensor(output, first)


def _compare(path: Path, made: Any) -> None:
    """EdgeError unless the outputs of *made* match onnxruntime's, if that is installed."""
    try:
        import onnxruntime
    except ImportError:
        return
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    pixels = np.random.default_rng(0).uniform(0, 1, (1, *made.input_shape[1:])).astype(np.float32)
    shown = pixels if given.shape[-1] == 1 and given.shape[1] != 1 else np.transpose(pixels, _CHANNELS_FIRST)
    wanted = session.run(None, {given.name: shown})[0].astype(np.float64)
    logits = np.exp(wanted - wanted.max(1, keepdims=True))
    sums_to_one = (wanted >= 0).all() and np.abs(wanted.sum(1) - 1).max() < _NEAR
    found = np.asarray(made(pixels, training=False))
    if np.abs(found - (wanted if sums_to_one else logits / logits.sum(1, keepdims=True))).max() > _NEAR:
        raise EdgeError(
            f"{path}: as a Keras network its outputs differ from onnxruntime's; use a run's model.keras"
        )
