"""``emotion-train detector fit | evaluate``."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from edge.cli import number, whole
from edge.types import EdgeError

LEAST = 0.02  # score from which finds are counted: below, they add nothing but time


def add_parser(commands: Any) -> None:
    """The group ``detector`` in *commands*, argparse's subparsers."""
    detector = commands.add_parser("detector", help="train and measure the face detector")
    some = detector.add_subparsers(required=True, metavar="COMMAND")

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="PATH",
        help="folders with labels.json or annotations.json and images/, or WIDER FACE's *_bbx_gt.txt",
    )  # fmt: skip
    data.add_argument(
        "--threads", type=whole(1), metavar="N", help="of the backend (default: its own choice)"
    )

    fit = some.add_parser("fit", parents=[data], help="train the detector")
    fit.add_argument(
        "--recipe", type=Path, metavar="TOML", help="default: the values in training/detect/recipe.py"
    )
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    fit.add_argument("--resume", action="store_true", help="go on after the last whole epoch in DIR")
    fit.add_argument(
        "--start-from", type=Path, metavar="RUN", help="begin with the weights of this run or model.keras"
    )
    fit.add_argument("--seed", type=whole(0, 2**31 - 1), metavar="N", help="instead of the recipe's")
    fit.set_defaults(run=_fit, stopped="stopped; --resume goes on after the last whole epoch")

    evaluate = some.add_parser("evaluate", parents=[data], help="detectors side by side")
    evaluate.add_argument(
        "detectors", nargs="+", metavar="DETECTOR",
        help="ssd, haar, yunet, or KIND=FILE with its file; res10=FILE.pb with its .pbtxt beside it",
    )  # fmt: skip
    evaluate.add_argument(
        "--empty", type=Path, nargs="*", default=[], metavar="PATH",
        help="photos of which those held out of training and without a face give the false alarms",
    )  # fmt: skip
    evaluate.add_argument(
        "--score", type=number(0), default=0.5, metavar="S",
        help="from which score a find there is an alarm (default 0.5; yunet 0.7)",
    )  # fmt: skip
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="table, curves and grids of pictures")
    evaluate.set_defaults(run=_evaluate)


def _fit(options: argparse.Namespace) -> None:
    from quantize.figures.photos import read_photos
    from training.detect.recipe import DetectorRecipe, read_detector_recipe
    from training.runs import import_keras

    recipe = read_detector_recipe(options.recipe) if options.recipe else DetectorRecipe()
    if options.seed is not None:
        recipe = replace(recipe, seed=options.seed)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if (backend := import_keras().backend.backend()) != "tensorflow":
        raise EdgeError(f"keras: the detector trains on tensorflow, not on {backend}; unset KERAS_BACKEND")
    from training.detect.fit import fit

    photos = read_photos(options.data)
    fit(photos, recipe, options.out, resume=options.resume, start_from=options.start_from)


def _evaluate(options: argparse.Namespace) -> None:
    import cv2

    from quantize.figures.photos import read_photos
    from training.detect import evaluate
    from training.fit.records import write, writing

    cv2.setNumThreads(1)
    finders = {name: _finder(name) for name in options.detectors}
    sets = {path.name: read_photos([path]) for path in options.data}
    empty = [photo for photo in read_photos(options.empty) if photo.held_out] if options.empty else []
    rows = []
    for name, finder in finders.items():
        kind = name.partition("=")[0]
        alarms = evaluate.alarms(finder, empty, 0.7 if kind == "yunet" else options.score)
        for order, (data, photos) in enumerate(sets.items()):
            row, pictures = evaluate.evaluate(finder, kind, data, photos)
            if not order:  # the photos without a face are the same for all
                row = replace(row, alarms=alarms)
            rows.append(row)
            if options.out:
                with writing(options.out):
                    options.out.mkdir(parents=True, exist_ok=True)
                peopled = [photo for photo in photos if len(photo.boxes)]
                drawn = evaluate.grid(peopled, pictures, row.scores.at()[1])
                write(options.out / f"{kind}-{data}.jpg", partial(_save_picture, drawn))
    print(evaluate.table(rows))
    if options.out:
        text = evaluate.table(rows) + "\n"
        write(options.out / "detectors.md", lambda path: path.write_text(text, encoding="utf-8"))
        write(options.out / "curves.png", lambda path: evaluate.save_curves(rows, path))


def _save_picture(picture: Any, path: Path) -> None:
    import cv2

    cv2.imwrite(str(path), picture)


def _finder(name: str) -> Any:
    """The bare detector that *name* means: a kind, or KIND=FILE."""
    from edge.detectors import open_detector
    from training.detect.res10 import Res10

    kind, _, file = name.partition("=")
    if kind == "res10":
        if not file:
            raise EdgeError(f"{name}: expected res10=FILE.pb, OpenCV's face SSD, with its .pbtxt beside it")
        return Res10(Path(file))
    return open_detector(kind, file=Path(file) if file else None, min_score=LEAST, min_face=0.01).finder  # type: ignore[arg-type]
