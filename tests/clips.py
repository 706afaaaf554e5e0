"""A short video with numbered frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.types import Source


def numbered_picture(n: int) -> np.ndarray:
    """A picture that encodes its number: n bright columns of 8 pixels."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, : 8 * n] = 255
    return image


def number(image: np.ndarray) -> int:
    row = image[24] if image.ndim == 2 else image[24].mean(axis=-1)
    return round(float((row > 128).sum()) / 8)


def exhaust(source: Source) -> None:
    while True:
        source.read()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Eight pictures, 20 a second."""
    path = tmp_path / "clip:1.avi"  # FFmpeg would parse the colon as a protocol
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for n in range(1, 9):
        writer.write(numbered_picture(n))
    writer.release()
    return path


def keeps_pace(play: Callable[[], None], seconds: float) -> None:
    """*play* never takes much less than *seconds*, and the fastest of five runs not much more."""
    for _ in range(5):
        began = time.monotonic()
        play()
        took = time.monotonic() - began
        assert took > seconds - 0.1
        if took < seconds + 0.1:
            return
    pytest.fail(f"{took:.2f} s for what lasts {seconds} s")
