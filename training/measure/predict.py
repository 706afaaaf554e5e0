"""`emotion-train predict`: classifies any pictures; prints lines and draws a grid."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edge.analysis.detectors import open_detector
from edge.analysis.preprocess import crop, crop_whole
from edge.sources.images import SUFFIXES, is_image, read_image
from edge.types import EdgeError, Face, Image
from training.measure.model_files import Network

SHOWN = 60  # tiles in a grid: more would be too small


class Seen(NamedTuple):
    """One face of one picture; a picture without faces has one entry without scores."""

    file: Path
    image: Image  # for the grid: the picture, or the face with a margin
    scores: tuple[float, ...] | None  # per label; None if no face was found
    labels: tuple[str, ...]

    @property
    def text(self) -> str:
        """A line for the terminal: path, label and its probability."""
        if self.scores is None:
            return f"{self.file}: no face"
        best = max(range(len(self.labels)), key=self.scores.__getitem__)
        return f"{self.file}: {self.labels[best]} {self.scores[best]:.2f}"


def pictures(paths: Sequence[Path]) -> list[Path]:
    """The files in *paths* and the pictures in its folders."""
    found: list[Path] = []
    for path in paths:
        # Not Path.is_dir, which raises without permission on a parent folder; that is reported later.
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = sorted(file for file in _tree(path) if is_image(file) and os.path.isfile(file))
        if not inside:
            raise EdgeError(f"{path}: no images here; expected {', '.join(sorted(SUFFIXES))}")
        found += inside
    return found


def _tree(folder: Path) -> Iterator[Path]:
    """All files below *folder*; EdgeError if a folder cannot be read."""

    def on_error(error: OSError) -> None:
        raise EdgeError(f"{error.filename}: {error.strerror}") from error

    for inside, _, names in os.walk(folder, onerror=on_error):
        yield from (Path(inside) / name for name in names)


def predict(network: Network, files: Sequence[Path], faces: bool = False) -> tuple[list[Seen], list[str]]:
    """Classify *files* with *network*; also returns one line per unreadable file.

    Each picture counts as one framed face, as in a data set; with *faces*, OpenCV's Haar cascade finds faces,
    and each is cropped as in the daemon.
    """
    height, width = network.height_width
    shown: list[tuple[Path, Image]] = []
    crops: list[np.ndarray | None] = []
    problems: list[str] = []
    detector = open_detector("haar") if faces else None
    for file in files:
        try:
            image = read_image(file)
        except EdgeError as error:
            problems.append(str(error))
            continue
        if detector is None:
            found = [(image, crop_whole(image, height, width))]
        else:
            at = detector.detect(image)
            found = [(_around(image, face), crop(image, face, height, width)) for face in at]
        for view, pixels in found or [(image, None)]:
            shown.append((file, view))
            crops.append(pixels)
    cropped = [pixels for pixels in crops if pixels is not None]
    rows: Iterator[list[float]] = iter(network.probabilities(np.stack(cropped)).tolist() if cropped else ())
    scores = [None if pixels is None else tuple(next(rows)) for pixels in crops]
    names = network.labels
    return [Seen(*pair, one, names) for pair, one in zip(shown, scores, strict=True)], problems


def save_grid(seen: Sequence[Seen], out: Path) -> None:
    """Draw the first SHOWN of *seen* as one PNG; reports on stderr if there are more."""
    from training.measure import plots

    if len(seen) > SHOWN:
        print(f"{out}: shows the first {SHOWN} of {len(seen)}", file=sys.stderr)
    plots.grid([(one.image, one.file.name, one.scores) for one in seen[:SHOWN]], seen[0].labels, out)


def _around(image: Image, face: Face) -> Image:
    """*face* with a margin of a fifth of its size, within the picture."""
    (x, y), side = face.box.center, 0.7 * max(face.box.width, face.box.height)
    top, left = max(0, round(y - side)), max(0, round(x - side))
    return image[top : max(top + 1, round(y + side)), left : max(left + 1, round(x + side))]
