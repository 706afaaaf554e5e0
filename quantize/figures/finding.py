"""What detectors find in photos: one way for training, quantize and the tables that come of both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from edge.detectors.shared import Finder, enlarged, shrink
from edge.types import Box, Face
from quantize.figures.detection import LONG_SIDE, Found
from quantize.figures.photos import Photo


class Finds(NamedTuple):
    """What one detector found in some photos."""

    pictures: list[Found]  # a photo each
    ms: float  # median of its bare call; 0 without a photo


class Alarms(NamedTuple):
    """False alarms on one source's photos without a face."""

    photos: int
    wrong: int  # photos with a find of at least `score`
    score: float


def found_in(finder: Finder, photos: Sequence[Photo]) -> Finds:
    """What *finder* finds in each of *photos*, shrunk to 320 px."""
    return found_by({"": finder}, photos)[""]


def found_by(finders: Mapping[str, Finder], photos: Sequence[Photo]) -> dict[str, Finds]:
    """As found_in(), of several: photo by photo in turn, so that what else the machine does met all alike."""
    pictures: dict[str, list[Found]] = {name: [] for name in finders}
    took: dict[str, list[float]] = {name: [] for name in finders}
    for photo in photos:
        seen = {colour: photo.read(colour) for colour in {finder.colour for finder in finders.values()}}
        for name, finder in finders.items():
            image = seen[finder.colour]
            small = shrink(image, int(LONG_SIDE), finder.colour)
            began = time.perf_counter()
            faces = finder.find(small)
            took[name].append(1000 * (time.perf_counter() - began))
            factors = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
            scale = image.shape[1] / photo.width if photo.width else 1.0
            truth = [Box(*(box * scale).tolist()) for box in photo.boxes]
            size = (image.shape[1], image.shape[0])
            pictures[name].append(Found(size, [enlarged(face, *factors) for face in faces], truth))
    return {name: Finds(pictures[name], median(took[name] or [0.0])) for name in finders}


def empty(photos: Sequence[Photo]) -> list[Photo]:
    """Those of *photos* that show nobody, and nothing that may be somebody."""
    return [photo for photo in photos if not len(photo.boxes) and not len(photo.ignore)]


def alarms(photos: Sequence[Photo], pictures: Sequence[Found], least: float) -> dict[str, Alarms]:
    """Source -> on how many of *photos*, which show nobody, there is a find of at least *least*."""
    counted: dict[str, Alarms] = {}
    for photo, picture in zip(photos, pictures, strict=True):
        shown, wrong, _ = counted.get(photo.source, Alarms(0, 0, least))
        counted[photo.source] = Alarms(shown + 1, wrong + bool(likely(picture, least)), least)
    return counted


def likely(picture: Found, least: float) -> list[Face]:
    """What was found in *picture* with a score of *least* or more."""
    return [face for face in picture.faces if face.score >= least]
