"""Golden vectors: a model's outputs for some pictures when it was measured, which a device must reproduce."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from edge.analysis.card import Model, read_sibling
from edge.analysis.tensors import dequantize, levels
from edge.types import EdgeError, Floats, Image, Runtime

SUFFIX = ".golden.npz"


class Golden(NamedTuple):
    """A model file's outputs for some pictures."""

    pictures: Image  # (n, height, width) uint8: framed faces, or of a detector what its input takes
    scores: Floats  # (n, values) probabilities, or a detector's outputs
    tolerance: float  # by which a value may differ on another chip, as a share of its span
    spans: Floats | float = 1.0  # (values,) what each ranges over


class Answers(Protocol):
    """All outputs of a model in a runtime."""

    def scores(self, pixels: Image) -> Sequence[float] | Floats:
        """(values,) for one of the golden pictures."""


class Outputs:
    """A detector's Answers: its outputs as real numbers, in the order of their names."""

    def __init__(self, runtime: Runtime, span: tuple[float, float]) -> None:
        """*span*: what the card says that black and white become."""
        self._runtime = runtime
        self._encoded = levels(span, runtime.input)
        names = [spec.name.partition(":")[0] for spec in runtime.outputs]
        self._order = sorted(range(len(names)), key=names.__getitem__)

    @property
    def sizes(self) -> list[int]:
        """How many values each output has, in the order of scores()."""
        return [int(np.prod(self._runtime.outputs[place].shape)) for place in self._order]

    def scores(self, pixels: Image) -> Floats:
        """(values,) float32 for one picture (height, width) uint8 of the input's size."""
        given = self._runtime.run(self._encoded.take(pixels).reshape(self._runtime.input.shape))
        specs = self._runtime.outputs
        return np.concatenate([dequantize(given[place], specs[place]).ravel() for place in self._order])


def read_golden(model: Model[Any]) -> Golden:
    """The golden vectors that *model*'s card lists; EdgeError where there are none, or none for this file.

    The archive holds ``pictures``, ``files`` (k,) names, ``scores`` (k, n, values), ``tolerance`` (k,), and
    of a detector ``spans`` (k, values).
    """
    name, content = read_sibling(model, SUFFIX)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            row = archive["files"].tolist().index(model.path.name)
            spans = archive["spans"][row].astype(np.float32) if "spans" in archive.files else 1.0
            return Golden(
                archive["pictures"], archive["scores"][row].astype(np.float32),
                float(archive["tolerance"][row]), spans,
            )  # fmt: skip
    except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        place = model.path.with_name(name)
        raise EdgeError(
            f"{place}: no golden vectors of {model.path.name} in it; quantize writes them"
        ) from error


def mismatch(golden: Golden, answers: Answers) -> str:
    """Why the outputs of *answers* are wrong, in one line; empty where they are right."""
    found = deviations(golden, answers)
    picture = int(np.argmax(found))  # the first NaN where there is one
    worst = found[picture]
    # In this form NaN fails as well.
    if worst <= golden.tolerance:
        return ""
    return (
        f"{len(found)} golden pictures, {what(golden)} differ by up to {worst:.4f} (picture "
        f"{picture}), {golden.tolerance:.4f} is allowed; this runtime "
        "differs from the one the model was measured on; use another"
    )


def what(golden: Golden) -> str:
    """What its values are, for people."""
    return "probabilities" if isinstance(golden.spans, float) else "outputs, as parts of their ranges,"


def deviations(golden: Golden, answers: Answers) -> list[float]:
    """For each picture, the largest difference of a value from the golden one, as a share of its span."""
    found = np.array([answers.scores(picture) for picture in golden.pictures], np.float32)
    if found.shape != golden.scores.shape:  # files of another detector, whose card lists these vectors
        return [float("inf")] * len(golden.pictures)
    return [float(value) for value in (np.abs(found - golden.scores) / golden.spans).max(1)]
