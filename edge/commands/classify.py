"""`emotion-edge classify`: expressions in pictures, and how often they are right where labels are known."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.assembly import open_configured_detector, open_engine
from edge.commands.options import add_engine, add_pictures, check_there, pictures_of, settings_of
from edge.engine import Engine
from edge.preprocess import crop_whole
from edge.sources.images import pictures_in, read_image
from edge.types import LABELS, Detector, EdgeError, Image

# Pictures up to this side are taken for one framed face, as data sets hold them, when nothing is found.
FRAMED_FACE = 128  # px


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "classify",
        help="expressions in pictures or folders",
        description="Images or folders. In a folder of folders named for labels (happy/, sad/ …) every "
        "picture is one framed face, and accuracy and a confusion matrix follow.",
    )
    add_pictures(parser, "one JSON object instead of text")
    add_engine(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    check_there(options.paths)
    engine = open_engine(settings)
    labelled = [pair for path in options.paths for pair in _labelled_pictures(path)]
    if labelled:
        report = measure(labelled, engine)
        print(json.dumps(report) if options.json else _measure_text(report))
        return 0
    detector = open_configured_detector(settings)
    results = []
    for path in pictures_of(options.paths):
        result = describe(path, detector, engine)
        results.append(result)
        if not options.json:
            print(_picture_text(result))
    if options.json:
        print(json.dumps({"images": results}))
    if all("error" in result for result in results):
        raise EdgeError("not one image could be read")
    return 0


def describe(path: Path, detector: Detector, engine: Engine) -> dict[str, Any]:
    """Every face of one picture with its scores; an unreadable picture is told in ``error``."""
    try:
        image = read_image(path)
    except EdgeError as error:
        return {"file": str(path), "error": str(error)}
    faces = detector.detect(image)
    framed = not faces and max(image.shape[:2]) <= FRAMED_FACE
    rows = [_whole(image, engine)] if framed else engine.classifier.classify(image, faces).tolist()
    boxes = [None] if framed else [[round(side, 1) for side in face.box] for face in faces]
    return {
        "file": str(path),
        "faces": [
            {
                "box": box,
                "emotion": LABELS[row.index(max(row))],
                "confidence": round(max(row), 3),
                "scores": {label: round(score, 3) for label, score in zip(LABELS, row, strict=True)},
            }
            for box, row in zip(boxes, rows, strict=True)
        ],
    }


def measure(labelled: list[tuple[str, Path]], engine: Engine) -> dict[str, Any]:
    """Accuracy and the confusion matrix over (label, file) pairs whose pictures are framed faces."""
    confusion = [[0] * len(LABELS) for _ in LABELS]
    unreadable = []
    for label, path in labelled:
        try:
            scores = _whole(read_image(path), engine)
        except EdgeError as error:
            unreadable.append(str(error))
            continue
        confusion[LABELS.index(label)][scores.index(max(scores))] += 1
    n = sum(map(sum, confusion))
    if n == 0:
        raise EdgeError(f"{unreadable[0]}; not one image could be read")
    right = sum(confusion[i][i] for i in range(len(LABELS)))
    return {
        "n": n,
        "accuracy": round(right / n, 4),
        "labels": list(LABELS),
        "confusion": confusion,  # rows: what the folder says; columns: what the model says
        "unreadable": unreadable,
    }


def _whole(image: Image, engine: Engine) -> list[float]:
    part = engine.model.card.input
    return engine.classifier.opinion(crop_whole(image, part.height, part.width))


def _labelled_pictures(path: Path) -> Iterator[tuple[str, Path]]:
    if not path.is_dir():
        return
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and folder.name.lower() in LABELS:
            for picture in pictures_in(folder):
                yield folder.name.lower(), picture


def _picture_text(result: dict[str, Any]) -> str:
    if "error" in result:
        return str(result["error"])
    if not result["faces"]:
        return f"{result['file']}: no face"
    told = (f"{face['emotion']} {face['confidence']:.2f}{_place(face['box'])}" for face in result["faces"])
    return f"{result['file']}: {', '.join(told)}"


def _place(box: list[float] | None) -> str:
    return "" if box is None else f" at {box[0]:.0f},{box[1]:.0f} {box[2]:.0f}x{box[3]:.0f}"


def _measure_text(report: dict[str, Any]) -> str:
    lines = [*report["unreadable"], f"accuracy {report['accuracy']:.1%} of {report['n']}", ""]
    lines.append(f"{'is / said':>10}" + "".join(f"{label:>9}" for label in LABELS))
    for label, row in zip(LABELS, report["confusion"], strict=True):
        lines.append(f"{label:>10}" + "".join(f"{count:9}" for count in row))
    return "\n".join(lines)
