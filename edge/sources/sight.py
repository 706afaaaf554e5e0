"""What a camera shows: a scene, darkness, or one frozen picture."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from edge.types import Image

Picture = Literal["ok", "dark", "frozen"]

FREEZE_S = 20.0  # the same picture for so long: frozen
DARK_S = 3.0  # nothing but darkness for so long: dark; a camera that just began is often black for a second

# Gray levels: a covered lens, or night. Brighter in the mean or livelier than the second of each pair is
# light again; sensors add noise of up to 5 to black, and limited-range video has its black at 16.
_DARK_MEAN, _DARK_SPREAD = (24.0, 30.0), (8.0, 11.0)
_BRIGHTEST = 0.03  # share of a dark picture that may be bright: a name or a clock that the camera writes
_SAMPLE = 8  # every eighth pixel of each direction is looked at; 30 us at 640x480
_LEVELS = np.arange(256)


class Sight:
    """Judges the pictures of one opening of a camera, in their order.

    Darkness never counts as frozen: encoders and sensors clip a covered lens to one black. With *still* a
    picture may stay as it is forever; *dark*: the last picture before this opening was.
    """

    def __init__(
        self, *, freeze_s: float = FREEZE_S, dark_s: float = DARK_S, still: bool = False, dark: bool = False
    ) -> None:
        self._freeze_s, self._dark_s, self._still, self._dark = freeze_s, dark_s, still, dark
        self._sample: Image | None = None  # of the last picture
        self._black = False  # it shows nothing but darkness
        self._moved = self._light = 0.0  # since when it is as it is, and when there was light; monotonic s

    def judge(self, image: Image, taken: float) -> Picture:
        """What *image* (BGR or luma, uint8), read at *taken* (monotonic s, never falling), shows."""
        sample = image[::_SAMPLE, ::_SAMPLE]
        if self._sample is None or not np.array_equal(sample, self._sample):
            if self._sample is None and not self._dark:
                self._light = taken
            self._sample, self._moved = sample.copy(), taken
            self._black = _black(self._sample, self._dark)
        if not self._black:
            self._light = taken
        self._dark = self._black and (self._dark or taken - self._light >= self._dark_s)
        if self._dark:
            return "dark"
        frozen = not self._still and taken - self._moved >= self._freeze_s
        return "frozen" if frozen else "ok"


def _black(sample: Image, was_dark: bool) -> bool:
    """Whether *sample*, but for its brightest few pixels, is all but black."""
    counts = cv2.calcHist([sample.reshape(-1)], [0], None, [256], [0, 256]).reshape(-1)
    kept = np.minimum(np.cumsum(counts), sample.size * (1 - _BRIGHTEST))
    counts = np.diff(kept, prepend=0.0)
    mean = float(counts @ _LEVELS) / kept[-1]
    spread = float(np.sqrt(counts @ (_LEVELS - mean) ** 2 / kept[-1]))
    return bool(mean < _DARK_MEAN[was_dark] and spread < _DARK_SPREAD[was_dark])
