"""The model card: a JSON file next to a model file, and the check that the two belong together.

A TFLite parser is no integrity check (single-bit flips in weights load and run), so size and sha256
are compared before any byte reaches an interpreter, and the same bytes are passed on.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge.labels import wrong_names
from edge.types import EdgeError, named

MAX_MODEL_BYTES = 32 * 1024 * 1024
MAX_CARD_BYTES = 1024 * 1024


class _Part(BaseModel):
    # A newer quantize may write keys that this daemon does not know.
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileEntry(_Part):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(gt=0)  # bytes


class Input(_Part):
    height: int = Field(gt=0, le=512)
    width: int = Field(gt=0, le=512)
    channels: Literal[1]
    range: tuple[float, float]  # pixel values of black and white: (0, 255)


class Crop(_Part):
    framing: str  # what a box holds: "fer2013"
    upright: bool  # eye points turn the crop


OURS = Crop(framing="fer2013", upright=True)  # edge/analysis/preprocess.py


class Output(_Part):
    kind: Literal["probabilities"]
    temperature: float = Field(gt=0)  # already folded into the last layer


class Figure(_Part):
    name: str  # "accuracy"
    value: float
    data: str  # data set and label set
    split: str
    protocol: str
    n: int = Field(gt=0)


class _AnyCard(_Part):
    name: str
    version: str
    files: dict[str, FileEntry]
    figures: tuple[Figure, ...] = ()
    training: dict[str, Any] = {}
    data: tuple[dict[str, Any], ...] = ()  # name, licence, used for
    intended_use: str
    limits: str

    @field_validator("files")
    @classmethod
    def _are_plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if "/" in name or "\0" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r}; expected the name of a file next to the card")
        return files


class Card(_AnyCard):
    """A classifier's card."""

    kind: Literal["classifier"] = "classifier"
    labels: tuple[str, ...]
    input: Input
    crop: Crop
    output: Output

    @field_validator("labels")
    @classmethod
    def _can_be_published(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := wrong_names(labels):
            raise ValueError(wrong)
        return labels


class DetectorInput(_Part):
    height: int = Field(gt=0, le=2048)
    width: int = Field(gt=0, le=2048)
    channels: Literal[1, 3]  # luma, or red, green, blue
    range: tuple[float, float]  # pixel values of black and white: (0, 255)
    # Times detector.long_side at which the network sees a picture: its finest cells, of 8 pixels, are coarse
    # for small faces.
    zoom: float = Field(default=1.0, ge=1, le=4)


class _Decode(_Part):
    min_score: float = Field(default=0.5, ge=0, le=1)  # what counts as a face where nothing else is set
    max_overlap: float = Field(default=0.4, ge=0, le=1)  # of two boxes with a larger IoU the lower score goes


class Center(_Decode):
    """One face a cell; the names are those of the model's outputs, a level each (detectors/decode.py)."""

    form: Literal["center"]
    strides: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)  # pixels
    scores: tuple[str, ...]  # (1, rows, columns, 1) logits
    boxes: tuple[str, ...]  # (1, rows, columns, 4)
    eyes: tuple[str, ...] = ()  # (1, rows, columns, 4); none: no eyes

    @model_validator(mode="after")
    def _has_an_output_a_level(self) -> Center:
        for name in ("scores", "boxes", *(("eyes",) if self.eyes else ())):
            if len(getattr(self, name)) != len(self.strides):
                raise ValueError(f"{len(self.strides)} strides, {len(getattr(self, name))} {name}")
        return self


class Grid(_Part):
    stride: int = Field(gt=0)  # pixels
    anchors: int = Field(gt=0)  # a cell


class Anchors(_Decode):
    """Anchors of one size in the middle of cells, as MediaPipe's face detectors have them."""

    form: Literal["anchors"]
    grids: tuple[Grid, ...] = Field(min_length=1)  # in the order of the outputs' rows
    scores: str  # (1, anchors, 1) logits
    boxes: str  # (1, anchors, 4 + 2 x points): center x, y, width, height, then points x, y
    scale: float = Field(gt=0)  # what the boxes' numbers are divided by to be parts of the input's side
    clip: float = Field(default=100.0, gt=0)  # of the logits
    eyes: tuple[int, int] | None = None  # which of the points they are


