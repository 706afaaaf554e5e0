"""OpenCV's own face SSD (ResNet-10, 300x300, 8-bit weights), for comparison with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge.analysis.detectors.shared import Framing
from edge.types import Box, EdgeError, Face, Image

_MEAN = (104.0, 177.0, 123.0)  # its training mean, BGR


class Res10:
    """Finds faces with the network in *file* (.pb) and its description (.pbtxt) next to it."""

    name = "res10"
    zoom = 1.0
    color: Literal["luma", "bgr"] = "bgr"
    framing = Framing(down=0.0, size=1.0)  # not measured: nothing is cropped by it

    def __init__(self, file: Path) -> None:
        descriptions = sorted(file.parent.glob("*.pbtxt"))
        if not descriptions:
            raise EdgeError(f"{file}: no .pbtxt next to it; OpenCV needs the network's description")
        try:
            self._net = cv2.dnn.readNetFromTensorflow(str(file), str(descriptions[0]))
        except cv2.error as error:
            raise EdgeError(f"{file}: OpenCV {cv2.__version__} cannot read it") from error

    def find(self, image: Image) -> list[Face]:
        """Faces in BGR *image* with scores from .02 on; the image is padded to the network's square input."""
        rows, columns = image.shape[:2]
        side = max(rows, columns)
        square = cv2.copyMakeBorder(image, 0, side - rows, 0, side - columns, cv2.BORDER_CONSTANT)
        self._net.setInput(cv2.dnn.blobFromImage(square, 1.0, (300, 300), _MEAN))
        found = np.asarray(self._net.forward(), np.float64)[0, 0]
        faces = []
        for _, _, score, left, top, right, bottom in found.tolist():
            if score >= 0.02 and right > left and bottom > top:
                box = Box(left * side, top * side, (right - left) * side, (bottom - top) * side)
                faces.append(Face(box, score))
        return faces
