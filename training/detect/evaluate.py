"""Compares detectors on photos with boxes: figures, curves, pictures of hits and misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge.types import Box
from quantize.figures.detection import IOU, RATE, SIZES, Found, Scores, scored
from quantize.figures.finding import Alarms, Time, alarms, empty, found_in, likely, times
from quantize.figures.photos import Photo
from training.detect.contenders import Contender

_TILE = 240  # pixels per picture in a grid
_COLUMNS, _ROWS = 6, 4
_TIMED = 150  # photos
_FOUND, _MISSED, _FALSE = (0, 200, 0), (0, 0, 255), (0, 220, 255)  # BGR


@dataclass(frozen=True)
class Row:
    """One detector on one set of photos."""

    detector: str
    data: str
    scores: Scores
    default: float  # the detector's own score threshold


@dataclass(frozen=True)
class Choice:
    """A detector's figures at the threshold *score*."""

    detector: str
    score: float
    recall: dict[str, float]  # by data set
    alarms: dict[str, Alarms]  # by source of photos without a face


@dataclass(frozen=True)
class Evaluation:
    """The result of `detector evaluate`."""

    rows: list[Row]
    times: dict[str, Time]  # detector -> time of the call alone
    alarms: dict[str, dict[str, Alarms]]  # detector -> source of photos without a face
    grids: dict[str, np.ndarray]  # detector-data -> pictures of its mistakes
    choices: list[Choice]


def evaluate(
    contenders: Sequence[Contender], sets: Mapping[str, Sequence[Photo]], nobody: Sequence[Photo],
    scores: Sequence[float] = (),
) -> Evaluation:  # fmt: skip
    """Evaluate *contenders* on the photos with faces of *sets* (name -> photos), and on *nobody*.

    *scores*: candidate thresholds.
    """
    rows: list[Row] = []
    grids: dict[str, np.ndarray] = {}
    by_source: dict[str, dict[str, Alarms]] = {}
    choices: list[Choice] = []
    without = empty(nobody)
    for one in contenders:
        for data, photos in sets.items():
            peopled = [photo for photo in photos if len(photo.boxes)]
            pictures = found_in(one.finder, peopled)
            row = Row(one.name, data, scored(pictures), one.default)
            rows.append(row)
            grids[f"{one.name}-{data}"] = grid(peopled, pictures, row.scores.at()[1])
        pictures = found_in(one.finder, without)
        by_source[one.name] = alarms(without, pictures, one.default)
        if any(source.wrong for source in by_source[one.name].values()):
            grids[f"{one.name}-nobody"] = grid(without, pictures, one.default)
        own = {row.data: row.scores for row in rows if row.detector == one.name}
        choices += [
            Choice(
                one.name, score, {data: some.recall_at_score(score) for data, some in own.items()},
                alarms(without, pictures, score),
            )
            for score in scores
        ]  # fmt: skip
    timed = [photo for photos in sets.values() for photo in photos][:_TIMED]
    return Evaluation(
        rows, times({one.name: one.timed for one in contenders}, timed), by_source, grids, choices
    )


