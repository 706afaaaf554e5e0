"""``emotion-train``: the classifier's commands; training/detect and training/micro have the others."""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import edge
from edge.cli import ended, number, open_standard_streams, whole
from edge.host.quiet import quiet
from edge.labels import order
from edge.types import LABELS, EdgeError
from training.detect import commands as detect
from training.micro import commands as micro
from training.options import add_data, add_run

BACKENDS = ("tensorflow", "jax", "torch")  # Keras backends to train on
SHIPPED = Path(edge.__file__).parent / "models" / "emotion.tflite"


def main(argv: list[str] | None = None) -> int:
    """Run one command; return 0, or 1 after one line on stderr that says what to do."""
    open_standard_streams()  # --help prints as well
    options = _parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # hide its C++ log
    if options.threads:
        # Read when the backend is imported, later. More threads than free cores make training many times
        # slower than a single thread.
        for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ[name] = str(options.threads)
    # On either signal it stops its child processes and says how to resume.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return ended(lambda: options.run(options) or 0, getattr(options, "stopped", ""))


def _fit(options: argparse.Namespace) -> None:
    from training.recipe import Recipe, read_recipe
    from training.runs import import_keras

    # FER+ has no votes for other labels.
    plain = Recipe(ferplus=0.0) if options.own_labels else Recipe()
    recipe = read_recipe(options.recipe) if options.recipe else plain
    if options.seed is not None:
        recipe = replace(recipe, seed=options.seed)
    if options.backend:
        _use(options.backend)
    backend = import_keras().backend.backend()
    if backend not in BACKENDS:
        raise EdgeError(f"keras: {backend} cannot train; use --backend {' or '.join(BACKENDS)}")
    with quiet():
        from training.fit import fit
        from training.networks import check
    check(options.model, options.weights)  # before reading the data, which takes longer
    dataset = _dataset(options)
    fit(
        options.model, dataset, recipe, options.out, resume=options.resume, start_from=options.start_from,
        teachers=options.teachers, weights=options.weights, processes=options.workers,
    )  # fmt: skip


def _use(backend: str) -> None:
    """Select *backend* for Keras, which is not imported yet."""
    if importlib.util.find_spec(backend) is None:
        raise EdgeError(
            f"--backend {backend}: not installed; run pip install {backend}, or choose another backend"
        )
    os.environ["KERAS_BACKEND"] = backend
    if os.environ.get("OMP_NUM_THREADS") == "1":  # JAX ignores it
        one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.setdefault("XLA_FLAGS", one)


def _campaign(options: argparse.Namespace) -> None:
    from training.campaign import OutOfTimeError, campaign, read_plan

    end = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
    runs = read_plan(options.plan)
    given = ["--data", *map(str, options.data)]
    given += [f"--{name}" for name in ("skip-bad", "own-labels") if getattr(options, name.replace("-", "_"))]
    for name in ("ferplus", "labels", "threads", "workers", "backend"):
        if value := getattr(options, name):
            given += [f"--{name}", str(value)]
    if not campaign(runs, options.out, given, options.parallel, lambda: time.monotonic() > end):
        raise OutOfTimeError(f"{options.minutes:g} minutes are over; run the same command again to resume")


def _average(options: argparse.Namespace) -> None:
    from training.runs import import_keras

    import_keras()
    with quiet():
        from training.average import average
    average(options.models, options.out)


def _shift(text: str) -> tuple[str, float]:
    label, given, logit = text.partition("=")
    if not given:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a label and a number, as in disgust=0.5")
    return label, number(-10, 10)(logit)


def _balance(options: argparse.Namespace) -> None:
    from training.runs import import_keras

    import_keras()
    with quiet():
        from training.balance import balance
    votes = options.confidence == "plus7"
    more = dict(options.shift)
    print("\n".join(balance(options.model, _dataset(options), options.strength, options.out, votes, more)))


def _evaluate(options: argparse.Namespace) -> None:
    from training.measure import evaluate
    from training.measure.model_files import open_networks

    networks = open_networks(options.models)  # before reading the data, which takes longer
    dataset = _dataset(options)
    found = [
        evaluate.evaluate(network, dataset, options.split, options.tta, options.robustness)
        for network in networks
    ]
    print("\n".join(evaluate.table(one) for one in found))
    if options.json:
        evaluate.save(found, options.json)
    if options.out:
        from training.measure.report import write_evaluations

        write_evaluations(found, options.out)


