"""Golden vectors of quantize's files: eight pictures, and each file's outputs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edge.analysis.card import Card
from edge.analysis.classify import FaceClassifier
from edge.analysis.golden import Outputs
from edge.analysis.preprocess import crop_whole
from edge.analysis.runtimes import open_runtime
from edge.sources.portraits import FILE
from edge.types import Floats, Image

# Tolerance of probabilities on another chip. int8: about twice the difference of LiteRT's kernels without
# XNNPACK on these pictures (edge-s: 0.049). Others: TensorRT may choose 16-bit kernels; the fp16 file differs
# from fp32 by up to 0.005 over PublicTest.
TOLERANCE_INT8 = 24 / 256
TOLERANCE_FLOAT = 0.02
_SEED = 0


def pictures(height: int, width: int) -> Image:
    """(8, height, width) uint8, fixed: the seven mean faces with noise, and extreme values.

    The faces are synthetic (``emotion-train portraits``), so they may be distributed with a model.
    """
    random = np.random.default_rng(_SEED)
    with np.load(FILE) as archive:
        faces = archive["faces"].astype(np.float64)
    noisy = np.clip(np.rint(faces + random.normal(0, 12, faces.shape)), 0, 255)
    extremes = np.where(random.random(faces.shape[1:]) < 0.5, 0, 255)
    chosen = np.concatenate([noisy, extremes[np.newaxis]]).astype(np.uint8)
    return np.stack([crop_whole(picture, height, width) for picture in chosen])


def golden(files: Mapping[str, bytes], compiled: Iterable[str], card: Card) -> bytes:
    """The archive that edge.analysis.golden reads, for *files* (name -> content).

    The files in *compiled* cannot run here; their expected outputs are those of the first of *files*, which
    they were compiled from.
    """
    inputs = pictures(card.input.height, card.input.width)
    scores = []
    for name, content in files.items():
        classifier = FaceClassifier(open_runtime("auto", content), card, name)
        scores.append([classifier.scores(picture) for picture in inputs])
    return _archive(inputs, files, compiled, scores, np.float32)


def golden_outputs(
    files: Mapping[str, bytes], compiled: Iterable[str], inputs: Image, span: tuple[float, float]
) -> bytes:
    """As golden(), for a detector's *files* on *inputs* (n, height, width) uint8 with pixel range *span*.

    An output's span is the range of zero and all its values on *inputs*.
    """
    scores, spans = [], []
    for content in files.values():
        answers = Outputs(open_runtime("auto", content), span)
        found = np.array([answers.scores(picture) for picture in inputs])
        parts = np.split(found, np.cumsum(answers.sizes)[:-1], axis=1)
        spans.append(np.repeat([_span(part) for part in parts], answers.sizes))
        scores.append(found)
    # 11 bits are more precise than the tolerance needs, at half the size.
    return _archive(inputs, files, compiled, scores, np.float16, spans)


def _span(values: Floats) -> float:
    return max(float(max(values.max(), 0) - min(values.min(), 0)), 1e-3)


def _archive(
    inputs: Image, files: Iterable[str], compiled: Iterable[str], scores: list[Any], dtype: Any,
    spans: list[Any] | None = None,
) -> bytes:  # fmt: skip
    names = [*files, *compiled]
    missing = len(names) - len(scores)
    more: dict[str, Any] = (
        {} if spans is None else {"spans": np.array(spans + spans[:1] * missing, np.float16)}
    )
    archive = io.BytesIO()
    np.savez_compressed(
        archive,
        pictures=inputs,
        files=np.array(names),
        scores=np.array(scores + scores[:1] * missing, dtype),
        tolerance=np.array([TOLERANCE_INT8 if is_int8(name) else TOLERANCE_FLOAT for name in names]),
        **more,
    )
    return archive.getvalue()


def is_int8(name: str) -> bool:
    """Whether quantize's file *name* is int8."""
    return name.endswith((".tflite", ".int8.onnx"))
