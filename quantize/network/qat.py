"""Quantization-aware training.

Training simulates int8 in floating point (Jacob et al. 2018): each kernel is rounded to 255 steps per
channel, each activation to 256 steps of a range. Gradients ignore the rounding (straight-through). The
original network is the teacher (its probabilities, Hinton et al. 2015), so no labels are needed. The learned
ranges go into the file, without another calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from edge.types import EdgeError, Floats, Image
from quantize.network.fold import WEIGHTED, equalize, fold
from quantize.network.layers import consumers, copied, rebuilt
from quantize.ranges import ranges_of

RATE = 1e-4  # Adam's; the network is already trained
BATCH = 64
_SHOWN = 256  # pictures for the initial ranges

# In a TFLite file these keep their input's range, have a fixed one, or (constant factors) go into a kernel.
_RANGELESS = (
    keras.layers.MaxPooling2D, keras.layers.AveragePooling2D, keras.layers.GlobalMaxPooling2D,
    keras.layers.Flatten, keras.layers.Reshape, keras.layers.Rescaling, keras.layers.Softmax,
)  # fmt: skip
_RANGED = (
    *WEIGHTED, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.Add, keras.layers.Subtract,
    keras.layers.Multiply, keras.layers.Concatenate, keras.layers.GlobalAveragePooling2D,
)  # fmt: skip
_RELUS = (keras.activations.relu, keras.activations.relu6)
_FIXED = (keras.activations.sigmoid, keras.activations.tanh, keras.activations.softmax)


class Range(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Rounds to 256 steps from *low* to *high*; training scales both ends by learned factors."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ends = np.array([low, high], np.float32)

    def build(self, _: Any) -> None:
        self.growth = self.add_weight(shape=(2,), initializer="zeros", name="growth")

    def call(self, x: Any) -> Any:
        # One step here is sixteen of Adam's: a range has further to move than a weight.
        ends = keras.ops.exp(16 * self.growth) * self.ends
        return keras.quantizers.fake_quant_with_min_max_vars(x, ends[0], ends[1])


def train(model: Any, images: Image, epochs: int, *, rate: float = RATE, seed: int = 0) -> Any:
    """A network for convert.to_int8, trained to match *model* after quantization.

    Trains for *epochs* on *images* (n, height, width) uint8 and their mirror images; deterministic by *seed*
    on one machine. EdgeError for a layer without int8 support here.
    """
    import tensorflow as tf
    from tqdm import tqdm

    student = _ranged(equalized(model), images)
    pictures = np.concatenate([images, images[:, :, ::-1]])[..., np.newaxis].astype(np.float32)
    wanted = model.predict(pictures, batch_size=256, verbose=0)
    steps = epochs * -(-len(pictures) // BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    optimizer.build(student.trainable_variables)
    axes = _kernels(student)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def step(x: Any, teacher: Any) -> Any:
        with tf.GradientTape() as tape:
            weights = [rounded(variable, axes.get(id(variable))) for variable in student.trainable_variables]
            given, _ = student.stateless_call(weights, student.non_trainable_variables, x)
            loss = tf.reduce_mean(keras.losses.kl_divergence(teacher, given))
        optimizer.apply(tape.gradient(loss, student.trainable_variables))
        return loss

    random = np.random.default_rng(seed)
    with tqdm(total=steps, desc="quantization-aware training", unit="step", disable=None) as bar:
        for _ in range(epochs):
            order = random.permutation(len(pictures))
            for start in range(0, len(order), BATCH):
                rows = order[start : start + BATCH]
                loss = step(tf.constant(pictures[rows]), tf.constant(wanted[rows]))
                bar.set_postfix(divergence=f"{float(loss):.4f}", refresh=False)
                bar.update()
    for variable in student.trainable_variables:
        variable.assign(rounded(variable, axes.get(id(variable))))
    return student


def equalized(model: Any) -> Any:
    """*model* folded and with equalized channels, the start of training."""
    folded = fold(model)
    equalize(folded)
    return folded


def has_ranges(model: Any) -> bool:
    """Whether *model* was made by train, so that its own ranges apply."""
    return any(isinstance(layer, Range) for layer in model.layers)


def without_ranges(model: Any) -> Any:
    """*model* in floating point: with the rounded kernels from training, without rounding of activations."""

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if isinstance(layer, Range) else copied(layer, *args, **kwargs)

    return rebuilt(model, call)


def rounded(variable: Any, axes: tuple[int, ...] | None) -> Any:
    """*variable* rounded as in int8, with straight-through gradients.

    255 symmetric steps, one scale for all values along *axes*; None: unchanged, for variables other than
    kernels.
    """
    value = keras.ops.convert_to_tensor(variable)
    if axes is None:
        return value
    scale = keras.ops.max(keras.ops.abs(value), axes, keepdims=True) / 127
    scale = keras.ops.where(scale > 0, scale, 1.0)
    return value + keras.ops.stop_gradient(keras.ops.round(value / scale) * scale - value)


def _kernels(model: Any) -> dict[int, tuple[int, ...]]:
    """id of each kernel of the folded *model* -> the axes that share a scale in TFLite's 8-bit specification.

    One scale per output channel of a convolution, one for a dense layer. Decided by the layer, not the
    variable's name: a depthwise convolution's (h, w, channels, multiplier) is called `kernel`, too.
    """
    found: dict[int, tuple[int, ...]] = {}
    for layer in model.layers:
        if isinstance(layer, (keras.layers.DepthwiseConv2D, keras.layers.Dense)):
            found[id(layer.kernel)] = (0, 1)
        elif isinstance(layer, keras.layers.Conv2D):
            found[id(layer.kernel)] = (0, 1, 2)
    return found


def _ranged(model: Any, images: Image) -> Any:
    """The folded *model* with a Range at every int8 tensor of a TFLite file."""
    names = _places(model)
    ranges = _first_ranges(model, names, images)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = copied(layer, *args, **kwargs)
        if layer.name in ranges:
            return Range(*ranges[layer.name], name=f"{layer.name}_range")(output)
        return output

    return rebuilt(model, call, begin=Range(0.0, 255.0, name="pixels_range", trainable=False))


def _places(model: Any) -> list[str]:
    """Names of the layers with stored outputs: all but those with the next layer's ReLU fused into them."""
    places = []
    takes = consumers(model)
    for layer in model.layers:
        if isinstance(layer, (keras.layers.InputLayer, *_RANGELESS)):
            continue
        activation = layer.activation if isinstance(layer, keras.layers.Activation) else None
        if activation in _FIXED:
            continue
        if not isinstance(layer, _RANGED) and activation not in _RELUS:
            raise EdgeError(
                f"--qat: layer {layer.name!r} ({type(layer).__name__}) has no int8 form for training; "
                "expected convolutions, dense layers, batch normalization, ReLU, additions and pooling"
            )
        fusing = isinstance(layer, (*WEIGHTED, keras.layers.Add)) and all(map(_is_relu, takes[layer.name]))
        if not fusing:
            places.append(layer.name)
    return places


def _is_relu(layer: Any) -> bool:
    """Whether *layer* is a ReLU that TFLite fuses into the previous op."""
    if isinstance(layer, keras.layers.ReLU):
        return not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6)
    return isinstance(layer, keras.layers.Activation) and layer.activation in _RELUS


def _first_ranges(model: Any, names: list[str], images: Image) -> dict[str, tuple[float, float]]:
    """The initial range of each named layer's output, from calibration."""
    shown = keras.Model(model.input, [model.get_layer(name).output for name in names])

    def one_by_one() -> Iterator[dict[str, Floats]]:
        for start in range(0, min(len(images), _SHOWN), 16):
            outputs = shown(images[start : start + 16, ..., np.newaxis].astype(np.float32))
            yield from (
                dict(zip(names, tensors, strict=True))
                for tensors in zip(*(np.asarray(output) for output in outputs), strict=True)
            )

    return ranges_of(one_by_one())
