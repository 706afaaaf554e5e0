"""Converts a Keras network into a full-int8 TFLite file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge.host.quiet import quiet
from edge.types import LABELS, EdgeError, Floats, Image
from quantize.names import shortened
from quantize.ranges import WITHIN

_HDF5 = (".h5", ".hdf5")


def load(path: Path, labels: int = len(LABELS)) -> Any:
    """The network at *path*, checked to take luma pixels and to output probabilities of *labels* labels.

    *path* is a .keras, .h5 or .onnx file or a SavedModel folder; EdgeError, in one line, for anything else.
    """
    model = opened(path)
    shape = tuple(model.input_shape) if len(model.inputs) == 1 else None
    if shape is None or len(shape) != 4:
        raise EdgeError(f"{path}: input {model.input_shape}; expected one of (n, height, width, 1)")
    if None in shape[1:]:
        raise EdgeError(
            f"{path}: input {shape} has no fixed size, which accelerators' compilers need; "
            "build it with keras.Input((height, width, 1))"
        )
    if shape[3] != 1:
        raise EdgeError(
            f"{path}: input {shape} has {shape[3]} channels; the daemon provides luma: "
            "expected one of (n, height, width, 1)"
        )
    if len(model.outputs) != 1 or tuple(model.output_shape[1:]) != (labels,):
        raise EdgeError(f"{path}: output {model.output_shape}; expected {labels} labels")
    if not _is_saved_model(path):
        _logits(model, path)
    return model


def opened(path: Path) -> Any:
    """The Keras network at *path*, with any inputs and outputs; a SavedModel becomes a single layer."""
    if not path.exists():
        raise EdgeError(f"{path}: no such file; expected a run's model.keras")
    if path.is_dir() and not _is_saved_model(path):
        raise EdgeError(f"{path}: a folder without saved_model.pb; expected a run's model.keras")
    if path.suffix == ".tflite":
        raise EdgeError(f"{path}: already a device's file; expected the network it was made from")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the converter reads TensorFlow graphs only
    try:
        with quiet(show_on_error=False):
            import keras

            keras.utils.clear_session()  # layer names go into the file: keep their numbers reproducible
            if path.is_dir():
                return _saved_model(path)
            return _loaded(path)
    except EdgeError:
        raise
    except ImportError as error:
        raise EdgeError(f"{error}; run `pip install emotion-edge[quantize]`") from error
    except Exception as error:  # Keras raises whatever its archive reader does
        reason = " ".join(str(error).split())
        if "lambda" in reason.lower():
            raise EdgeError(
                f"{path}: contains a Lambda layer, Python code that device files cannot contain; "
                "use Keras layers that do the same"
            ) from error
        raise EdgeError(f"{path}: not a Keras model: {reason[:200]}{_older(path)}") from error


def _loaded(path: Path) -> Any:
    """The network in the .keras, .h5 or .onnx file at *path*; raises whatever the reader raises."""
    import keras

    from quantize.network import keras2, onnx_in

    if path.suffix == ".onnx":
        return onnx_in.network(path)

    if path.suffix not in _HDF5 or not keras2.is_older(keras2.saved_by(path)):
        return keras.models.load_model(path, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        keras2.renewed(path, Path(folder) / path.name)
        return keras.models.load_model(Path(folder) / path.name, compile=False)


def _older(path: Path) -> str:
    """Advice for a file of an older Keras that this one cannot read; empty for any other."""
    from quantize.network import keras2

    version = keras2.saved_by(path) if path.suffix in _HDF5 else ""
    if not keras2.is_older(version):
        return ""
    return (
        f"; saved by Keras {version}; save it there by tf.saved_model.save(model, folder) and name "
        "that folder"
    )


def _is_saved_model(path: Path) -> bool:
    return (path / "saved_model.pb").is_file()


def _saved_model(path: Path) -> Any:
    """A network of one layer that runs the SavedModel's serving function."""
    import keras
    import tensorflow as tf

    signatures = tf.saved_model.load(str(path)).signatures
    name = "serving_default" if "serving_default" in signatures else next(iter(signatures))
    _, taken = signatures[name].structured_input_signature
    (tensor,) = taken.values()
    pixels = keras.Input(batch_shape=tuple(tensor.shape), name="pixels", dtype=tensor.dtype.name)
    given = keras.layers.TFSMLayer(str(path), call_endpoint=name)(pixels)
    return keras.Model(pixels, next(iter(given.values())) if isinstance(given, dict) else given)


def predict(model: Any, images: Image) -> Floats:
    """The float network's probabilities (n, labels) float32 for *images* (n, height, width) uint8."""
    with quiet():
        return np.asarray(
            model.predict(images[..., np.newaxis].astype(np.float32), batch_size=256, verbose=0)
        )


