"""``emotion-train micro synthesize | spot``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edge.cli import number, whole
from edge.types import EdgeError


def add_parser(commands: Any) -> None:
    """The group ``micro`` in *commands*, argparse's subparsers."""
    micro = commands.add_parser("micro", help="brief movements: made clips, the spotter, recognition")
    some = micro.add_subparsers(required=True, metavar="COMMAND")

    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--clips", type=whole(1), default=200, metavar="N", help="default: 200")
    made.add_argument("--seed", type=whole(0), default=0, metavar="N", help="of the first clip (default: 0)")
    made.add_argument("--faces", type=Path, metavar="DIR", help="pictures of faces (default: built-in)")

    synthesize = some.add_parser("synthesize", parents=[made], help="clips of moved faces, and their truth")
    synthesize.add_argument("--out", type=Path, required=True, metavar="DIR")
    synthesize.add_argument("--fps", type=number(10), default=200.0, metavar="F", help="default: 200")
    synthesize.add_argument("--seconds", type=number(2), default=4.0, metavar="S", help="a clip; default: 4")
    synthesize.set_defaults(run=_synthesize, threads=None)

    spot = some.add_parser("spot", parents=[made], help="what the spotter finds in made clips")
    spot.add_argument("--fps", type=number(58), default=60.0, metavar="F", help="default: 60")
    spot.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    spot.set_defaults(run=_spot, threads=None)


def _synthesize(options: argparse.Namespace) -> None:
    from training.micro.synthesize import CLAIM, synthesize

    synthesize(options.out, _seeds(options), options.fps, _people(options), options.seconds)
    print(f"{options.out}: {options.clips} clips, {CLAIM}")


def _spot(options: argparse.Namespace) -> None:
    import cv2

    from training.micro.spot import measure

    cv2.setNumThreads(1)
    figures = measure(_seeds(options), options.fps, _people(options))
    print(figures.text())
    if options.json:
        found = {name: getattr(figures, name).values() for name in ("large", "small", "still", "calm")}
        try:
            options.json.write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise EdgeError(f"{options.json}: {error.strerror or error}") from error


def _seeds(options: argparse.Namespace) -> range:
    return range(options.seed, options.seed + options.clips)


def _people(options: argparse.Namespace) -> list[Any]:
    from training.micro.faces import of_folder

    return of_folder(options.faces) if options.faces else []
