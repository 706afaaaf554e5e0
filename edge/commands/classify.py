"""`emotion-edge classify`: expressions in pictures; accuracy where labels are known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge.analysis.engine import Engine
from edge.analysis.preprocess import crop_whole
from edge.commands.options import add_engine, add_pictures, check_there, pictures_of, settings_of
from edge.labels import Order, is_number, label_of, numbered, order
from edge.node.build import open_configured_detector, open_engine
from edge.sources.images import is_image, read_image
from edge.types import LABELS, Detector, EdgeError, Image

# Pictures up to this side are taken for one framed face, as data sets hold them, when nothing is found.
FRAMED_FACE = 128  # px
_NAMED = 20  # files left out that are named before "and N more"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "classify",
        help="expressions in pictures or folders",
        description="Images or folders. In a folder of folders named for labels (happy/, sadness/ …) every "
        "picture is one framed face, and accuracy and a confusion matrix follow.",
    )
    add_pictures(parser, "one JSON object instead of text")
    parser.add_argument(
        "--labels", type=order, metavar="NAME,NAME",
        help="what folders named by numbers mean: label names in the order of the numbers",
    )  # fmt: skip
    add_engine(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = settings_of(options)
    check_there(options.paths)
    engine = open_engine(settings)
    names = engine.model.card.labels
    if options.labels and names != LABELS:
        raise EdgeError(
            f"--labels {options.labels}: only for FER2013's labels; the model has "
            f"{', '.join(names)}; name the folders so"
        )
    sorted_out = [sort_out(path, options.labels, names) for path in options.paths]
    labelled = [pair for some in sorted_out for pair in some.labelled]
    if labelled:
        report = measure(labelled, engine, [line for some in sorted_out for line in some.left_out])
        print(json.dumps(report) if options.json else _measure_text(report))
        return 0
    detector = open_configured_detector(settings)
    _name_others(options.paths)
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


def _name_others(paths: Sequence[Path]) -> None:
    """Say on stderr which files in the folders among *paths* are no pictures by their names."""
    inside = (file for path in paths if path.is_dir() for file in path.rglob("*") if file.is_file())
    others = [file for file in _shown(inside) if not is_image(file)]
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        names = ", ".join(str(file) for file in others[:_NAMED])
        print(f"{len(others)} files skipped, not pictures by name: {names}{more}", file=sys.stderr)


def describe(path: Path, detector: Detector, engine: Engine) -> dict[str, Any]:
    """Every face of one picture with its scores; an unreadable picture gives ``error``."""
    try:
        image = read_image(path)
    except EdgeError as error:
        return {"file": str(path), "error": str(error)}
    faces = detector.detect(image)
    framed = not faces and max(image.shape[:2]) <= FRAMED_FACE
    names = engine.model.card.labels
    rows = [_whole(image, engine)] if framed else engine.classifier.classify(image, faces).tolist()
    boxes = [None] if framed else [[round(side, 1) for side in face.box] for face in faces]
    return {
        "file": str(path),
        "faces": [
            {
                "box": box,
                "emotion": names[row.index(max(row))],
                "confidence": round(max(row), 3),
                "scores": {label: round(score, 3) for label, score in zip(names, row, strict=True)},
            }
            for box, row in zip(boxes, rows, strict=True)
        ],
    }


def measure(
    labelled: Sequence[tuple[int, Path]], engine: Engine, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Accuracy and confusion matrix over (index of its label, file) of framed faces; *left_out* as given."""
    names = engine.model.card.labels
    confusion = [[0] * len(names) for _ in names]
    unreadable = []
    for label, path in labelled:
        try:
            scores = _whole(read_image(path), engine)
        except EdgeError as error:
            unreadable.append(str(error))
            continue
        confusion[label][scores.index(max(scores))] += 1
    n = sum(map(sum, confusion))
    if n == 0:
        raise EdgeError(f"{unreadable[0]}; not one image could be read")
    right = sum(confusion[i][i] for i in range(len(names)))
    return {
        "n": n,
        "accuracy": round(right / n, 4),
        "labels": list(names),
        "confusion": confusion,  # rows: what the folder says; columns: what the model says
        "unreadable": unreadable,
        "left_out": list(left_out),
    }


def _whole(image: Image, engine: Engine) -> list[float]:
    part = engine.model.card.input
    return engine.classifier.opinion(crop_whole(image, part.height, part.width))


class Sorted(NamedTuple):
    """A folder of label-named folders; empty where it is none."""

    labelled: list[tuple[int, Path]]  # index into the model's labels, picture
    left_out: list[str]  # a line each


def sort_out(path: Path, order: Order | None = None, names: Sequence[str] = LABELS) -> Sorted:
    """The labelled pictures of *path*, and a line for each file or folder that is not counted.

    Folders are named for the seven labels in any spelling, or for the model's own *names* to the letter.
    EdgeError where they are numbers and no *order* says what they mean.
    """
    inside = _shown(path.iterdir()) if path.is_dir() else []
    folders = [one for one in inside if one.is_dir()]
    seven = tuple(names) == LABELS
    own = {name: index for index, name in enumerate(names)}
    label = {folder: label_of(folder.name, order) if seven else own.get(folder.name) for folder in folders}
    numbers = [folder for folder in folders if seven and is_number(folder.name)]
    if order is None and len(numbers) > 1 and len(numbers) == len(folders):
        raise EdgeError(numbered(numbers[0]))
    if not any(found is not None for found in label.values()):
        return Sorted([], [f"{path}: skipped, not in a label's folder"])
    labelled: list[tuple[int, Path]] = []
    left_out: list[str] = []
    for one in inside:
        found = label.get(one)
        if found is None:
            kind = "a folder not named for a label" if one in label else "not in a label's folder"
            left_out.append(f"{one}: skipped, {kind}")
            continue
        for file in _shown(child for child in one.rglob("*") if child.is_file()):
            if is_image(file):
                labelled.append((found, file))
            else:
                left_out.append(f"{file}: skipped, not a picture by name")
    return Sorted(labelled, left_out)


def _shown(paths: Iterable[Path]) -> list[Path]:
    """*paths* by name, without those that systems hide (.DS_Store)."""
    return sorted(path for path in paths if not path.name.startswith("."))


def _picture_text(result: dict[str, Any]) -> str:
    if "error" in result:
        return str(result["error"])
    if not result["faces"]:
        return f"{result['file']}: no face"
    faces = []
    for face in result["faces"]:
        place = " at {:.0f},{:.0f} {:.0f}x{:.0f}".format(*face["box"]) if face["box"] else ""
        faces.append(f"{face['emotion']} {face['confidence']:.2f}{place}")
    return f"{result['file']}: {', '.join(faces)}"


def _measure_text(report: dict[str, Any]) -> str:
    unused = [*report["unreadable"], *report["left_out"]]
    rest = f"; {len(unused)} skipped, named above" if unused else ""
    lines = [*unused, f"accuracy {report['accuracy']:.1%} of {report['n']}{rest}", ""]
    names = report["labels"]
    width = max(8, *map(len, names)) + 1
    lines.append(f"{'true / predicted':>{width + 1}}" + "".join(f"{label:>{width}}" for label in names))
    for label, row in zip(names, report["confusion"], strict=True):
        lines.append(f"{label:>{width + 1}}" + "".join(f"{count:{width}}" for count in row))
    return "\n".join(lines)