def _compare(options: argparse.Namespace) -> None:
    from training.measure import compare, evaluate
    from training.measure.model_files import open_networks

    networks = open_networks(options.models)
    found = compare.compare(networks, _dataset(options), options.split)
    print(compare.table(found))
    if options.json:
        evaluate.save_json(asdict(found), options.json)
    if options.out:
        from training.measure.report import write_comparison

        write_comparison(found, options.out)


def _predict(options: argparse.Namespace) -> None:
    from training.measure import predict
    from training.measure.model_files import open_network

    _check_png(options.out)
    network, files = open_network(options.model), predict.pictures(options.images)
    seen, problems = predict.predict(network, files, options.faces)
    for one in seen:
        print(one.text)
    if options.out and seen:
        predict.save_grid(seen, options.out)
    if problems:
        raise EdgeError("\n".join(problems))


def _curves(options: argparse.Namespace) -> None:
    from training.measure import plots
    from training.measure.history import histories

    _check_png(options.out)
    plots.curves(histories(options.runs), options.out)


def _portraits(options: argparse.Namespace) -> None:
    from training import portraits

    counts = portraits.save(_dataset(options), options.out)
    counted = ", ".join(f"{label} {count}" for label, count in zip(LABELS, counts, strict=True))
    print(f"{options.out}: mean faces of {counted} pictures")


def _framing(options: argparse.Namespace) -> None:
    from training import framing

    images = _dataset(options).split("Training").images
    framing.run(images, detector=options.detector, file=options.file, count=options.count)


def _check_png(out: Path | None) -> None:
    """Fail before the work if *out* is not a PNG."""
    if out is not None and out.suffix.lower() != ".png":
        raise EdgeError(f"--out {out}: expected a name that ends in .png")


