"""A Keras network -> the bytes of a full-int8 TFLite file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge.quiet import quiet
from edge.types import LABELS, EdgeError, Floats, Image


def load(path: Path) -> Any:
    """The Keras model at *path*, checked to take luma pixels and to give probabilities of LABELS."""
    if not path.is_file():
        raise EdgeError(f"{path}: no such file; a run's model.keras would do")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the converter reads TensorFlow graphs only
    try:
        with quiet():
            import keras

            keras.utils.clear_session()  # numbers in layers' names go into the file: the same each time
            model = keras.models.load_model(path, compile=False)
    except ImportError as error:
        raise EdgeError(f"{error}; `pip install emotion-edge[quantize]` would do") from error
    except Exception as error:  # keras raises whatever its archive reader does
        raise EdgeError(f"{path}: not a Keras model: {' '.join(str(error).split())[:200]}") from error
    shape = tuple(model.input_shape) if len(model.inputs) == 1 else None
    if shape is None or len(shape) != 4 or shape[3] != 1 or None in shape[1:]:
        raise EdgeError(f"{path}: input {model.input_shape}; one of (n, height, width, 1) would do")
    if tuple(model.output_shape[1:]) != (len(LABELS),):
        raise EdgeError(f"{path}: output {model.output_shape}; {len(LABELS)} labels would do")
    _last_dense(model, path)
    return model


def predict(model: Any, images: Image) -> Floats:
    """Probabilities (n, labels) float32 of *images* (n, height, width) uint8 by the float network."""
    with quiet():
        return np.asarray(
            model.predict(images[..., np.newaxis].astype(np.float32), batch_size=256, verbose=0)
        )


def fold_temperature(model: Any, temperature: float, path: Path) -> None:
    """Divide the last dense layer by *temperature*, so that the network's softmax comes out calibrated."""
    dense = _last_dense(model, path)
    dense.set_weights([weight / temperature for weight in dense.get_weights()])


def to_int8(model: Any, calibration: Image) -> bytes:
    """The TFLite file: int8 throughout, weights per channel, pixel - 128 in, batch of one.

    *calibration* (m, height, width) uint8 shows the converter what each activation reaches.
    """
    with quiet():
        import keras
        import tensorflow as tf

        # A batch of one, fixed: a dynamic shape keeps accelerators' compilers out.
        pixels = keras.Input(batch_shape=(1, *model.input_shape[1:]), name="pixels")
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(pixels, model(pixels)))
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _one_by_one(calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
        content = bytes(converter.convert())
    _check(content)
    return content


def _one_by_one(calibration: Image) -> Iterator[list[Floats]]:
    """Each picture, the first stretched to hold 0 and 255: the input's scale must come out as 1."""
    first = calibration[0].astype(np.float32)
    low, high = first.min(), first.max()
    stretched = (first - low) * (255 / max(high - low, 1))
    for image in (stretched, *calibration[1:]):
        yield [image.astype(np.float32)[np.newaxis, ..., np.newaxis]]


def _check(content: bytes) -> None:
    """EdgeError unless *content* takes pixel - 128 and holds no float tensor."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content)
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    if (taken["dtype"], taken["quantization"]) != (np.int8, (1.0, -128)) or given["dtype"] != np.int8:
        raise EdgeError(
            f"the converter made input {np.dtype(taken['dtype'])} {taken['quantization']} and output "
            f"{np.dtype(given['dtype'])}; int8 with scale 1, zero point -128, and int8 are needed: "
            "does the network take pixels 0 to 255?"
        )
    floats = [tensor["name"] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32]
    if floats:
        raise EdgeError(f"the converter left {len(floats)} tensors in float, first {floats[0]!r}")


def _last_dense(model: Any, path: Path) -> Any:
    """The dense layer whose outputs softmax turns into probabilities."""
    import keras

    softmax = keras.activations.softmax
    last = model.layers[-1]
    if isinstance(last, keras.layers.Dense) and last.activation is softmax:
        return last
    is_softmax = isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is softmax
    if is_softmax and len(model.layers) > 1 and isinstance(model.layers[-2], keras.layers.Dense):
        return model.layers[-2]
    raise EdgeError(
        f"{path}: ends in {type(last).__name__} {last.name!r}; a dense layer and softmax would do"
    )
