"""Names of splits as data sets spell them; edge/labels.py has those of labels."""

from __future__ import annotations

USAGES = ("Training", "PublicTest", "PrivateTest")  # FER2013's splits; `usage` holds the index

_USAGE_OF = {
    "training": 0, "train": 0,
    "publictest": 1, "validation": 1, "valid": 1, "val": 1, "dev": 1,
    "privatetest": 2, "test": 2, "testing": 2,
}  # fmt: skip


def usage_of(name: str) -> int | None:
    """Index into USAGES for any common spelling of a split; else None."""
    return _USAGE_OF.get(name.strip().lower())
