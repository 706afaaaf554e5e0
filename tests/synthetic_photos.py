"""Synthetic photos, one portrait each on noise, in the layout that `detector fit` and quantize read."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from edge.sources.portraits import FILE


def write_photos(
    folder: Path, count: int, size: tuple[int, int], sides: tuple[int, int], *, empty_every: int = 0
) -> Path:
    """*count* photos of *size* (width, height) with faces of *sides* pixels in *folder*, and labels.json.

    One in *empty_every* has no face.
    """
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    width, height = size
    with np.load(FILE) as archive:
        faces = archive["faces"].astype(np.uint8)
    rows = []
    for i in range(count):
        image = random.integers(60, 120, (height, width), np.uint8)
        found = []
        if not empty_every or i % empty_every:
            side = int(random.integers(*sides))
            x, y = int(random.integers(0, width - side)), int(random.integers(0, height - side))
            image[y : y + side, x : x + side] = cv2.resize(faces[i % 7], (side, side))
            # A detector's boxes are narrower than FER2013's frame.
            box = [x + 0.12 * side, y + 0.05 * side, 0.76 * side, 0.95 * side]
            eyes = [x + 0.3 * side, y + 0.4 * side, x + 0.7 * side, y + 0.4 * side]
            found.append({"box": box, "eyes": eyes, "score": 0.9})
        name = f"{'made' if found else 'noise'}-{i:04d}.png"
        cv2.imwrite(str(folder / "images" / name), image)
        rows.append({"file": name, "size": [width, height], "faces": found, "ignore": []})
    (folder / "labels.json").write_text(json.dumps(rows))
    return folder
