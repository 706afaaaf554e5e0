"""Whether a picture still shows what the last analyzed one showed: skips detection on a still scene."""

from __future__ import annotations

import cv2
import numpy as np

from edge.analysis.preprocess import luma
from edge.types import Floats, Image

# At 10 frames a second every eleventh is analyzed whatever happens, 9 % of the calls: what moves too little
# or too slowly to be seen here waits no longer.
REFRESH_S = 1.05
# After a look that spared nothing so many frames are analyzed without another, twice as many after each
# further one, up to the second: a look costs up to a fifth of what ssd takes for an empty picture, which is
# wasted where movement never ends, frames come seldom or faces never settle.
LINGER = 5, 200

# Cells on the longer side: the smallest face (detector.min_face = 0.08) covers about 4 x 4 of them.
_CELLS = 48
# Samples per cell and direction. Sampled bilinearly, so that a cell averages up to 64 pixels at a cost that
# does not grow with the picture.
_SAMPLES = 4
# Gray levels by which a cell must differ: at least, in standard deviations of the others (5 are passed by
# noise once in 10^6, and a picture has 1,700 cells), and at most, or a panning camera counts as noise.
_FLOOR, _SIGMAS, _CEILING = 3.0, 7.0, 12.0


class MotionGate:
    """Compares pictures with a thumbnail of the last analyzed one."""

    def __init__(self) -> None:
        self._reference: Floats | None = None  # None: the last analyzed picture left none
        self._analyzed = 0.0  # when the reference was taken, monotonic s
        self._spared = False  # the reference, or one that it renewed, has spared a frame
        self._lingers = 0  # frames still to be analyzed without a look
        self._linger = LINGER[0]  # the next time

    def moved(self, image: Image, taken: float, *, unsettled: bool = False) -> bool:
        """Whether *image* is to be analyzed: something moved, the last time is long ago, or *unsettled*.

        *taken* in seconds, never falling.
        """
        if self._lingers:
            self._lingers -= 1
            return True
        before = self._reference
        if unsettled:
            if before is not None and not self._spared:
                self._back_off()
            self._reference = None
            return True
        cells = thumbnail(image)
        if before is None:
            self._reference, self._analyzed, self._spared = cells, taken, False
            return True
        if before.shape != cells.shape or differs(before, cells):
            self._back_off()
            return True
        if taken - self._analyzed < REFRESH_S:
            self._spared, self._linger = True, LINGER[0]
            return False
        if not self._spared:  # frames come further apart than that
            self._back_off()
            return True
        self._reference, self._analyzed = cells, taken
        return True

    def _back_off(self) -> None:
        self._reference = None
        self._lingers = self._linger
        self._linger = min(2 * self._linger, LINGER[1])


def thumbnail(image: Image) -> Floats:
    """*image* (BGR or luma) as a grid of mean gray levels, 48 cells on its longer side or fewer."""
    rows, columns = image.shape[:2]
    scale = min(1.0, _CELLS * _SAMPLES / max(rows, columns))
    high, wide = (max(1, round(side * scale / _SAMPLES)) for side in (rows, columns))
    if scale < 1:
        size = (wide * _SAMPLES, high * _SAMPLES)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    gray = luma(image).astype(np.float32)
    return np.asarray(cv2.resize(gray, (wide, high), interpolation=cv2.INTER_AREA), np.float32)


def differs(before: Floats, after: Floats) -> bool:
    """Whether any cell changed by more than noise and light explain; both (height, width), gray levels.

    The median of each row goes first: light that drifts or is switched slowly changes all rows alike, mains
    flicker under a rolling shutter each row in its own way. Noise is estimated from the same difference.
    """
    change = after - before
    change -= _medians(change)
    size = np.abs(change)
    sigma = 1.4826 * float(_medians(size.reshape(1, -1))[0, 0])
    return bool(size.max() > min(max(_FLOOR, _SIGMAS * sigma), _CEILING))


def _medians(rows: Floats) -> Floats:
    """The upper median of each row, as a column; an eighth of np.median's time."""
    middle = rows.shape[1] // 2
    return np.partition(rows, middle, axis=1)[:, middle : middle + 1]
