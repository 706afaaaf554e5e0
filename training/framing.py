"""Measures how a detector's box relates to FER2013's frame: the numbers of `framing` in analysis/detectors.

FER2013's pictures define the wanted frame. Each is enlarged to a random size, placed in the centre of a
larger canvas and searched; the framing must map the detector's box back to the picture.

The canvas replicates the picture's border. On plain gray, YuNet sees a cut-off head and draws its box 5 %
larger than on photos; with the replicated border YuNet's width / Haar's width is .79, and .78 on 399 faces of
facemask853, where both see the same photo.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from edge.analysis.detectors import open_detector
from edge.analysis.detectors.shared import Finder, Framing, anchor, search
from edge.types import Box, EdgeError, Face, Image

CANVAS = 320  # pixels: a detector's default input
SIDES = (72, 200)  # pixels of the enlarged face: 0.22 to 0.62 of the canvas


class Spread(NamedTuple):
    """Median and median absolute deviation."""

    median: float
    mad: float


class Measured(NamedTuple):
    """FER2013's frame relative to the detector's box; lengths in box widths."""

    shown: int  # pictures
    found: int
    right: Spread  # from the anchor to the frame's centre; assumed 0, faces being symmetric
    down: Spread
    size: Spread  # side of the frame; the MAD is of its logarithm
    others: dict[str, Spread]  # the side relative to other box measures, to justify the width

    @property
    def framing(self) -> Framing:
        return Framing(down=self.down.median, size=self.size.median)


def measure(images: Image, finder: Finder, *, count: int = 2000, seed: int = 0) -> Measured:
    """Run *finder* on *count* of *images* (n, 48, 48); EdgeError if it finds nearly none."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(images))[:count]
    pairs: list[tuple[Face, Box]] = []
    for index in chosen:
        side = int(random.integers(*SIDES))
        canvas, frame = place(images[index], side)
        faces = search(canvas, finder, CANVAS)
        # Some pictures contain a second face, and Haar finds faces in texture: use only the central one.
        near = [face for face in faces if _distance(face.box, frame) < side / 3]
        if near:
            pairs.append((max(near, key=lambda face: face.box.area), frame))
    if len(pairs) < max(10, len(chosen) // 10):
        raise EdgeError(f"framing: {finder.name} found only {len(pairs)} of {len(chosen)} faces")

    width = np.array([face.box.width for face, _ in pairs])
    height = np.array([face.box.height for face, _ in pairs])
    sides = np.array([frame.width for _, frame in pairs])
    offset = np.array([frame.center for _, frame in pairs]) - np.array([anchor(face) for face, _ in pairs])
    others = {"mean of width and height": (width + height) / 2, "longer side": np.maximum(width, height)}
    if pairs[0][0].eyes is not None:
        others["distance of the eyes"] = np.array([_eye_distance(face) for face, _ in pairs])
    return Measured(
        shown=len(chosen),
        found=len(pairs),
        right=_spread(offset[:, 0] / width),
        down=_spread(offset[:, 1] / width),
        size=_log_spread(sides / width),
        others={name: _log_spread(sides / length) for name, length in others.items()},
    )


def place(image: Image, side: int) -> tuple[Image, Box]:
    """A canvas with *image* enlarged to *side* pixels in its centre, and the picture's box in it."""
    before = (CANVAS - side) // 2
    after = CANVAS - side - before
    large = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = cv2.copyMakeBorder(large, before, after, before, after, cv2.BORDER_REPLICATE)
    return np.asarray(canvas, np.uint8), Box(before, before, side, side)


def run(
    images: Image, *, detector: str = "haar", file: Path | None = None, count: int = 2000, seed: int = 0
) -> None:
    """Print the framing of *detector* ("haar", "ssd" or "yunet", from *file*) over *images* (n, 48, 48)."""
    if detector not in ("haar", "ssd", "yunet"):
        raise EdgeError(f"framing: unknown detector {detector!r}; expected haar, ssd or yunet")
    finder = open_detector(detector, file=file).finder  # type: ignore[arg-type]
    print("\n".join(report(finder, measure(images, finder, count=count, seed=seed))))


def report(finder: Finder, measured: Measured) -> list[str]:
    """The output of `emotion-train framing`; the first line is the constant to copy."""
    framing = measured.framing
    lines = [
        f"{finder.name}: Framing(down={framing.down:.3f}, size={framing.size:.3f})   "
        f"in the code: down={finder.framing.down:.3f}, size={finder.framing.size:.3f}",
        f"n = {measured.found} found of {measured.shown}; median ± median absolute deviation, in box widths",
        f"right  {measured.right.median:+.3f} ± {measured.right.mad:.3f}   (assumed 0)",
        f"down   {measured.down.median:+.3f} ± {measured.down.mad:.3f}",
        f"size   {measured.size.median:.3f} ± {measured.size.mad * 100:.1f} %",
    ]
    for name, size in measured.others.items():
        lines.append(f"  or from {name}: {size.median:.3f} ± {size.mad * 100:.1f} %")
    return lines


def _distance(one: Box, other: Box) -> float:
    (x, y), (other_x, other_y) = one.center, other.center
    return float(np.hypot(x - other_x, y - other_y))


def _eye_distance(face: Face) -> float:
    assert face.eyes is not None
    (left_x, left_y), (right_x, right_y) = face.eyes
    return float(np.hypot(right_x - left_x, right_y - left_y))


def _spread(values: np.ndarray) -> Spread:
    median = float(np.median(values))
    return Spread(median, float(np.median(np.abs(values - median))))


def _log_spread(values: np.ndarray) -> Spread:
    log = _spread(np.log(values))
    return Spread(float(np.exp(log.median)), log.mad)
