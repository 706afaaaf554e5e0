"""An untrained detector network: bright cells of 32 pixels are faces."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

STRIDES = (8, 16, 32)
BOX = (0.25, -0.25, 0.0, 0.5)  # box of every cell
EYES = (-0.25, -0.25, 0.25, -0.25)  # eyes of every cell


def write_model(folder: Path) -> Path:
    """faces.tflite (full int8, 256x320, nine outputs) and its card in *folder*; the model's path."""
    import tensorflow as tf

    def level(pixels: Any, stride: int, constants: tuple[float, ...], gain: float) -> Any:
        kernel = np.full((stride, stride, 1, len(constants)), gain / stride**2, np.float32)
        return tf.nn.bias_add(tf.nn.conv2d(pixels, kernel, stride, "VALID"), np.float32(constants))

    class Cells(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((1, 256, 320, 1), tf.float32, name="pixels")])
        def cells(self, pixels: Any) -> dict[str, Any]:
            # White gives a logit of 4, at the finer levels below -4.
            return {
                **{f"score_{s}": level(pixels, s, (-6.0,), (10 if s == 32 else 1) / 255) for s in STRIDES},
                **{f"box_{s}": level(pixels, s, BOX, 1e-6) for s in STRIDES},
                **{f"eyes_{s}": level(pixels, s, EYES, 1e-6) for s in STRIDES},
            }

    module = Cells()
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.cells.get_concrete_function())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [np.full((1, 256, 320, 1), value, np.float32)] for value in (0, 128, 255)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = folder / "faces.tflite"
    path.write_bytes(converter.convert())
    write_card(path)
    return path


def write_card(path: Path, **changes: Any) -> None:
    """A card next to the model file *path*; *changes* replace its parts."""
    content = path.read_bytes()
    card = {
        "kind": "detector",
        "name": "bright cells",
        "version": "1",
        "files": {path.name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}},
        "input": {"height": 256, "width": 320, "channels": 1, "range": [0, 255]},
        "decode": {
            "form": "center",
            "strides": list(STRIDES),
            "scores": [f"score_{stride}" for stride in STRIDES],
            "boxes": [f"box_{stride}" for stride in STRIDES],
            "eyes": [f"eyes_{stride}" for stride in STRIDES],
        },
        "intended_use": "tests",
        "limits": "all",
    }
    path.with_suffix(".json").write_text(json.dumps({**card, **changes}))
