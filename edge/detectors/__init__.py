"""Face detectors: one file each for how a network or cascade is asked, one shared way around them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edge.detectors.files import CATALOGUE, models_directory, verify
from edge.detectors.shared import FaceDetector, Finder
from edge.types import ConfigError, EdgeError

__all__ = ["FaceDetector", "Kind", "open_detector"]

Kind = Literal["auto", "haar", "yunet"]


def open_detector(
    kind: Kind = "auto",
    *,
    file: Path | None = None,
    long_side: int = 320,
    min_face: float = 0.08,
    min_score: float = 0.7,
) -> FaceDetector:
    """The detector *kind*; ``auto`` takes YuNet where its file is present and runs, else Haar.

    *file*: another YuNet network (``yunet``, ``auto``) or another cascade (``haar``). *long_side*: pixels
    to which a picture is shrunk before it is searched. *min_face*: the smallest face that counts, its
    framed side as a fraction of the picture's long side. *min_score*: YuNet's threshold, 0..1.
    ``description`` of the result says what was taken and why. EdgeError when it cannot be had.
    """
    match kind:
        case "haar":
            from edge.detectors.haar import Haar

            haar = Haar(file, min_face=min_face)
            return FaceDetector(haar, f"haar ({haar.path})", long_side=long_side, min_face=min_face)
        case "yunet":
            finder, path = _open_yunet(file, min_score)
            return FaceDetector(finder, f"yunet ({path})", long_side=long_side, min_face=min_face)
        case "auto":
            # A file that the user named must work; the one that may or may not be there need not.
            if file is not None:
                return open_detector(
                    "yunet", file=file, long_side=long_side, min_face=min_face, min_score=min_score
                )
            try:
                return open_detector("yunet", long_side=long_side, min_face=min_face, min_score=min_score)
            except EdgeError as error:
                detector = open_detector("haar", long_side=long_side, min_face=min_face)
                detector.description = f"haar, because {error}"
                return detector
        case _:
            raise ConfigError(f"detector.kind: {kind!r} is not known; auto, haar or yunet is")


def _open_yunet(file: Path | None, min_score: float) -> tuple[Finder, Path]:
    from edge.detectors.yunet import YuNet

    if file is None:
        entry = CATALOGUE["yunet"]
        file = models_directory() / entry.file
        if not file.exists():
            raise EdgeError(f"no YuNet file at {file}; `emotion-edge models fetch yunet` gets it")
        verify(file, entry)
    return YuNet(file, min_score=min_score), file
