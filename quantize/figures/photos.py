"""Photos with boxes around faces: folders with labels.json or annotations.json, or WIDER FACE."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from edge.types import EdgeError, Floats, Image

HELD_OUT = 5  # one photo in so many is held out of training, for evaluation


@dataclass(frozen=True)
class Photo:
    """One photo and its labels; boxes are x, y, width, height in its pixels."""

    file: Path
    boxes: Floats  # (n, 4)
    eyes: Floats  # (n, 4): x, y of the left, then of the right eye in the picture; nan: unknown
    ignore: Floats  # (m, 4): neither face nor background
    width: float = 0.0  # pixels of the picture the boxes refer to; 0: this file's

    @property
    def source(self) -> str:
        """Its part of the data, from the file name: ``animals`` for animals-0001.jpg."""
        return self.file.stem.rsplit("-", 1)[0]

    @property
    def held_out(self) -> bool:
        """Whether it is held out of training; depends only on its name, so it never changes."""
        return hashlib.blake2b(self.file.name.encode()).digest()[0] % HELD_OUT == 0

    def read(self, color: Literal["luma", "bgr"] = "luma") -> Image:
        """Its pixels, luma (h, w) or BGR (h, w, 3) uint8; EdgeError if it is not a picture."""
        flags = cv2.IMREAD_GRAYSCALE if color == "luma" else cv2.IMREAD_COLOR
        image = cv2.imread(str(self.file), flags)
        if image is None:
            raise EdgeError(f"{self.file}: missing, or not a picture OpenCV can read")
        return np.asarray(image, np.uint8)


def read_photos(paths: Sequence[Path]) -> list[Photo]:
    """The photos of all *paths* in order; EdgeError with the place of a mistake.

    A path is a folder with ``images/`` and ``labels.json`` or ``annotations.json`` (boxes only), or WIDER
    FACE's ``wider_face_*_bbx_gt.txt`` in the distributed layout, with ``WIDER_train/images`` next to its
    folder.
    """
    photos: list[Photo] = []
    for path in paths:
        photos += _wider(path) if path.suffix == ".txt" else _labelled(path)
    if not photos:
        raise EdgeError(f"{', '.join(map(str, paths))}: no photos; expected a labels.json with some")
    return photos


def _labelled(folder: Path) -> list[Photo]:
    path = folder / "labels.json"
    if not path.exists() and (folder / "annotations.json").exists():
        path = folder / "annotations.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeError(
            f"{path}: {error.strerror}; expected a folder with labels.json and images/, or WIDER FACE's txt"
        ) from error
    except (ValueError, RecursionError) as error:
        raise EdgeError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise EdgeError(f"{path}: expected a list of photos")
    return [_photo(f"{path}: photo {number}", folder / "images", row) for number, row in enumerate(rows, 1)]


def _photo(place: str, images: Path, row: Any) -> Photo:
    if not isinstance(row, dict) or not isinstance(row.get("file"), str):
        raise EdgeError(f"{place}: expected an object with file, size, faces and ignore")
    place = f"{place} ({row['file']})"
    if Path(row["file"]).name != row["file"]:
        raise EdgeError(f"{place}: file: expected a name without a folder")
    faces = row.get("faces", [{"box": _corners(box)} for box in row.get("boxes", [])])
    if not isinstance(faces, list) or not all(isinstance(face, dict) for face in faces):
        raise EdgeError(f"{place}: faces: expected a list of objects with box and eyes")
    boxes = _numbers(f"{place}: box", [face.get("box") for face in faces])
    eyes = _numbers(f"{place}: eyes", [face.get("eyes", [np.nan] * 4) for face in faces])
    ignore = _numbers(f"{place}: ignore", row.get("ignore", []))
    for name, some in (("box", boxes), ("ignore", ignore)):
        if not np.isfinite(some).all() or (some[:, 2:] < 0).any():
            raise EdgeError(f"{place}: {name}: expected x, y, width, height with sides of 0 or more")
    return Photo(images / row["file"], boxes, eyes, ignore, float(row.get("width", 0.0)))


def _corners(box: Any) -> Any:
    """*box* as x, y, width, height if it is an object with two corners; otherwise unchanged."""
    if isinstance(box, dict) and isinstance(box.get("xyxy"), list) and len(box["xyxy"]) == 4:
        left, top, right, bottom = box["xyxy"]
        return [left, top, right - left, bottom - top]
    return box


def _numbers(place: str, rows: Any) -> Floats:
    try:
        return np.array(rows, np.float32).reshape(len(rows), 4)
    except (TypeError, ValueError) as error:
        raise EdgeError(f"{place}: expected four numbers each") from error


def _wider(path: Path) -> list[Photo]:
    """WIDER FACE's list: a file name, the number of boxes, a line per box of x y w h and six flags.

    Invalid and heavily occluded boxes become ``ignore``; eyes are unknown.
    """
    split = "val" if "_val_" in path.name else "train"
    images = path.parent.parent / f"WIDER_{split}" / "images"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    photos, at = [], 0
    while at < len(lines):
        name, at = lines[at].strip(), at + 1
        try:
            count = int(lines[at])
            # A photo without a face has one line of zeros.
            rows = [[int(value) for value in line.split()] for line in lines[at + 1 : at + 1 + max(1, count)]]
            table = np.array(rows, np.float32).reshape(max(1, count), 10)
        except (IndexError, ValueError) as error:
            raise EdgeError(
                f"{path}:{at + 1}: {name}: expected the number of boxes, then ten numbers per box"
            ) from error
        at += 1 + max(1, count)
        table = table[(table[:, 2] > 0) & (table[:, 3] > 0)] if count else table[:0]
        bad = (table[:, 7] > 0) | (table[:, 8] > 1)
        boxes = table[~bad, :4]
        photos.append(Photo(images / name, boxes, np.full_like(boxes, np.nan), table[bad, :4]))
    return photos
