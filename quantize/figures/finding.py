"""Runs detectors on photos, the same way for training and quantize."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np

from edge.analysis.detectors.shared import Finder, enlarged, search, shrink
from edge.types import Box, Face
from quantize.figures.detection import LONG_SIDE, Found
from quantize.figures.photos import Photo

CAMERA = 320, 240  # width and height of the pictures used for timing


class Time(NamedTuple):
    """Time of a detector's call alone."""

    ms: float  # median
    best_ms: float  # the fastest: close to that of an idle machine


class Alarms(NamedTuple):
    """False positives on one source's photos without a face."""

    photos: int
    wrong: int  # photos with a detection of at least `score`
    score: float


def found_in(finder: Finder, photos: Sequence[Photo]) -> list[Found]:
    """Detections of *finder* in each of *photos*, shrunk to 320 px."""
    pictures = []
    for photo in photos:
        image = photo.read(finder.color)
        small = shrink(image, int(LONG_SIDE), finder.color)
        factors = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        scale = image.shape[1] / photo.width if photo.width else 1.0
        truth = [Box(*(box * scale).tolist()) for box in photo.boxes]
        faces = [enlarged(face, *factors) for face in search(small, finder, int(LONG_SIDE))]
        pictures.append(Found((image.shape[1], image.shape[0]), faces, truth))
    return pictures


def times(finders: Mapping[str, Finder], photos: Sequence[Photo]) -> dict[str, Time]:
    """Times of *finders*, in turn on each of *photos*, so that other load affects all alike.

    All pictures have CAMERA's shape, because a network is prepared once per shape.
    """
    took: dict[str, list[float]] = {name: [] for name in finders}
    for number, photo in enumerate(photos):
        for name, finder in finders.items():
            small = np.asarray(cv2.resize(photo.read(finder.color), CAMERA), np.uint8)
            if not number:
                search(small, finder, int(LONG_SIDE))
            began = time.perf_counter()
            search(small, finder, int(LONG_SIDE))
            took[name].append(1000 * (time.perf_counter() - began))
    return {name: Time(median(some), min(some)) for name, some in took.items() if some}


def empty(photos: Sequence[Photo]) -> list[Photo]:
    """The *photos* without faces, not even ignored ones."""
    return [photo for photo in photos if not len(photo.boxes) and not len(photo.ignore)]


def alarms(photos: Sequence[Photo], pictures: Sequence[Found], least: float) -> dict[str, Alarms]:
    """Source -> number of *photos*, all without faces, with a detection of at least *least*."""
    counted: dict[str, Alarms] = {}
    for photo, picture in zip(photos, pictures, strict=True):
        shown, wrong, _ = counted.get(photo.source, Alarms(0, 0, least))
        counted[photo.source] = Alarms(shown + 1, wrong + bool(likely(picture, least)), least)
    return counted


def likely(picture: Found, least: float) -> list[Face]:
    """Detections in *picture* with a score of at least *least*."""
    return [face for face in picture.faces if face.score >= least]
