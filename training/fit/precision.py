"""The precision of training: float32, or bfloat16 if the processor supports it.

bfloat16 has float32's range with 8 bits of precision, so the loss needs no scaling. Weights, batch statistics
and the optimizer's state stay float32, so checkpoints are compatible.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_EXACT = {"logits", "probabilities"}
_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86's `flags` and aarch64's `Features`
_COMPUTE = (8, 0)  # NVIDIA's first compute capability with bfloat16


def available(asked: str) -> str:
    """*asked* (a recipe's precision), or float32 with a line on stderr if unsupported here."""
    if asked == "bfloat16" and not has_bfloat16():
        print("precision: no bfloat16 on this processor with this backend; using float32", file=sys.stderr)
        return "float32"
    return asked


def computing_in(precision: str, model: keras.Model) -> keras.Model:
    """A copy of *model* with its weights that computes in *precision*, the last two layers in float32.

    Logits of 8-bit precision affect the loss.
    """

    def converted(layer: keras.Layer) -> keras.Layer:
        policy = "float32" if layer.name in _EXACT else _POLICIES[precision]
        kind = layer.__class__
        if issubclass(kind, keras.layers.BatchNormalization):
            kind = _normalization(precision)
        return kind.from_config({**layer.get_config(), "dtype": policy})

    copy = keras.models.clone_model(model, clone_function=converted)
    copy.set_weights(model.get_weights())
    return copy


def _normalization(precision: str) -> type[keras.layers.BatchNormalization]:
    """Batch normalization: Keras's own, or for bfloat16 a fused operation if the backend has one.

    In bfloat16 Keras's converts to float32 and takes a dozen operations, more time than the convolutions (one
    CPU core, 64x48x48x32, forward and backward: 20.6 ms, fused 3.3; the convolution to 48 channels 9.9).
    """
    if precision == "float32" or keras.backend.backend() != "tensorflow":
        return keras.layers.BatchNormalization
    import tensorflow as tf

    class Fused(keras.layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            # Fused exists for maps of pixels alone, with both parameters.
            fused = len(inputs.shape) == 4 and self.gamma is not None and self.beta is not None
            if not (training and self.trainable and fused):
                return super().call(inputs, training=training, mask=mask)
            scale, offset = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
            outputs, *found = tf.compat.v1.nn.fused_batch_norm(inputs, scale, offset, epsilon=self.epsilon)
            for moving, new in zip((self.moving_mean, self.moving_variance), found, strict=True):
                moving.assign(moving * self.momentum + new * (1 - self.momentum))
            return outputs

    return Fused


def has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether Keras's device here computes bfloat16 natively rather than via float32."""
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            details = tf.config.experimental.get_device_details
            if gpus := [details(gpu) for gpu in tf.config.list_physical_devices("GPU")]:
                return all(gpu.get("compute_capability", (0, 0)) >= _COMPUTE for gpu in gpus)
        case "jax":
            import jax

            # On a CPU, XLA computes in float32 and rounds.
            return jax.default_backend() != "cpu"
        case "torch":
            import torch

            if torch.cuda.is_available():
                return torch.cuda.is_bf16_supported()
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    return any(_FLAGS & {*line.split()} for line in lines if line.startswith(("flags", "Features")))
