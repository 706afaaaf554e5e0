"""``emotion-train detector fit | balance | evaluate``."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.cli import number
from edge.types import EdgeError
from training.options import add_data, add_run


def add_parser(commands: Any) -> None:
    """The group ``detector`` in *commands*, argparse's subparsers."""
    detector = commands.add_parser("detector", help="train and measure the face detector")
    some = detector.add_subparsers(required=True, metavar="COMMAND")

    data = argparse.ArgumentParser(add_help=False)
    add_data(data, "folders with labels.json or annotations.json and images/, or WIDER FACE's *_bbx_gt.txt")

    fit = some.add_parser("fit", parents=[data], help="train the detector")
    add_run(fit, "training/detect/recipe.py")
    fit.set_defaults(run=_fit)

    balance = some.add_parser("balance", help="shift the scores of small faces against those of large ones")
    balance.add_argument("folder", type=Path, metavar="RUN", help="the folder of what fit left")
    balance.add_argument(
        "--shift", type=_shift, nargs="+", required=True, metavar="STRIDE=LOGIT",
        help="added to that level's logits: 8=-0.4 asks more of faces under 40 px of the network's input",
    )  # fmt: skip
    balance.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new run's folder")
    balance.set_defaults(run=_balance, threads=None)

    evaluate = some.add_parser(
        "evaluate", parents=[data], help="compare detectors: figures, curves, missed faces"
    )
    evaluate.add_argument(
        "detectors", nargs="*", metavar="DETECTOR",
        help="haar, yunet, blazeface, res10 or ssd, optionally with =FILE (default: all five)",
    )  # fmt: skip
    evaluate.add_argument(
        "--files", type=Path, metavar="DIR",
        help="folder with YuNet's, BlazeFace's and res10's files under their published names",
    )  # fmt: skip
    evaluate.add_argument(
        "--empty", type=Path, nargs="*", default=[], metavar="PATH",
        help="photos for counting false positives: those without a face and held out of training",
    )  # fmt: skip
    evaluate.add_argument(
        "--score", type=number(0), metavar="S",
        help="score from which a detection there is a false positive (default: each detector's own)",
    )  # fmt: skip
    evaluate.add_argument(
        "--scores", type=number(0), nargs="+", default=[], metavar="S",
        help="also evaluate at these scores, to choose a default by",
    )  # fmt: skip
    evaluate.add_argument(
        "--out", type=Path, metavar="DIR", help="write a report: tables, curves, grids of pictures"
    )
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
        raise EdgeError(f"keras: the detector trains on tensorflow only, not {backend}; unset KERAS_BACKEND")
    from training.detect.fit import fit

    photos = read_photos(options.data)
    fit(photos, recipe, options.out, resume=options.resume, start_from=options.start_from)


def _shift(text: str) -> tuple[int, float]:
    stride, _, shift = text.partition("=")
    try:
        if math.isfinite(float(shift)):
            return int(stride), float(shift)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!a}; expected STRIDE=LOGIT, as 8=-0.4")


def _balance(options: argparse.Namespace) -> None:
    from training.detect.balance import balance

    balance(options.folder, dict(options.shift), options.out)


def _evaluate(options: argparse.Namespace) -> None:
    import cv2

    from quantize.figures.photos import read_photos
    from training.detect.contenders import ALL, open_contender
    from training.detect.evaluate import evaluate, table
    from training.detect.report import write_report

    cv2.setNumThreads(1)
    contenders = [open_contender(text, options.files) for text in options.detectors or ALL]
    if options.score is not None:
        contenders = [one._replace(default=options.score) for one in contenders]
    sets = {path.name: read_photos([path]) for path in options.data}
    nobody = [photo for photo in read_photos(options.empty) if photo.held_out] if options.empty else []
    found = evaluate(contenders, sets, nobody, options.scores)
    print(table(found))
    if options.out:
        write_report(found, options.out)
