"""``emotion-train micro synthesize | spot | fit | evaluate``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge.cli import number, whole
from edge.types import EdgeError


def add_parser(commands: Any) -> None:
    """The group ``micro`` in *commands*, argparse's subparsers."""
    micro = commands.add_parser("micro", help="brief movements: synthetic clips, the spotter, recognition")
    some = micro.add_subparsers(required=True, metavar="COMMAND")

    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--clips", type=whole(1), default=200, metavar="N", help="default: 200")
    made.add_argument("--seed", type=whole(0), default=0, metavar="N", help="first seed (default: 0)")
    made.add_argument("--faces", type=Path, metavar="DIR", help="pictures of faces (default: built-in)")

    synthesize = some.add_parser("synthesize", parents=[made], help="make clips with ground truth")
    synthesize.add_argument("--out", type=Path, required=True, metavar="DIR")
    synthesize.add_argument("--fps", type=number(10), default=200.0, metavar="F", help="default: 200")
    synthesize.add_argument(
        "--seconds", type=number(2), default=4.0, metavar="S", help="per clip (default: 4)"
    )
    synthesize.add_argument(
        "--casme", type=whole(2), metavar="SUBJECTS",
        help="instead, make a data set in CASME II's layout: N synthetic subjects with --clips clips each",
    )  # fmt: skip
    synthesize.set_defaults(run=_synthesize, threads=None)

    spot = some.add_parser("spot", parents=[made], help="evaluate the spotter on synthetic clips")
    spot.add_argument("--fps", type=number(58), default=60.0, metavar="F", help="default: 60")
    spot.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    spot.add_argument(
        "--videos", type=Path, nargs="+", metavar="VIDEO",
        help="instead: run on real videos, interpolated to --fps",
    )  # fmt: skip
    spot.set_defaults(run=_spot, threads=None)

    coded = argparse.ArgumentParser(add_help=False)
    coded.add_argument(
        "--data", type=Path, required=True, metavar="DIR",
        help="CASME II: CASME2-coding-*.xlsx and, in it or below, subNN/EPxx_xx/imgN.jpg or reg_imgN.jpg",
    )  # fmt: skip
    coded.add_argument("--seed", type=whole(0), default=0, metavar="N", help="default: 0")
    evaluate = some.add_parser(
        "evaluate",
        parents=[coded],
        help="evaluate recognition, leaving one subject out at a time",
    )
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="a report: figures, confusion matrices")
    evaluate.add_argument(
        "--shuffle", action="store_true", help="shuffle the labels, to measure the chance level"
    )
    evaluate.set_defaults(run=_evaluate, threads=None)
    fit = some.add_parser("fit", parents=[coded], help="train one network on all subjects")
    fit.add_argument("--classes", type=int, choices=(3, 5), default=3, help="default: 3")
    fit.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for model.keras and loss.png"
    )
    fit.set_defaults(run=_fit, threads=None)


def _evaluate(options: argparse.Namespace) -> None:
    from training.micro import casme, evaluate, recognize
    from training.runs import import_keras

    samples, odd = casme.read_casme(options.data)
    print(*odd, sep="\n")
    inputs = recognize.features(samples)
    found = evaluate.evaluate(import_keras(), samples, inputs, seed=options.seed, shuffled=options.shuffle)
    print(evaluate.table(found))
    if options.out:
        evaluate.write_report(found, odd, options.out)


def _fit(options: argparse.Namespace) -> None:
    from training.micro import casme, recognize
    from training.runs import import_keras

    samples, odd = casme.read_casme(options.data)
    print(*odd, sep="\n")
    kept, labels, names = casme.labelled(samples, options.classes)
    learner = recognize.Learner(import_keras(), recognize.INPUTS["flow"], len(names), options.seed)
    losses = learner.fit(recognize.features(kept)["flow"], labels)
    recognize.save(learner, losses, options.out)
    print(f"{options.out / 'model.keras'}: {', '.join(names)}, {len(kept)} clips; use evaluate to measure it")


def _synthesize(options: argparse.Namespace) -> None:
    from training.micro.synthesize import CLAIM, synthesize

    if options.casme:
        from training.micro.casme import make_casme

        make_casme(options.out, options.seed, options.casme, options.clips)
        print(f"{options.out}: {options.casme} subjects, {options.clips} clips each, {CLAIM}")
        return
    synthesize(options.out, _seeds(options), options.fps, _people(options), options.seconds)
    print(f"{options.out}: {options.clips} clips, {CLAIM}")


def _spot(options: argparse.Namespace) -> None:
    import cv2

    from training.micro.spot import measure

    cv2.setNumThreads(1)
    if options.videos:
        _films(options)
        return
    figures = measure(_seeds(options), options.fps, _people(options))
    print(figures.text())
    if options.json:
        names = "large", "small", "still", "calm", "touched"
        found = {name: getattr(figures, name).values() for name in names}
        try:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise EdgeError(f"{options.json}: {error.strerror or error}") from error


def _films(options: argparse.Namespace) -> None:
    from training.micro import films

    print(films.text([films.watch(video, options.fps) for video in options.videos]))


def _seeds(options: argparse.Namespace) -> range:
    return range(options.seed, options.seed + options.clips)


def _people(options: argparse.Namespace) -> list[Any]:
    from training.micro.faces import of_folder

    return of_folder(options.faces) if options.faces else []
