"""Names of labels: how people and data sets spell the seven, and what a network's own may be called."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edge.types import LABELS, NONE, UNCERTAIN

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
_MOST = 100  # names in an order, or of a network's own labels
_LONGEST = 64  # characters of one of these


class Order(NamedTuple):
    """What the numbers of a data set mean."""

    of_number: tuple[int | None, ...]  # index into LABELS; None: a label that is none of the seven
    text: str  # as --labels gave it

    def __str__(self) -> str:
        return self.text


FER2013 = Order(tuple(range(len(LABELS))), ",".join(LABELS))


def label_of(name: str, order: Order | None = None) -> int | None:
    """Index into LABELS of a common spelling (``0_angry``, too), or of a number by *order*; else None."""
    if is_number(name):
        number = int(name)
        return order.of_number[number] if order is not None and number < len(order.of_number) else None
    return _LABEL_OF.get(name.strip().lower().lstrip("0123456789_-. "))


def is_number(name: str) -> bool:
    """Whether *name* is one or two digits."""
    return re.fullmatch(r"[0-9]{1,2}", name.strip()) is not None


def order(text: str) -> Order:
    """The type of ``--labels``: names in the order of the data's numbers, separated by commas.

    A name that is none of the seven (contempt) keeps its place: data of that number is left out.
    """
    names = [name.strip() for name in text.split(",")]
    found = tuple(label_of(name) for name in names)
    known = [label for label in found if label is not None]
    if not all(names) or any(map(is_number, names)) or len(names) > _MOST or len({*known}) < len(known):
        raise argparse.ArgumentTypeError(
            f"found {text!a}; expected label names in the order of the data's numbers, each once, as "
            f"{','.join(LABELS)}"
        )
    if len(known) < 2:
        raise argparse.ArgumentTypeError(f"found {text!a}; expected at least two of {', '.join(LABELS)}")
    return Order(found, text)


def wrong_names(names: Sequence[str]) -> str:
    """What is wrong with *names* as a network's labels, published next to UNCERTAIN and NONE; or empty."""
    if not 2 <= len(names) <= _MOST:
        return f"{len(names)} labels; expected 2 to {_MOST}"
    for name in names:
        if name in (UNCERTAIN, NONE):
            return f"label {name!r}: published where a face shows no label, or nobody is there; rename it"
        if not name.isprintable() or name != name.strip() or not 1 <= len(name) <= _LONGEST:
            return f"label {name!a}; expected 1 to {_LONGEST} printable characters without blanks around them"
        if names.count(name) > 1:
            return f"label {name!r}: named twice"
    return ""


def ours(numbers: npt.NDArray[np.integer[Any]], order: Order) -> npt.NDArray[np.int64]:
    """*numbers* of a data set as indices into LABELS; -1 for those without one in *order*."""
    of_number = np.array([-1 if label is None else label for label in order.of_number])
    strange = (numbers < 0) | (numbers >= len(of_number))
    return np.asarray(np.where(strange, -1, of_number[np.where(strange, 0, numbers)]), np.int64)


def numbered(place: object) -> str:
    """The error for *place*, named by an unknown number."""
    return (
        f"{place}: a number names no label; expected --labels with the names in the order of the numbers, as "
        f"--labels {','.join(LABELS)}"
    )
