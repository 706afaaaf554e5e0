"""A Keras network -> the bytes of a full-int8 TFLite file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge.host.quiet import quiet
from edge.types import LABELS, EdgeError, Floats, Image
from quantize.ranges import WITHIN

_HDF5 = (".h5", ".hdf5")


def load(path: Path, labels: int = len(LABELS)) -> Any:
    """The network at *path*, checked to take luma pixels and to give probabilities of so many *labels*.

    *path* is a .keras, .h5 or .onnx file or a SavedModel folder; EdgeError, in one line, for anything else.
    """
    model = opened(path)
    shape = tuple(model.input_shape) if len(model.inputs) == 1 else None
    if shape is None or len(shape) != 4:
        raise EdgeError(f"{path}: input {model.input_shape}; expected one of (n, height, width, 1)")
    if None in shape[1:]:
        raise EdgeError(
            f"{path}: input {shape} of no fixed size, which no accelerator's compiler takes; "
            "build it with keras.Input((height, width, 1))"
        )
    if shape[3] != 1:
        raise EdgeError(
            f"{path}: input {shape} of {shape[3]} channels; the daemon gives luma: "
            "expected one of (n, height, width, 1)"
        )
    if len(model.outputs) != 1 or tuple(model.output_shape[1:]) != (labels,):
        raise EdgeError(f"{path}: output {model.output_shape}; expected {labels} labels")
    if not _is_saved_model(path):
        _logits(model, path)
    return model


def opened(path: Path) -> Any:
    """The Keras network at *path*, whatever it takes and gives; a SavedModel comes as a single layer."""
    if not path.exists():
        raise EdgeError(f"{path}: no such file; expected a run's model.keras")
    if path.is_dir() and not _is_saved_model(path):
        raise EdgeError(f"{path}: a folder without saved_model.pb; expected a run's model.keras")
    if path.suffix == ".tflite":
        raise EdgeError(f"{path}: a device's file already; expected the network that it was made from")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the converter reads TensorFlow graphs only
    try:
        with quiet(show_on_error=False):
            import keras

            keras.utils.clear_session()  # numbers in layers' names go into the file: the same each time
            if path.is_dir():
                return _saved_model(path)
            return _loaded(path)
    except EdgeError:
        raise
    except ImportError as error:
        raise EdgeError(f"{error}; run `pip install emotion-edge[quantize]`") from error
    except Exception as error:  # keras raises whatever its archive reader does
        said = " ".join(str(error).split())
        if "lambda" in said.lower():
            raise EdgeError(
                f"{path}: holds a Lambda layer, Python code that no device's file can hold; "
                "use Keras layers that do the same"
            ) from error
        raise EdgeError(f"{path}: not a Keras model: {said[:200]}{_older(path)}") from error


def _loaded(path: Path) -> Any:
    """The network in the .keras, .h5 or .onnx file at *path*; raises whatever its reader does."""
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
    """What to do with a file that an older Keras saved and this one cannot read; empty for any other."""
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
    """A network of one layer that runs the serving function of the SavedModel at *path*."""
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
    """Probabilities (n, labels) float32 of *images* (n, height, width) uint8 by the float network."""
    with quiet():
        return np.asarray(
            model.predict(images[..., np.newaxis].astype(np.float32), batch_size=256, verbose=0)
        )


def fold_temperature(model: Any, temperature: float, path: Path) -> float:
    """Divide what goes into the softmax by *temperature*, so that it comes out calibrated.

    Gives the temperature that is folded in: 1 for a SavedModel, whose weights are out of reach.
    """
    if _is_saved_model(path):
        return 1.0
    layer = _logits(model, path)
    layer.set_weights([weight / temperature for weight in layer.get_weights()])
    return temperature


def to_int8(model: Any, calibration: Image, content: bytes | None = None, within: float = WITHIN) -> bytes:
    """The TFLite file: int8 throughout, weights per channel, pixel - 128 in, batch of one.

    Only dense layers have one scale for all: a scale a channel came to them in TensorFlow 2.16, and runtimes
    from before, the Edge TPU's among them, read the first for all. That costs nothing: on PublicTest .8519 in
    place of .8521 (edge-s), .7828 in place of .7828 (plain).
    *calibration* (m, height, width) uint8 shows what each activation reaches; a *model* that was trained
    with ranges keeps those. *content* is what to_float makes of it, where that is at hand already; *within*:
    see quantize.ranges.WITHIN.
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
            # What the converter does with a representative data set, but for the ranges, which are ours.
            eight = bytes(
                mlir_quantize(
                    with_ranges(content or to_float(model), calibration, within),
                    fully_quantize=True, input_data_type=tf.int8, output_data_type=tf.int8,
                    disable_per_channel_for_dense_layers=True,
                )
            )  # fmt: skip
    _check(eight)
    return eight


def to_float(model: Any) -> bytes:
    """The float TFLite file of *model*, batch of one; of one trained with ranges, without them."""
    with quiet():
        from quantize.network.qat import has_ranges, without_ranges

        return bytes(_converter(without_ranges(model) if has_ranges(model) else model).convert())


def _converter(model: Any) -> Any:
    import keras
    import tensorflow as tf

    # A batch of one, fixed: a dynamic shape keeps accelerators' compilers out.
    pixels = keras.Input(batch_shape=(1, *model.input_shape[1:]), name="pixels")
    return tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, model(pixels)))


def _check(content: bytes) -> None:
    """EdgeError unless *content* takes pixel - 128 and holds no float tensor."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content)
    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()
    pixels = (taken["dtype"], taken["quantization"]) == (np.int8, (1.0, -128))
    if not pixels or any(output["dtype"] != np.int8 for output in given):
        raise EdgeError(
            f"the converter made input {np.dtype(taken['dtype'])} {taken['quantization']} and output "
            f"{', '.join(str(np.dtype(output['dtype'])) for output in given)}; "
            "int8 with scale 1, zero point -128, and int8 are needed: "
            "does the network take pixels 0 to 255?"
        )
    floats = [tensor["name"] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32]
    if floats:
        raise EdgeError(f"the converter left {len(floats)} tensors in float, first {floats[0]!r}")


def _logits(model: Any, path: Path) -> Any:
    """The dense layer or convolution whose outputs softmax turns into probabilities."""
    import keras

    layers, activations = keras.layers, keras.activations
    # What a factor passes through unchanged.
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
    """The layers of *model* from the last on, along first inputs; of a network inside it, its own."""
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
