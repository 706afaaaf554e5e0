"""The Viola-Jones cascade that comes with OpenCV 4: needs no file from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2

from edge.analysis.detectors.shared import Framing
from edge.types import Box, EdgeError, Face, Image

CASCADE = "haarcascade_frontalface_default.xml"
DEBIAN = Path("/usr/share/opencv4/haarcascades")  # package opencv-data, for apt's python3-opencv

# Chosen on 285 photos of facemask853 (56 bare faces above min_face) and the clips, at 320 px: a step of
# 1.15 finds 35 of the 56, as many as 1.1 with 5 neighbors, in 2/3 of the time; 1.2 loses faces in clips.
# The last stage's weight separates better than more neighbors do: 15 false faces at 0, 10 at 2, and 98 %
# of WolfgangLanger's frames keep their face (3 would leave 6 false ones, but keep 96 %).
STEP = 1.15
NEIGHBORS = 4
MIN_SCORE = 0.2  # a weight of 2


class Haar:
    """Frontal faces from a cascade; EdgeError where OpenCV or the file lacks it."""

    name = "haar"
    chosen = None
    shareable = False
    zoom = 1.0
    color: Literal["luma", "bgr"] = "luma"
    # `emotion-train framing --detector haar`, n = 1363: down .004 ± .016, size 1.019 ± 6.5 % (median and
    # MAD): FER2013's faces were themselves cut out with a cascade of OpenCV's.
    framing = Framing(down=0.0, size=1.019)

    def __init__(self, file: Path | None, *, min_face: float, min_score: float | None) -> None:
        """*file*: a cascade, or OpenCV's. *min_face*: share of the long side. *min_score*: 0..1."""
        if not hasattr(cv2, "CascadeClassifier"):
            raise EdgeError(
                f"haar: OpenCV {cv2.__version__} has no CascadeClassifier; "
                'install opencv-python-headless<5 or set detector.kind = "yunet"'
            )
        self.path = file or _cascade()
        self.description = str(self.path)
        self._min_face = min_face
        self._min_score = MIN_SCORE if min_score is None else min_score
        if not self.path.is_file():  # else OpenCV writes its own line to stderr
            raise EdgeError(f"haar: {self.path}: no such file; leave detector.file out for OpenCV's own")
        try:
            self._cascade = cv2.CascadeClassifier(str(self.path))
        except (cv2.error, SystemError) as error:
            raise EdgeError(f"haar: {self.path}: not a cascade that OpenCV reads") from error
        if self._cascade.empty():
            raise EdgeError(f"haar: {self.path}: not a cascade that OpenCV reads")

    def find(self, image: Image) -> list[Face]:
        """Faces in luma *image*. The score is the last stage's weight / 10, in 0..1: no probability."""
        smallest = max(1, int(self._min_face * max(image.shape) / self.framing.size))
        boxes, _, weights = self._cascade.detectMultiScale3(
            image, STEP, NEIGHBORS, minSize=(smallest, smallest), outputRejectLevels=True
        )
        scores = [min(1.0, max(0.0, float(weight) / 10)) for weight in weights]
        return [
            Face(Box(float(x), float(y), float(width), float(height)), score)
            for (x, y, width, height), score in zip(boxes, scores, strict=True)
            if score >= self._min_score
        ]


def _cascade() -> Path:
    # opencv-python's wheel has cv2.data; Debian's package has not and keeps the files apart.
    wheel = getattr(getattr(cv2, "data", None), "haarcascades", None)
    places = ([Path(wheel)] if wheel else []) + [DEBIAN]
    for place in places:
        if (place / CASCADE).is_file():
            return place / CASCADE
    looked = ", ".join(str(place) for place in places)
    raise EdgeError(f"haar: {CASCADE} not found in {looked}; install opencv-data or set detector.file")
