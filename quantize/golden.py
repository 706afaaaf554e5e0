"""The golden vectors of the files that quantize makes: eight pictures, and what each file makes of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import numpy as np

from edge.card import Card
from edge.classify import FaceClassifier
from edge.preprocess import crop_whole
from edge.runtimes import open_runtime
from edge.sources.portraits import FILE
from edge.types import Image

# Probabilities may differ by this much on another chip. Of int8: about twice what LiteRT's kernels without
# XNNPACK make of these pictures (edge-s: 0.049). Of the others: TensorRT may take 16-bit kernels; those of
# the fp16 file differ from fp32 by up to 0.005 over PublicTest.
TOLERANCE_INT8 = 24 / 256
TOLERANCE_FLOAT = 0.02
_SEED = 0


def pictures(height: int, width: int) -> Image:
    """(8, height, width) uint8, always the same: the seven mean faces under noise, and the extremes.

    The faces are nobody's (``emotion-train portraits``), so they can go wherever a model goes.
    """
    random = np.random.default_rng(_SEED)
    with np.load(FILE) as archive:
        faces = archive["faces"].astype(np.float64)
    noisy = np.clip(np.rint(faces + random.normal(0, 12, faces.shape)), 0, 255)
    extremes = np.where(random.random(faces.shape[1:]) < 0.5, 0, 255)
    chosen = np.concatenate([noisy, extremes[np.newaxis]]).astype(np.uint8)
    return np.stack([crop_whole(picture, height, width) for picture in chosen])


def golden(files: Mapping[str, bytes], compiled: Iterable[str], card: Card) -> bytes:
    """The archive that edge.golden reads, for *files* (name -> content).

    The files named in *compiled* cannot run here: they are to give what the first of *files*, from
    which they were compiled, gives.
    """
    inputs = pictures(card.input.height, card.input.width)
    scores = []
    for name, content in files.items():
        classifier = FaceClassifier(open_runtime("auto", content), card, name)
        scores.append([classifier.scores(picture) for picture in inputs])
    names = [*files, *compiled]
    scores += [scores[0]] * (len(names) - len(scores))
    archive = io.BytesIO()
    np.savez_compressed(
        archive,
        pictures=inputs,
        files=np.array(names),
        scores=np.array(scores, np.float32),
        tolerance=np.array([TOLERANCE_INT8 if is_int8(name) else TOLERANCE_FLOAT for name in names]),
    )
    return archive.getvalue()


def is_int8(name: str) -> bool:
    """Whether the file *name*, one of quantize's, computes in eight bits."""
    return name.endswith((".tflite", ".int8.onnx"))
