"""A detector's card: decoding of its outputs, training data, figures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from edge.analysis.card import Center, DetectorCard, DetectorInput, Figure, FileEntry
from quantize.figures.detection import RATE, Scores
from quantize.figures.finding import Alarms

# The network sees a picture of 320 px at 448 px, and so finds more of the small faces, in twice the time.
ZOOM = 1.4
HEIGHT, WIDTH = 352, 448  # the files' fixed shape, for an Edge TPU; a CPU resizes the input
STRIDES = (8, 16, 32)
SPAN = (0.0, 255.0)  # the network's values of black and white
_PROTOCOL = "{file} as shipped, pictures shrunk to 320 px, faces of 16 px and more, IoU >= .4; {how}"


def card(
    name: str,
    version: str,
    files: Mapping[str, bytes],
    min_score: float,
    record: Mapping[str, Any] | None = None,
    figures: tuple[Figure, ...] = (),
    quantization: Mapping[str, Any] | None = None,
) -> bytes:
    """The card of *files*, JSON; *record* is the run's record from ``emotion-train detector fit``.

    *min_score* is the default score threshold; *quantization* is added to the card's entry of that name.
    """
    recipe = dict((record or {}).get("recipe", {}))
    data = recipe.pop("data", ())
    made = DetectorCard(
        kind="detector",
        name=name,
        version=version,
        files={
            file: FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
            for file, content in files.items()
        },
        input=DetectorInput(height=HEIGHT, width=WIDTH, channels=1, range=SPAN, zoom=ZOOM),
        decode=Center(
            form="center",
            min_score=min_score,
            strides=STRIDES,
            scores=tuple(f"score_{stride}" for stride in STRIDES),
            boxes=tuple(f"box_{stride}" for stride in STRIDES),
            eyes=tuple(f"eyes_{stride}" for stride in STRIDES),
        ),
        figures=figures,
        training={
            **(record or {}), "recipe": recipe,
            "quantization": {"int8": "full, weights per channel", **(quantization or {})},
        },
        data=tuple(data),
        intended_use=(
            "Finds faces in a camera's pictures, on the device, for home automation and research."
        ),
        limits=(
            "Trained on openly licensed photos of webcams, offices, portraits, masks and drivers, whose "
            "boxes a detector (YuNet) drew and nobody checked one by one: it shares that detector's gaps. "
            "Faces under 16 px of a 320 px picture are mostly missed. Pets are sometimes taken for people. "
            "It finds faces and recognizes nobody."
        ),
    )  # fmt: skip
    return made.model_dump_json(indent=1).encode()


def figures_of(file: str, scores: Mapping[str, Scores], alarms: Mapping[str, Alarms]) -> tuple[Figure, ...]:
    """The card's figures of *file*: average precision and recall on each data set, false positives."""
    found = [
        Figure(
            name=kind, value=round(value, 4), data=data, split="all", n=one.faces,
            protocol=_PROTOCOL.format(file=file, how=how),
        )
        for data, one in scores.items()
        for kind, value, how in (
            ("average precision", one.ap, "all-point"),
            ("recall", one.at()[0], f"at {RATE:g} false alarms a picture, from score {one.at()[1]:.2f}"),
        )
    ]  # fmt: skip
    found += [
        Figure(
            name="photos with a false alarm", value=round(one.wrong / one.photos, 4), data=source,
            split="held out of training, without a face", n=one.photos,
            protocol=f"{file} as shipped, pictures shrunk to 320 px, from score {one.score:g}",
        )
        for source, one in alarms.items()
    ]  # fmt: skip
    return tuple(found)
