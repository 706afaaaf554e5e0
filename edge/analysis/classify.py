"""Faces in, probabilities out: crop, the model's number format, one or two inferences a face."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge.analysis.card import OURS, Card
from edge.analysis.preprocess import crop
from edge.analysis.tensors import levels
from edge.types import EdgeError, Face, Floats, Image, Runtime


class FaceClassifier:
    """Probabilities for each face, by a model whose tensors agree with its card."""

    def __init__(self, runtime: Runtime, card: Card, name: str, *, mirror: bool = False) -> None:
        """EdgeError where the card and the tensors of model file *name* disagree.

        *mirror*: average each face with its mirror image, by one more inference.
        """
        if card.crop != OURS:
            raise EdgeError(f"{name}: card says crop {card.crop}; expected {OURS}, our crop")
        wanted = (1, card.input.height, card.input.width, card.input.channels)
        if runtime.input.shape != wanted:
            raise EdgeError(f"{name}: card says input {wanted}, model takes {runtime.input.shape}")
        if len(runtime.outputs) != 1:
            raise EdgeError(f"{name}: model gives {len(runtime.outputs)} outputs; expected one")
        (given,) = runtime.outputs
        if given.shape != (1, len(card.labels)):
            raise EdgeError(
                f"{name}: card lists {len(card.labels)} labels, model gives {given.shape} outputs"
            )
        for side, spec in (("input", runtime.input), ("output", given)):
            if spec.dtype.kind != "f" and spec.scale <= 0:
                raise EdgeError(f"{name}: {side} is {spec.dtype} without a scale; quantize it again")
        self._runtime = runtime
        self.mirror = mirror
        self.labels = card.labels
        self._height, self._width = card.input.height, card.input.width
        # A table: pixels have 256 values.
        self._encoded = levels(card.input.range, runtime.input)
        # As tensors.dequantize, but for so few numbers plain Python is faster than numpy.
        self._scale, self._zero_point = given.scale or 1.0, given.zero_point

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        """(len(faces), len(labels)) float32 probabilities, 0..1; *image* is BGR or luma, uint8."""
        # One at a time: batching gains nothing in LiteRT (0.62 to 0.77 ms a face either way).
        scores = [self.opinion(crop(image, face, self._height, self._width)) for face in faces]
        return np.array(scores, np.float32).reshape(-1, len(self.labels))

    def opinion(self, pixels: Image) -> list[float]:
        """As scores(), averaged with the mirror image's where ``mirror``."""
        once = self.scores(pixels)
        if not self.mirror:
            return once
        return [(a + b) / 2 for a, b in zip(once, self.scores(pixels[:, ::-1]), strict=True)]

    def scores(self, pixels: Image) -> list[float]:
        """Probabilities in the labels' order of one cropped face (height, width) uint8, by one inference."""
        tensor = self._encoded.take(pixels).reshape(self._runtime.input.shape)
        steps = self._runtime.run(tensor)[0].ravel().tolist()
        output = [(step - self._zero_point) * self._scale for step in steps]
        # Eight-bit steps leave the sum a little off one; nonsense must not be passed on.
        total = sum(output)
        if not math.isfinite(total) or total <= 0:
            return [1 / len(self.labels)] * len(self.labels)
        return [value / total for value in output]
