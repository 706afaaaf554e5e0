"""Detector files that cannot be shipped: what they are and where `models fetch` puts them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from edge.host.places import state_directory
from edge.types import EdgeError, named

FACES = Path(__file__).parents[2] / "models" / "faces.tflite"  # ours, with its card


class DetectorFile(NamedTuple):
    """A published file, pinned by its sha256."""

    file: str
    sha256: str
    size: int  # bytes
    url: str
    mirror: str  # named in the message when url fails
    licence: str


# The zoo on GitHub is archived and its maintainers point to Hugging Face for downloads
# (opencv/opencv_zoo issue 303), hence the mirror. GitHub's /raw/ redirects to its LFS media host.
CATALOGUE = {
    "yunet": DetectorFile(
        file="face_detection_yunet_2023mar.onnx",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        size=232_589,
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/"
        "face_detection_yunet_2023mar.onnx",
        mirror="https://huggingface.co/opencv/face_detection_yunet/resolve/main/"
        "face_detection_yunet_2023mar.onnx",
        licence="MIT",
    )
}


def models_directory() -> Path:
    """Where fetched files live."""
    return state_directory() / "models"


def verify(path: Path, entry: DetectorFile) -> None:
    """EdgeError unless the file at *path* is *entry*, byte for byte."""
    with named(path), path.open("rb") as file:
        content = file.read(entry.size + 1)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != entry.sha256:
        raise EdgeError(
            f"{path}: sha256 {sha256[:12]}…, {entry.file} has {entry.sha256[:12]}…; "
            "remove it and fetch it again (emotion-edge models fetch)"
        )