def _dataset(options: argparse.Namespace):
    from training.data import read

    return read(options.data, options.ferplus, options.skip_bad, options.labels, options.own_labels)


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(one) for one in text.split(",") if one)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("emotion-train", description="Trains and evaluates networks.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = argparse.ArgumentParser(add_help=False)
    add_data(data, "fer2013.csv, icml_face_data.csv, a folder of label-named folders, or npz")
    data.add_argument("--ferplus", type=Path, metavar="CSV", help="fer2013new.csv, joined to the csv by row")
    data.add_argument(
        "--labels", type=order, metavar="NAME,NAME",
        help="names of the data's numeric labels, in order (default for csv and npz: FER2013's)",
    )  # fmt: skip
    data.add_argument(
        "--own-labels", action="store_true",
        help="use the folder names as labels: smile, no_smile, … (none and uncertain are reserved)",
    )  # fmt: skip
    data.add_argument("--skip-bad", action="store_true", help="skip and count rows that cannot be read")

    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument(
        "--workers", type=whole(), default=0, metavar="N",
        help="processes that augment pictures, for a fast accelerator (default 0: one thread)",
    )  # fmt: skip
    machine.add_argument("--backend", choices=BACKENDS, help="default: $KERAS_BACKEND, or Keras's own")

    fit = commands.add_parser("fit", parents=[data, machine], help="train a network")
    fit.add_argument("--model", required=True, metavar="NAME", help="edge-s, edge-xs, edge-m, deep-cnn, …")
    add_run(fit, "training/recipe.py")
    fit.add_argument(
        "--weights", default="none", metavar="W", help="for mobilenet-v2 and vgg16: imagenet, a file, or none"
    )
    fit.add_argument(
        "--teachers", type=_paths, default=(), metavar="RUN,RUN",
        help="runs to distil: the mean of their outputs is a second target (the recipe's distill)",
    )  # fmt: skip
    fit.set_defaults(run=_fit)

    campaign = commands.add_parser(
        "campaign",
        parents=[data, machine],
        help="train many runs: teachers before students, in parallel, within a time limit",
    )
    campaign.add_argument("plan", type=Path, metavar="TOML", help="[[run]] tables; see training/plans")
    campaign.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the runs")
    campaign.add_argument(
        "--minutes", type=number(0), metavar="N", help="time limit (exit 75); run again to resume"
    )
    campaign.add_argument(
        "--parallel", type=whole(1), default=1, metavar="N", help="number of parallel runs (default: 1)"
    )
    campaign.set_defaults(run=_campaign, stopped="stopped; run the same command again to resume")

    average = commands.add_parser("average", help="average the weights of several networks")
    average.add_argument("models", type=Path, nargs="+", metavar="RUN", help="runs, or networks in them")
    average.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new network's folder")
    average.set_defaults(run=_average, threads=None)

    balance = commands.add_parser(
        "balance", parents=[data], help="shift the label biases of a network in favor of rare labels"
    )
    balance.add_argument("model", type=Path, metavar="RUN", help="a run's folder")
    balance.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new network's folder")
    balance.add_argument(
        "--strength", type=number(0, 1), default=0.1, metavar="X",
        help="0: labels count as often as they occur, 1: all count equally (default: 0.1)",
    )  # fmt: skip
    balance.add_argument(
        "--shift", type=_shift, nargs="+", default=[], metavar="LABEL=LOGIT",
        help="added to that label's fitted bias: disgust=0.5 reports it sooner, and more often wrongly",
    )  # fmt: skip
    balance.add_argument(
        "--confidence", choices=("plus7", "fer2013"), default="plus7",
        help="labels to fit: plus7, FER+'s majority (default where the data has votes), or the data's own",
    )  # fmt: skip
    balance.set_defaults(run=_balance)

    measured = argparse.ArgumentParser(add_help=False)
    measured.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL",
        help="a run's folder, .keras, .tflite, .onnx, or a .toml that describes another file",
    )  # fmt: skip
    measured.add_argument("--split", default="PublicTest", metavar="NAME", help="default: PublicTest")
    measured.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    measured.add_argument("--out", type=Path, metavar="DIR", help="write a report with plots to DIR")

    evaluate = commands.add_parser(
        "evaluate", parents=[data, measured], help="accuracy, recall and calibration on both label sets"
    )
    evaluate.add_argument(
        "--tta",
        action="store_true",
        help="also average with each picture's mirror image",
    )
    evaluate.add_argument(
        "--robustness", action="store_true",
        help="also corrupt the pictures like poor cameras: blur, dark, noise, JPEG, jittered box, small face",
    )  # fmt: skip
    evaluate.set_defaults(run=_evaluate)

    compare = commands.add_parser(
        "compare", parents=[data, measured], help="compare networks: figures, cost, seeds, McNemar"
    )
    compare.set_defaults(run=_compare)

    predict = commands.add_parser("predict", help="classify any pictures")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="pictures or folders of them")
    predict.add_argument(
        "--model", type=Path, default=SHIPPED, metavar="MODEL",
        help="a run's folder, .keras, .tflite, .onnx or .toml (default: the shipped model)",
    )  # fmt: skip
    predict.add_argument(
        "--faces", action="store_true", help="detect faces first (default: each picture is one framed face)"
    )
    predict.add_argument("--out", type=Path, metavar="PNG", help="draw the pictures with their scores")
    predict.set_defaults(run=_predict, threads=None)

    curves = commands.add_parser("curves", help="plot loss and accuracy of runs by epoch")
    curves.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a run's folder")
    curves.add_argument(
        "--out", type=Path, default=Path("curves.png"), metavar="PNG", help="default: curves.png"
    )
    curves.set_defaults(run=_curves, threads=None)

    portraits = commands.add_parser("portraits", parents=[data], help="make faces for the portraits camera")
    portraits.add_argument("--out", type=Path, required=True, metavar="NPZ")
    portraits.set_defaults(run=_portraits)

    framing = commands.add_parser(
        "framing", parents=[data], help="measure how a detector's box relates to FER2013's frame"
    )
    framing.add_argument("--detector", choices=("haar", "ssd", "yunet"), default="haar", help="default: haar")
    framing.add_argument("--file", type=Path, metavar="F", help="the detector's own file")
    framing.add_argument("--count", type=whole(1), default=2000, metavar="N", help="pictures (default: 2000)")
    framing.set_defaults(run=_framing)
    detect.add_parser(commands)
    micro.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