def fold_temperature(model: Any, temperature: float, path: Path) -> float:
    """Divide the logits by *temperature*, so that the probabilities are calibrated.

    Returns the temperature folded in: 1 for a SavedModel, whose weights are inaccessible.
    """
    if _is_saved_model(path):
        return 1.0
    layer = _logits(model, path)
    layer.set_weights([weight / temperature for weight in layer.get_weights()])
    return temperature


def to_int8(model: Any, calibration: Image, content: bytes | None = None, within: float = WITHIN) -> bytes:
    """The TFLite file: int8 throughout, weights per channel, pixel - 128 in, batch of one.

    Dense layers have one scale per tensor: per-channel scales for them came with TensorFlow 2.16, and older
    runtimes, including the Edge TPU's, apply the first to all. It costs nothing: on PublicTest .8519 instead
    of .8521 (edge-s), .7828 instead of .7828 (plain). *calibration* (m, height, width) uint8 determines the
    ranges of activations; a *model* trained with ranges keeps those. *content* is the result of to_float, if
    already available; *within*: see quantize.ranges.WITHIN.
    """
    with quiet():
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize

        from quantize.network.qat import has_ranges
        from quantize.ranges import with_ranges

        if has_ranges(model):
            converter = _converter(model)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
            converter.inference_input_type = tf.int8
            converter.inference_output_type = tf.int8
            eight = bytes(converter.convert())
        else:
            # Like the converter's own calibration, but with our ranges.
            eight = bytes(
                mlir_quantize(
                    with_ranges(content or to_float(model), calibration, within),
                    fully_quantize=True, input_data_type=tf.int8, output_data_type=tf.int8,
                    disable_per_channel_for_dense_layers=True,
                )
            )  # fmt: skip
        eight = shortened(eight)
    _check(eight)
    return eight


def to_float(model: Any) -> bytes:
    """The float TFLite file of *model*, batch of one; ranges from training are removed."""
    with quiet():
        from quantize.network.qat import has_ranges, without_ranges

        return bytes(_converter(without_ranges(model) if has_ranges(model) else model).convert())


def _converter(model: Any) -> Any:
    import keras
    import tensorflow as tf

    # A fixed batch of one: accelerators' compilers reject dynamic shapes.
    pixels = keras.Input(batch_shape=(1, *model.input_shape[1:]), name="pixels")
    return tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, model(pixels)))


def _check(content: bytes) -> None:
    """EdgeError unless *content* takes pixel - 128 and has no float tensor."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content)
    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()
    pixels = (taken["dtype"], taken["quantization"]) == (np.int8, (1.0, -128))
    if not pixels or any(output["dtype"] != np.int8 for output in given):
        raise EdgeError(
            f"the converter produced input {np.dtype(taken['dtype'])} {taken['quantization']} and output "
            f"{', '.join(str(np.dtype(output['dtype'])) for output in given)}; "
            "expected int8 with scale 1, zero point -128, and int8; "
            "does the network take pixels 0 to 255?"
        )
    floats = [tensor["name"] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32]
    if floats:
        raise EdgeError(f"the converter left {len(floats)} tensors in float, first {floats[0]!r}")


def _logits(model: Any, path: Path) -> Any:
    """The dense layer or convolution that computes the logits."""
    import keras

    layers, activations = keras.layers, keras.activations
    # Layers that commute with a factor.
    through = (
        layers.GlobalAveragePooling2D, layers.AveragePooling2D, layers.Flatten, layers.Reshape,
        layers.Dropout,
    )  # fmt: skip
    chain = list(_backwards(model))
    last = chain[0]
    softmax = isinstance(last, layers.Softmax) or getattr(last, "activation", None) is activations.softmax
    if softmax and isinstance(last, layers.Dense):
        return last
    if softmax:
        for layer in chain[1:]:
            if isinstance(layer, (layers.Dense, layers.Conv2D)) and layer.activation is activations.linear:
                return layer
            if not isinstance(layer, through):
                break
    raise EdgeError(
        f"{path}: ends in {type(last).__name__} {last.name!r}; expected a dense layer and softmax"
    )


def _backwards(model: Any) -> Iterator[Any]:
    """The layers of *model* backwards from the last, along first inputs; descends into inner networks."""
    import keras

    tensor = model.outputs[0]
    while True:
        layer, node, _ = tensor._keras_history
        if isinstance(layer, keras.Model):
            yield from _backwards(layer)
        else:
            yield layer
        inputs = layer._inbound_nodes[node].input_tensors
        if isinstance(layer, keras.layers.InputLayer) or not inputs:
            return
        tensor = inputs[0]
