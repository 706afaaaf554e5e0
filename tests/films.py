"""Short films, made by ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edge.types import EndOfStreamError, Image, Source

SECOND = "testsrc=size=160x120:rate=10:duration=1"


def ffmpeg(path: Path, *options: str, source: str = SECOND) -> Path:
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *options, str(path)]
    subprocess.run(command, check=True)
    return path


def pictures(source: Source) -> list[Image]:
    """Every picture of *source* until its regular end."""
    found: list[Image] = []
    try:
        while True:
            found.append(source.read())
    except EndOfStreamError:
        return found
    finally:
        source.close()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same second of ten pictures in several containers and codecs."""
    path = tmp_path_factory.mktemp("films")
    ffmpeg(path / "h264.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "2")
    ffmpeg(path / "h264.ts", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "2")
    ffmpeg(path / "mpeg4.avi", "-c:v", "mpeg4", "-q:v", "2", "-g", "2")
    ffmpeg(path / "lossless.mkv", "-c:v", "ffv1", "-pix_fmt", "gray")
    return path