class BoxFraming(_Part):
    down: float  # edge/analysis/detectors/shared.py, Framing
    size: float = Field(gt=0)


class DetectorCard(_AnyCard):
    """A face detector's card."""

    kind: Literal["detector"]
    input: DetectorInput
    decode: Annotated[Center | Anchors, Field(discriminator="form")]
    framing: BoxFraming | None = None  # None: as our own network's


AnyCard = TypeVar("AnyCard", Card, DetectorCard)
_OTHER_KIND: dict[type[_AnyCard], str] = {
    Card: "the card of a detector; model.file takes a classifier's",
    DetectorCard: "the card of a classifier; detector.file takes a detector's",
}


@dataclass(frozen=True, slots=True)
class Model(Generic[AnyCard]):
    """A verified model: the bytes whose sha256 is in its card."""

    path: Path
    content: bytes
    sha256: str
    card: AnyCard


def is_detector(path: Path) -> bool:
    """Whether the model file *path* has a face detector's card."""
    try:
        content = json.loads(_read(card_path(path), MAX_CARD_BYTES))
    except (EdgeError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == "detector"


def read_card(path: Path, kind: type[AnyCard]) -> AnyCard:
    """The card at *path*; EdgeError where it is missing or not one of *kind*."""
    try:
        text = _read(path, MAX_CARD_BYTES)
    except EdgeError as error:
        raise EdgeError(f"{error}; a model needs its card next to it (quantize writes both)") from error
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        if any(one["loc"] == ("kind",) for one in error.errors()):
            raise EdgeError(f"{path}: {_OTHER_KIND[kind]}") from error
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        found = f"{place}: {first['msg']}" if place else first["msg"]
        raise EdgeError(f"{path}: not a model card: {found}") from error


def read_model(path: Path) -> Model[Card]:
    """The classifier in *path*, read once; EdgeError where it or its card is missing, too large or other."""
    return _verified(path, Card)


def read_detector(path: Path) -> Model[DetectorCard]:
    """As read_model(), of a face detector."""
    return _verified(path, DetectorCard)


def _verified(path: Path, kind: type[AnyCard]) -> Model[AnyCard]:
    card = read_card(card_path(path), kind)
    content = _read_listed(path, card)
    return Model(path, content, card.files[path.name].sha256, card)


def card_path(path: Path) -> Path:
    """Where the card of the model file *path* is: X.json for X.tflite and X.onnx.

    X.json is also the card of X.int8.onnx and the like, unless that has an X.int8.json of its own.
    """
    own = path.with_suffix(".json")
    shared = own.with_suffix("").with_suffix(".json")
    return shared if shared.exists() and not own.exists() else own


def read_sibling(model: Model[Any], suffix: str) -> tuple[str, bytes]:
    """(name, content) of the one file in *model*'s card that ends in *suffix*, verified; EdgeError."""
    names = [name for name in model.card.files if name.endswith(suffix)]
    if len(names) != 1:
        raise EdgeError(
            f"{card_path(model.path)}: lists {len(names)} files *{suffix}; quantize makes a card with one"
        )
    return names[0], _read_listed(model.path.with_name(names[0]), model.card)


def _read_listed(path: Path, card: _AnyCard) -> bytes:
    entry = card.files.get(path.name)
    if entry is None:
        listed = ", ".join(sorted(card.files)) or "nothing"
        raise EdgeError(f"{path}: its card lists {listed}, not this file; copy model and card together")
    content = _read(path, MAX_MODEL_BYTES)
    if len(content) != entry.size:
        raise EdgeError(f"{path}: {len(content)} bytes, its card says {entry.size}; copy the file again")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise EdgeError(
            f"{path}: sha256 {sha256[:12]}…, its card says {entry.sha256[:12]}…; "
            "the file was changed or damaged, copy it again"
        )
    return content


def _read(path: Path, limit: int) -> bytes:
    with named(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise EdgeError(f"{path}: {size} bytes, more than the {limit} allowed")
        content = file.read(limit + 1)
    if len(content) > limit:  # a device or a pipe has no size to ask for
        raise EdgeError(f"{path}: more than {limit} bytes")
    return content
