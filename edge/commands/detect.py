"""`emotion-edge detect`: faces in pictures, as the detector finds them."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2

from edge.analysis.detectors import FaceDetector
from edge.cli import file_path, number, whole
from edge.commands.options import add_engine, add_pictures, check_there, pictures_of, settings_of
from edge.node.build import open_configured_detector
from edge.sources.images import read_image
from edge.types import EdgeError, Face, Image

BOX, EYE = (80, 200, 80), (60, 60, 240)  # BGR


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "detect",
        help="faces in pictures: box, eyes, score",
        description="Boxes are the detector's own, in pixels of the picture, before they are framed for the "
        "classifier.",
    )
    add_pictures(parser, "one JSON object a line and picture")
    parser.add_argument(
        "--annotate", type=file_path, metavar="OUT", help="draw them into copies in this folder"
    )
    parser.add_argument(
        "--min-score", type=number(0, 1), metavar="S", help="least score, 0 to 1 (default: the daemon's)"
    )
    parser.add_argument(
        "--min-face", type=number(0, 1), default=0.0, metavar="F",
        help="smallest box, its longer side as a part of the picture's, 0 to 1 (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--long-side", type=whole(64, 1920), metavar="N", help="pixels to which a picture is shrunk"
    )
    add_engine(parser, model=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    check_there(options.paths)
    pictures = pictures_of(options.paths)
    copies = _copies(pictures, options.annotate) if options.annotate else {}
    # Smaller boxes are dropped here, by the detector's own box; Haar would not search for them.
    least = settings.detector.model_copy(update={"min_face": options.min_face})
    detector = open_configured_detector(settings.model_copy(update={"detector": least}))
    read = 0
    for path in pictures:
        try:
            image = read_image(path)
        except EdgeError as error:
            print(json.dumps({"file": str(path), "error": str(error)}) if options.json else error, flush=True)
            continue
        read += 1
        faces, ms = timed(detector, image, options.min_face)
        report = described(path, image, faces, ms)
        print(json.dumps(report) if options.json else _text(report), flush=True)
        if copies:
            _write(copies[path], annotated(image, faces))
    if not read:
        raise EdgeError("not one image could be read")
    return 0


def timed(detector: FaceDetector, image: Image, min_face: float) -> tuple[list[Face], float]:
    """The detector's own faces of *image*, the likeliest first, and the milliseconds that they took."""
    start = time.perf_counter()
    faces = detector.find(image)
    ms = (time.perf_counter() - start) * 1000
    smallest = min_face * max(image.shape[:2])
    kept = (face for face in faces if max(face.box.width, face.box.height) >= smallest)
    return sorted(kept, key=lambda face: -face.score), ms


def described(path: Path, image: Image, faces: list[Face], ms: float) -> dict[str, Any]:
    """One line of --json."""
    return {
        "file": str(path),
        "size": [image.shape[1], image.shape[0]],
        "faces": [
            {
                "box": [round(side, 1) for side in face.box],
                "score": round(face.score, 4),
                "eyes": face.eyes and [[round(x, 1), round(y, 1)] for x, y in face.eyes],
            }
            for face in faces
        ],
        "ms": round(ms, 2),
    }


def annotated(image: Image, faces: list[Face]) -> Image:
    """A copy of *image* with each face's box, eyes and score."""
    copy = image.copy()
    thick = max(1, round(max(image.shape[:2]) / 400))
    for face in faces:
        x, y, width, height = (round(side) for side in face.box)
        cv2.rectangle(copy, (x, y), (x + width, y + height), BOX, thick)
        for eye_x, eye_y in face.eyes or ():
            cv2.circle(copy, (round(eye_x), round(eye_y)), thick + 1, EYE, -1)
        place = (max(0, x), max(12 * thick, y - 3 * thick))
        cv2.putText(copy, f"{face.score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thick, BOX, thick)
    return copy


def _copies(pictures: dict[Path, Path], out: Path) -> dict[Path, Path]:
    """Picture -> where its copy goes; EdgeError where that is a picture itself or another's place."""
    copies: dict[Path, Path] = {}
    originals = {picture.resolve() for picture in pictures}
    for picture, root in pictures.items():
        copy = out / (picture.relative_to(root) if root.is_dir() else picture.name)
        if copy.resolve() in originals:
            raise EdgeError(f"--annotate {out}: {copy} would be overwritten; name another folder")
        if copy in copies.values():
            raise EdgeError(f"--annotate {out}: two pictures named {copy.name}; give one folder at a time")
        copies[picture] = copy
    return copies


def _write(copy: Path, image: Image) -> None:
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        coded = cv2.imencode(copy.suffix, image)[1]
        copy.write_bytes(coded.tobytes())
    except (OSError, cv2.error) as error:
        reason = error.strerror if isinstance(error, OSError) else f"OpenCV writes no {copy.suffix}"
        raise EdgeError(f"--annotate: {copy}: {reason}") from error


def _text(report: dict[str, Any]) -> str:
    form = "{:.2f} at {:.0f},{:.0f} {:.0f}x{:.0f}"
    faces = (form.format(face["score"], *face["box"]) for face in report["faces"])
    return f"{report['file']}: {', '.join(faces) or 'no face'}"
