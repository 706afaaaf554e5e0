"""Names of labels and splits as data sets spell them."""

from __future__ import annotations

from edge.types import LABELS

USAGES = ("Training", "PublicTest", "PrivateTest")  # FER2013's splits; `usage` holds the index

_SPELLINGS = {
    "angry": ("angry", "anger", "an"),
    "disgust": ("disgust", "disgusted", "di"),
    "fear": ("fear", "fearful", "afraid", "scared", "fe"),
    "happy": ("happy", "happiness", "happily", "joy", "ha"),
    "sad": ("sad", "sadness", "sa"),
    "surprise": ("surprise", "surprised", "su"),
    "neutral": ("neutral", "neutrality", "ne"),
}
_LABEL_OF = {spelling: LABELS.index(label) for label, some in _SPELLINGS.items() for spelling in some}
_USAGE_OF = {
    "training": 0, "train": 0,
    "publictest": 1, "validation": 1, "valid": 1, "val": 1, "dev": 1,
    "privatetest": 2, "test": 2, "testing": 2,
}  # fmt: skip


def label_of(name: str) -> int | None:
    """Index into LABELS for any common spelling of one of the seven, or its number; else None."""
    plain = name.strip().lower().lstrip("0123456789_-. ")
    if not plain:  # a bare number, as some trees name their folders
        number = name.strip()
        return int(number) if number in map(str, range(len(LABELS))) else None
    return _LABEL_OF.get(plain)


def usage_of(name: str) -> int | None:
    """Index into USAGES for any common spelling of a split; else None."""
    return _USAGE_OF.get(name.strip().lower())