def table(found: Evaluation) -> str:
    """The evaluation as Markdown tables."""
    heads = " / ".join(SIZES)
    lines = [
        f"| detector | data | pictures, faces | AP | recall at {RATE:g} false positives a picture (score) | "
        f"{heads} px | recall at its own score | ms (fastest) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found.rows:
        recall, score = row.scores.at()
        ms, best = found.times[row.detector]
        sizes = " / ".join(f"{value:.2f}" for value in row.scores.by_size(score).values())
        lines.append(
            f"| {row.detector} | {row.data} | {row.scores.pictures:,}, {row.scores.faces:,} | "
            f"{row.scores.ap:.3f} | {recall:.3f} ({score:.2f}) | {sizes} | "
            f"{row.scores.recall_at_score(row.default):.3f} ({row.default:g}) | {ms:.2f} ({best:.2f}) |"
        )
    shown = [
        (name, source, one) for name, by_source in found.alarms.items() for source, one in by_source.items()
    ]
    if shown:
        lines += ["", "| detector | photos without a face | n | with a false positive | at score |"]
        lines.append("|---|---|---|---|---|")
        lines += [
            f"| {name} | {source} | {one.photos} | {one.wrong} ({100 * one.wrong / one.photos:.1f} %) | "
            f"{one.score:g} |"
            for name, source, one in shown
        ]
    if found.choices:
        heads = [*found.choices[0].recall, *found.choices[0].alarms]
        lines += ["", "| detector | at score | recall on / false positives on " + " | ".join(heads) + " |"]
        lines.append("|---|---|" + "---|" * len(heads))
    for choice in found.choices:
        cells = [f"{recall:.3f}" for recall in choice.recall.values()]
        cells += [str(one.wrong) for one in choice.alarms.values()]
        lines.append(f"| {choice.detector} | {choice.score:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def facts(found: Evaluation) -> dict[str, Any]:
    """The evaluation as plain values: fractions 0..1, milliseconds."""
    return {
        "rows": [
            {
                "detector": row.detector, "data": row.data, "pictures": row.scores.pictures,
                "faces": row.scores.faces, "ap": round(row.scores.ap, 5),
                "recall": round(row.scores.at()[0], 5), "from_score": round(row.scores.at()[1], 4),
                "by_size": {k: round(v, 5) for k, v in row.scores.by_size(row.scores.at()[1]).items()},
                "own_score": row.default,
                "recall_from_own_score": round(row.scores.recall_at_score(row.default), 5),
                "ms": round(found.times[row.detector].ms, 3),
                "best_ms": round(found.times[row.detector].best_ms, 3),
            }
            for row in found.rows
        ],
        "alarms": {
            name: {source: one._asdict() for source, one in by_source.items()}
            for name, by_source in found.alarms.items()
        },
    }  # fmt: skip


def by_data(rows: Sequence[Row]) -> dict[str, dict[str, Scores]]:
    """Data set -> detector -> its scores, for the plots."""
    sets: dict[str, dict[str, Scores]] = {}
    for row in rows:
        sets.setdefault(row.data, {})[row.detector] = row.scores
    return sets


def grid(photos: Sequence[Photo], pictures: Sequence[Found], least: float) -> np.ndarray:
    """The photos with the most errors, BGR: hits green, misses red, false positives yellow."""
    order = sorted(range(len(pictures)), key=lambda i: -sum(map(len, _judged(pictures[i], least)[1:])))
    tiles = [_tile(photos[i], _judged(pictures[i], least)) for i in order[: _COLUMNS * _ROWS]]
    while len(tiles) % _COLUMNS or not tiles:
        tiles.append(np.zeros((_TILE, _TILE, 3), np.uint8))
    return np.vstack([np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)])


def _judged(picture: Found, least: float) -> tuple[list[Box], list[Box], list[Box]]:
    """Found faces, missed faces and false positives of *picture* at the threshold *least*."""
    boxes = [face.box for face in likely(picture, least)]

    def near(box: Box, others: Sequence[Box]) -> bool:
        return any(box.iou(other) >= IOU for other in others)

    return (
        [box for box in picture.truth if near(box, boxes)],
        [box for box in picture.truth if not near(box, boxes)],
        [box for box in boxes if not near(box, picture.truth)],
    )


def _tile(photo: Photo, judged: tuple[list[Box], list[Box], list[Box]]) -> np.ndarray:
    image = cv2.cvtColor(photo.read(), cv2.COLOR_GRAY2BGR)
    for boxes, color in zip(judged, (_FOUND, _MISSED, _FALSE), strict=True):
        for box in boxes:
            corners = (round(box.x), round(box.y)), (round(box.x + box.width), round(box.y + box.height))
            cv2.rectangle(image, *corners, color, 2)
    scale = _TILE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    below, beside = _TILE - size[1], _TILE - size[0]
    return cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT)
