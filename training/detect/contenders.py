"""The detectors to compare, and where their files are."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from edge.analysis.detectors import Kind, open_detector
from edge.analysis.detectors.shared import Finder
from edge.types import EdgeError

LEAST = 0.02  # lowest score to collect: detections below only cost time
# Published names of other projects' files.
FILES = {
    "yunet": "face_detection_yunet_2023mar.onnx",
    "blazeface": "face_detection_short_range.tflite",
    "res10": "opencv_face_detector_uint8.pb",
}
ALL = ("haar", "yunet", "blazeface", "res10", "ssd")
_OWN_SCORES = {"yunet": 0.7, "res10": 0.5}  # those of open_detector, and of OpenCV's own sample


class Contender(NamedTuple):
    """A detector to measure."""

    name: str
    finder: Finder  # returns everything from score LEAST on
    timed: Finder  # with the daemon's defaults
    default: float  # its default score threshold


def open_contender(text: str, folder: Path | None = None) -> Contender:
    """The detector *text* names: one of ALL, or NAME=FILE; *folder* has the files of names without one.

    EdgeError if it is unknown or its file does not run.
    """
    name, _, given = text.partition("=")
    if name not in ALL:
        raise EdgeError(f"{text}: expected {', '.join(ALL[:-1])} or {ALL[-1]}, or one of them with =FILE")
    file = Path(given) if given else None
    if file is None and folder is not None and name in FILES:
        file = folder / FILES[name]
    if name == "res10":
        from training.detect.res10 import Res10

        if file is None:
            raise EdgeError(f"{text}: expected res10=FILE.pb, with its .pbtxt next to it, or --files DIR")
        res10 = Res10(file)
        return Contender(name, res10, res10, _OWN_SCORES[name])
    if name == "blazeface":
        if file is None:
            raise EdgeError(f"{text}: expected blazeface=FILE.tflite, or --files DIR")
        return _blazeface(file)
    kind: Kind = name  # type: ignore[assignment]
    return _opened(name, kind, file)


def _blazeface(file: Path) -> Contender:
    """MediaPipe's file has no card: `quantize card` writes one, next to a copy of the file."""
    with tempfile.TemporaryDirectory(prefix="emotion-train-") as folder:
        command = [sys.executable, "-m", "quantize", "card", str(file), "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EdgeError(done.stderr.strip() or f"{file}: quantize card failed")
        copy = Path(folder) / file.name
        return _opened("blazeface", "ssd", copy)


def _opened(name: str, kind: Kind, file: Path | None) -> Contender:
    finder = open_detector(kind, file=file, min_score=LEAST, min_face=0.01).finder
    return Contender(name, finder, open_detector(kind, file=file).finder, _own_score(kind, file))


def _own_score(kind: Kind, file: Path | None) -> float:
    if kind == "ssd":
        from edge.analysis.card import read_detector
        from edge.analysis.detectors import FACES

        return read_detector(file or FACES).card.decode.min_score
    if kind == "haar":
        from edge.analysis.detectors.haar import MIN_SCORE

        return MIN_SCORE
    return _OWN_SCORES[kind]
