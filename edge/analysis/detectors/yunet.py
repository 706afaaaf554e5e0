"""YuNet through cv2.FaceDetectorYN: a small network that also gives the eyes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge.analysis.detectors.shared import Framing
from edge.host.quiet import SILENT, log_level
from edge.types import Box, EdgeError, Face, Image

SMALLEST = 64  # pixels; see find()
MIN_SCORE = 0.7
MAX_OVERLAP = 0.3  # of two boxes with a larger IoU the lower score goes


class YuNet:
    """Faces from the network in *file*; EdgeError in one line where it does not run.

    The file of 2023 needs OpenCV 4.8 (opencv/opencv_zoo issue 172).
    """

    name = "yunet"
    chosen = None
    shareable = False
    zoom = 1.0
    color: Literal["luma", "bgr"] = "bgr"
    # `emotion-train framing --detector yunet`, n = 2586: down .144 ± .033, size 1.303 ± 8 % (median and
    # MAD). The eyes hold the center better than the box (± .025 against .036 of a face), whose lower edge
    # follows the mouth; for the same reason its width is steadier than its height (8 against 10 %).
    framing = Framing(down=0.144, size=1.303)

    def __init__(self, file: Path, *, min_score: float | None) -> None:
        """*min_score*: 0..1, by default MIN_SCORE."""
        if not hasattr(cv2, "FaceDetectorYN"):
            raise EdgeError(
                f"yunet: OpenCV {cv2.__version__} has no FaceDetectorYN; "
                'install opencv-python-headless>=4.8 or set detector.kind = "haar"'
            )
        if not file.is_file():
            raise EdgeError(f"yunet: {file}: no such file; `emotion-edge models fetch yunet` gets it")
        self.description = str(file)
        self._size = (SMALLEST, SMALLEST)
        least = MIN_SCORE if min_score is None else min_score
        try:
            with _quiet():
                self._net = cv2.FaceDetectorYN.create(str(file), "", self._size, least, MAX_OVERLAP)
                # A file that parses may still be another network, or newer than this OpenCV.
                self._net.detect(np.zeros((*self._size, 3), np.uint8))
        except (cv2.error, SystemError) as error:
            raise EdgeError(
                f"yunet: {file}: OpenCV {cv2.__version__} cannot run it (2023mar needs 4.8); "
                "`emotion-edge models fetch yunet` gets the one that is known to work"
            ) from error

    def find(self, image: Image) -> list[Face]:
        """Faces in BGR *image*, the likeliest first, each with its eyes."""
        rows, columns = image.shape[:2]
        # One row of the coarsest grid (32 px) makes OpenCV 4.14 return infinite boxes. It pads to
        # multiples of 32 at the right and below itself, so more of that padding moves nothing.
        below, right = max(0, SMALLEST - rows), max(0, SMALLEST - columns)
        if below or right:
            image = np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self._net.setInputSize(size)
            self._size = size
        found = self._net.detect(image)[1]
        if found is None:
            return []
        faces = []
        for row in np.asarray(found, np.float64).tolist():
            x, y, width, height, *points, score = row
            inside = 0 <= x + width / 2 < columns and 0 <= y + height / 2 < rows
            if not inside or not all(map(math.isfinite, row)):
                continue
            # YuNet gives the person's right eye first, which a head upside down has on the picture's right.
            left, right = sorted(((points[0], points[1]), (points[2], points[3])))
            faces.append(Face(Box(x, y, width, height), score, (left, right)))
        return faces


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV writes its own lines to stderr before it raises: our one line is enough."""
    level = log_level(SILENT)
    try:
        yield
    finally:
        log_level(level)
