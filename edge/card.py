"""The model card: what stands beside a model file, and the check that file and card belong together.

A TFLite parser is no integrity check (single-bit flips in weights load and run), so size and sha256
are compared before any byte reaches an interpreter, and those same bytes are handed on.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.types import EdgeError

MAX_MODEL_BYTES = 32 * 1024 * 1024
MAX_CARD_BYTES = 1024 * 1024


class _Part(BaseModel):
    # A newer quantize may say more than this daemon reads.
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


class Card(_Part):
    """What the daemon and a reader need to know of a model; docs: DESIGN section 4."""

    name: str
    version: str
    files: dict[str, FileEntry]
    labels: tuple[str, ...] = Field(min_length=2)
    input: Input
    crop: Crop
    output: Output
    figures: tuple[Figure, ...] = ()
    training: dict[str, Any] = {}
    data: tuple[dict[str, Any], ...] = ()  # name, licence, used for
    intended_use: str
    limits: str


class Model(NamedTuple):
    """A verified model: the bytes whose sha256 stands in the card."""

    path: Path
    content: bytes
    sha256: str
    card: Card


def read_card(path: Path) -> Card:
    """The card at *path*; EdgeError in one line where it is missing or not a card."""
    try:
        text = _read(path, MAX_CARD_BYTES)
    except EdgeError as error:
        raise EdgeError(f"{error}; a model needs its card beside it (quantize writes both)") from error
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        found = f"{place}: {first['msg']}" if place else first["msg"]
        raise EdgeError(f"{path}: not a model card: {found}") from error


def read_model(path: Path) -> Model:
    """Read *path* once and give its bytes only if they are those that its card lists.

    EdgeError when *path* or its card is missing, too large, or they differ.
    """
    card = read_card(card_path(path))
    content = _read_listed(path, card)
    return Model(path, content, card.files[path.name].sha256, card)


def card_path(path: Path) -> Path:
    """Where the card of the model file *path* stands: X.json for X.tflite and X.onnx.

    X.json is also the card of X.int8.onnx and the like, unless that has an X.int8.json of its own.
    """
    own = path.with_suffix(".json")
    shared = own.with_suffix("").with_suffix(".json")
    return shared if shared.exists() and not own.exists() else own


def read_beside(model: Model, suffix: str) -> tuple[str, bytes]:
    """Name and content of the one file in *model*'s card that ends in *suffix*, checked as the model was."""
    names = [name for name in model.card.files if name.endswith(suffix)]
    if len(names) != 1:
        raise EdgeError(
            f"{card_path(model.path)}: lists {len(names)} files *{suffix}; quantize makes a card with one"
        )
    return names[0], _read_listed(model.path.with_name(names[0]), model.card)


def _read_listed(path: Path, card: Card) -> bytes:
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
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise EdgeError(f"{path}: {size} bytes, more than the {limit} allowed")
            content = file.read(limit + 1)
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from error
    if len(content) > limit:  # a device or a pipe has no size to ask for
        raise EdgeError(f"{path}: more than {limit} bytes")
    return content
