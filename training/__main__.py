"""``emotion-train``: fit, average, evaluate, portraits, framing."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge.quiet import quiet
from edge.types import LABELS, EdgeError


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0, or 1 after one line on stderr that says what would do."""
    options = _parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its C++ log is not for users
    if options.threads:
        # Read when the backend is imported, which is later. Threads that wait for each other's
        # cores make training many times slower than one alone.
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ[name] = str(options.threads)
    try:
        options.run(options)
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; --resume goes on after the last whole epoch", file=sys.stderr)
        return 130
    return 0


def _fit(options: argparse.Namespace) -> None:
    from training.recipe import Recipe, read_recipe

    recipe = read_recipe(options.recipe) if options.recipe else Recipe()
    dataset = _dataset(options)
    with quiet():
        import keras

        from training.fit import fit

        keras.ops.zeros(1)  # the backend says what it thinks of this machine at its first operation
    fit(options.model, dataset, recipe, options.out, options.resume, options.start_from)


def _average(options: argparse.Namespace) -> None:
    with quiet():
        from training.average import average
    average(options.models, options.out)


def _evaluate(options: argparse.Namespace) -> None:
    from training import evaluate

    if not options.model.exists():  # before the data is read, which takes longer
        raise EdgeError(f"{options.model}: no such file")
    found = evaluate.evaluate(options.model, _dataset(options), options.split)
    print(evaluate.table(found, str(options.model)))
    if options.json:
        evaluate.save(found, options.model, options.json)


def _portraits(options: argparse.Namespace) -> None:
    from training import portraits

    counts = portraits.save(_dataset(options), options.out)
    told = ", ".join(f"{label} {count}" for label, count in zip(LABELS, counts, strict=True))
    print(f"{options.out}: mean faces of {told} pictures")


def _framing(options: argparse.Namespace) -> None:
    from training import framing

    images = _dataset(options).split("Training").images
    framing.run(images, detector=options.detector, file=options.file, count=options.count)


def _dataset(options: argparse.Namespace):
    from training.data import read

    return read(options.data, options.ferplus, options.skip_bad)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "emotion-train", description="Data to a trained network and its figures."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = argparse.ArgumentParser(add_help=False)
    data.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="PATH",
        help="fer2013.csv, icml_face_data.csv, a folder of label-named folders, or npz",
    )  # fmt: skip
    data.add_argument("--ferplus", type=Path, metavar="CSV", help="fer2013new.csv, joined to the csv by row")
    data.add_argument("--skip-bad", action="store_true", help="leave out and count rows that cannot be read")
    data.add_argument("--threads", type=int, metavar="N", help="of the backend (default: its own choice)")

    fit = commands.add_parser("fit", parents=[data], help="train a network")
    fit.add_argument("--model", required=True, metavar="NAME", help="plain or edge-s")
    fit.add_argument("--recipe", type=Path, metavar="TOML", help="default: the values in training/recipe.py")
    fit.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    fit.add_argument("--resume", action="store_true", help="go on after the last whole epoch in DIR")
    fit.add_argument(
        "--start-from", type=Path, metavar="KERAS", help="begin with the weights of this model.keras"
    )
    fit.set_defaults(run=_fit)

    average = commands.add_parser("average", help="one network out of several: the mean of their weights")
    average.add_argument("models", type=Path, nargs="+", metavar="KERAS", help="model.keras of each run")
    average.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new network's folder")
    average.set_defaults(run=_average, threads=None)

    evaluate = commands.add_parser("evaluate", parents=[data], help="accuracy, recall, calibration")
    evaluate.add_argument("model", type=Path, metavar="MODEL", help=".keras or .tflite")
    evaluate.add_argument("--split", default="PublicTest", metavar="NAME", help="default: PublicTest")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    evaluate.set_defaults(run=_evaluate)

    portraits = commands.add_parser("portraits", parents=[data], help="mean faces for the portraits camera")
    portraits.add_argument("--out", type=Path, required=True, metavar="NPZ")
    portraits.set_defaults(run=_portraits)

    framing = commands.add_parser(
        "framing", parents=[data], help="how a detector's box lies to the frame of FER2013's faces"
    )
    framing.add_argument("--detector", choices=("haar", "yunet"), default="haar", help="default: haar")
    framing.add_argument("--file", type=Path, metavar="F", help="the detector's own file")
    framing.add_argument("--count", type=int, default=2000, metavar="N", help="pictures (default: 2000)")
    framing.set_defaults(run=_framing)
    return parser


if __name__ == "__main__":
    sys.exit(main())
