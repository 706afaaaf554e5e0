"""Detectors side by side on photos with boxes: figures, curves, pictures of what they found and missed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from edge.detectors.shared import Finder, enlarged, shrink
from edge.types import Box, Face
from quantize.figures.detection import LONG_SIDE, RATE, Found, Scores, scored
from quantize.figures.photos import Photo

_TILE = 240  # pixels, of a picture in a grid


@dataclass(frozen=True)
class Evaluation:
    """One detector on one set of photos."""

    detector: str
    data: str
    scores: Scores
    ms: float  # median of the bare call
    alarms: dict[str, tuple[int, int, float]]  # source -> photos without a face, with a find, of which score


def found_in(finder: Finder, photos: Sequence[Photo]) -> tuple[list[Found], float]:
    """What *finder* finds in each of *photos*, shrunk to 320 px, and the median ms of its bare call."""
    pictures, took = [], []
    for photo in photos:
        image = photo.read(finder.colour)
        small = shrink(image, int(LONG_SIDE), finder.colour)
        began = time.perf_counter()
        faces = finder.find(small)
        took.append(1000 * (time.perf_counter() - began))
        factors = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        scale = image.shape[1] / photo.width if photo.width else 1.0
        truth = [Box(*map(float, box * scale)) for box in photo.boxes]
        size = (image.shape[1], image.shape[0])
        pictures.append(Found(size, [enlarged(face, *factors) for face in faces], truth))
    return pictures, median(took) if took else 0.0


def alarms(finder: Finder, photos: Sequence[Photo], least: float) -> dict[str, tuple[int, int, float]]:
    """Of each source's photos without a face: how many, on how many *finder* finds one, and *least*."""
    empty = [photo for photo in photos if not len(photo.boxes) and not len(photo.ignore)]
    pictures, _ = found_in(finder, empty)
    counted: dict[str, tuple[int, int, float]] = {}
    for photo, picture in zip(empty, pictures, strict=True):
        shown, wrong, _ = counted.get(photo.source, (0, 0, least))
        hit = any(face.score >= least for face in picture.faces)
        counted[photo.source] = (shown + 1, wrong + hit, least)
    return counted


def table(rows: Sequence[Evaluation]) -> str:
    """The evaluations as a Markdown table."""
    lines = [
        f"| detector | data | pictures, faces | AP | recall at {RATE:g} false alarms a picture (score) | "
        "16-32 / 32-64 / 64- px | ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        recall, score = row.scores.at()
        sizes = " / ".join(f"{value:.2f}" for value in row.scores.by_size(score).values())
        lines.append(
            f"| {row.detector} | {row.data} | {row.scores.pictures:,}, {row.scores.faces:,} | "
            f"{row.scores.ap:.3f} | {recall:.3f} ({score:.2f}) | {sizes} | {row.ms:.2f} |"
        )
    shown = [(row.detector, source, one) for row in rows for source, one in row.alarms.items()]
    if shown:
        lines += ["", "| detector | photos without a face | n | with a false alarm | from score |"]
        lines.append("|---|---|---|---|---|")
        lines += [
            f"| {detector} | {source} | {n} | {wrong} ({100 * wrong / n:.1f} %) | {least:g} |"
            for detector, source, (n, wrong, least) in shown
        ]
    return "\n".join(lines)


def evaluate(finder: Finder, name: str, data: str, photos: Sequence[Photo]) -> tuple[Evaluation, list[Found]]:
    """The figures of *finder* on those of *photos* with faces, and what it found in them."""
    peopled = [photo for photo in photos if len(photo.boxes)]
    pictures, ms = found_in(finder, peopled)
    return Evaluation(name, data, scored(pictures), ms, {}), pictures


def grid(photos: Sequence[Photo], pictures: Sequence[Found], least: float, count: int = 24) -> np.ndarray:
    """The *count* photos with most mistakes, as one picture: found green, missed red, false alarms yellow."""
    wrong = [_mistakes(picture, least) for picture in pictures]
    order = sorted(range(len(pictures)), key=lambda i: -wrong[i])[:count]
    tiles = []
    for i in order:
        image = cv2.cvtColor(photos[i].read(), cv2.COLOR_GRAY2BGR)
        faces = [face for face in pictures[i].faces if face.score >= least]
        for box in pictures[i].truth:
            hit = any(face.box.iou(box) >= 0.4 for face in faces)
            _draw(image, box, (0, 200, 0) if hit else (0, 0, 255))
        for face in faces:
            if not any(face.box.iou(box) >= 0.4 for box in pictures[i].truth):
                _draw(image, face.box, (0, 220, 255))
        scale = _TILE / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        below, beside = _TILE - small.shape[0], _TILE - small.shape[1]
        tiles.append(cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT))
    columns = 6
    while len(tiles) % columns:
        tiles.append(np.zeros((_TILE, _TILE, 3), np.uint8))
    return np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)])


def save_curves(rows: Sequence[Evaluation], out: Path) -> None:
    """Precision over recall of each of *rows*, drawn to the PNG *out*."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4.5), layout="constrained")
    for row in rows:
        axes.plot(row.scores.recall, row.scores.precision, label=f"{row.detector} on {row.data}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def _mistakes(picture: Found, least: float) -> int:
    faces: list[Face] = [face for face in picture.faces if face.score >= least]
    missed = sum(not any(face.box.iou(box) >= 0.4 for face in faces) for box in picture.truth)
    false = sum(not any(face.box.iou(box) >= 0.4 for box in picture.truth) for face in faces)
    return missed + false


def _draw(image: np.ndarray, box: Box, colour: tuple[int, int, int]) -> None:
    corners = (round(box.x), round(box.y)), (round(box.x + box.width), round(box.y + box.height))
    cv2.rectangle(image, *corners, colour, 2)
