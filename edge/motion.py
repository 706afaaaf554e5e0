"""Whether a picture still shows what the last analysed one showed: what spares detection on a still scene."""

from __future__ import annotations

import cv2
import numpy as np

from edge.preprocess import luma
from edge.types import Floats, Image

# At 10 frames a second every eleventh is analysed whatever happens, which is 9 % of the calls: what moves
# too little or too slowly to be seen here waits no longer.
REFRESH_S = 1.05
# After movement everything is analysed for so long without another look: where movement never ends, looking
# must not cost what it can never save.
LINGER_S = 0.5

# Cells on the longer side: the smallest face (detector.min_face = 0.08) covers about 4 x 4 of them.
_CELLS = 48
# Samples per cell and direction. Sampled bilinearly, so that a cell averages up to 64 pixels at a cost that
# does not grow with the picture.
_SAMPLES = 4
# Grey levels by which a cell must differ: at least, in standard deviations of the others (5 are passed by
# noise once in 10^6, and a picture has 1,700 cells), and at most, lest a panning camera pass for noise.
_FLOOR, _SIGMAS, _CEILING = 3.0, 7.0, 12.0


class MotionGate:
    """Remembers the last analysed picture as a thumbnail and compares the following ones with it."""

    def __init__(self) -> None:
        self._reference: Floats | None = None
        self._analysed = 0.0  # when the reference was taken, monotonic s
        self._lingers_until = 0.0  # monotonic s

    def moved(self, image: Image, taken: float, *, unsettled: bool = False) -> bool:
        """Whether *image* is to be analysed: something moved, the last time is long ago, or *unsettled*.

        *taken* in seconds, never falling. True makes *image* the one that the next ones are compared with.
        """
        if self._reference is not None and taken < self._lingers_until:
            return True
        cells = thumbnail(image)
        before = self._reference
        changed = before is None or before.shape != cells.shape or differs(before, cells)
        if not (changed or unsettled or taken - self._analysed >= REFRESH_S):
            return False
        self._reference, self._analysed = cells, taken
        if changed and before is not None:
            self._lingers_until = taken + LINGER_S
        return True


def thumbnail(image: Image) -> Floats:
    """*image* (BGR or luma) as a grid of mean grey levels, 48 cells on its longer side or fewer."""
    rows, columns = image.shape[:2]
    scale = min(1.0, _CELLS * _SAMPLES / max(rows, columns))
    high, wide = (max(1, round(side * scale / _SAMPLES)) for side in (rows, columns))
    if scale < 1:
        size = (wide * _SAMPLES, high * _SAMPLES)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    grey = luma(image).astype(np.float32)
    return np.asarray(cv2.resize(grey, (wide, high), interpolation=cv2.INTER_AREA), np.float32)


def differs(before: Floats, after: Floats) -> bool:
    """Whether any cell changed by more than noise and light explain; both (height, width), grey levels.

    The median of each row goes first: light that drifts or is switched slowly changes all rows alike, mains
    flicker under a rolling shutter each row in its own way. Noise is estimated from the same difference.
    """
    change = after - before
    change -= np.median(change, axis=1, keepdims=True)
    size = np.abs(change)
    sigma = 1.4826 * float(np.median(size))
    return bool(size.max() > min(max(_FLOOR, _SIGMAS * sigma), _CEILING))
