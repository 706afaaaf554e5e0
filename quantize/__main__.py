"""``quantize``: converts a trained network into the files a device runs."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.cli import ended, number, open_standard_streams, whole
from edge.labels import FER2013, order
from edge.types import EdgeError
from quantize.costs import CONFIDED
from quantize.pixels import RANGES, limits, text_of

if TYPE_CHECKING:
    from quantize.make import Made
    from quantize.report.facts import Report
    from quantize.steps import Steps

_LONGEST_NAME = 100  # characters
# Files for each kind of device besides int8 TFLite: (ONNX, Edge TPU).
TARGETS = {"pi": (False, False), "coral": (False, True), "jetson": (True, False), "all": (True, True)}


class DropError(EdgeError):
    """int8 costs more accuracy than allowed."""

    exit_code = 3


def main(argv: list[str] | None = None) -> int:
    """Return 0 with all files written, else without any: 1 for wrong input, 3 for too large a loss.

    ``quantize inspect FILE`` prints a file's content; returns 0, or 1 if the file is damaged.
    ``quantize card FILE`` writes the card of a third-party face detector.
    """
    open_standard_streams()  # --help prints as well
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == ["inspect"]:
        options, work = _inspect_parser().parse_args(given[1:]), _inspect
    elif given[:1] == ["card"]:
        options, work = _card_parser().parse_args(given[1:]), _card
    else:
        options, work = _parser().parse_args(given), _quantize
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return ended(functools.partial(work, options), "stopped; nothing was written")


def _inspect(options: argparse.Namespace) -> int:
    from quantize.inside.inspect import inspect

    print(inspect(options.file))
    return 0


def _card(options: argparse.Namespace) -> int:
    from quantize.card import package
    from quantize.files import check_writable, write

    check_writable(options.out)
    files = package(options.file)
    if options.out.resolve() == options.file.resolve().parent:
        del files[options.file.name]
    write(options.out, files)
    print(f"{options.out}: {', '.join(files)}")
    return 0


def _quantize(options: argparse.Namespace) -> int:
    from quantize.files import check_writable

    reported = None if options.no_report else options.report or options.out / "report"
    check_writable(options.out)  # before a minute's work
    if reported:
        check_writable(reported, "--report")
    with_onnx, with_edgetpu = TARGETS[options.target]
    with_onnx, with_edgetpu = with_onnx or options.onnx, with_edgetpu or options.edgetpu
    # A folder of photos means a detector, an archive of crops a classifier.
    if options.data.is_dir() or options.data.suffix == ".txt":
        from quantize.detector.command import run

        lost, file = run(options, with_onnx=with_onnx, with_edgetpu=with_edgetpu, report=reported)
        if not lost <= options.max_drop:
            raise DropError(
                f"{options.model}: {file} loses {lost:.2f} points of average precision; --max-drop allows "
                f"{options.max_drop:g}; nothing was written"
            )
        return 0
    return _classifier(options, with_onnx, with_edgetpu, reported)


def _classifier(
    options: argparse.Namespace, with_onnx: bool, with_edgetpu: bool, reported: Path | None
) -> int:
    from quantize.files import package, write
    from quantize.make import concerns, make, worst
    from quantize.report.text import measured_table, table
    from quantize.steps import Steps

    began = time.monotonic()
    name = options.name or "emotion"
    steps = Steps(5 + with_onnx + with_edgetpu + (3 if reported else 0))
    made_with = functools.partial(
        make, options.model, options.data, name=name, calibrate=options.calibrate, seed=options.seed,
        with_onnx=with_onnx, with_edgetpu=with_edgetpu, steps=steps, confidence=options.confidence,
        pixels=options.pixels, order=options.labels,
    )  # fmt: skip
    made = made_with()
    print(table(made))
    most = worst(made)
    if most.drop > options.max_drop and options.qat:
        print(f"{most.file} loses {most.drop:.2f} points; starting quantization-aware training …", flush=True)
        made = made_with(qat=options.qat)
        print(table(made))
        most = worst(made)
    if most.drop > options.max_drop:
        for line in [*_losing(made), *concerns(made.model)]:
            print(line, file=sys.stderr)
        raise DropError(
            f"{options.model}: {most.file} loses {most.drop:.2f} points on {most.data}; --max-drop allows "
            f"{options.max_drop:g}; nothing was written" + ("" if options.qat else "; try --qat 10")
        )
    calibration = {"data": options.data.name, "pictures": len(made.data.rows), "seed": options.seed}
    if made.pixels != "255":
        calibration["pixels the network takes"] = text_of(made.pixels)
    if made.qat:
        calibration["epochs trained for eight bits"] = made.qat
    with steps("packing"):
        files = package(made, name, options.model_version, options.model, calibration)
    if reported:
        model = options.model.resolve()
        report = _measured(f"{model.parent.name}/{model.name}", made, calibration, steps)
        print(measured_table(report))
        beside = _drawn(report, steps)
    write(options.out, files)
    print(f"{options.out}: {', '.join(files)}; {time.monotonic() - began:.0f} s")
    if reported:
        try:
            write(reported, beside)
        except EdgeError as error:
            raise EdgeError(f"{error} of the report; the other files are in {options.out}") from error
        print(f"{reported}: {', '.join(beside)}")
    return 0


def _losing(made: Made) -> list[str]:
    """The layers with the largest quantization error, as lines."""
    from quantize.report import sqnr
    from quantize.report.facts import compared

    return [f"largest error: {line}" for line in sqnr.summary(compared(made))]


def _measured(network: str, made: Made, calibration: dict[str, Any], steps: Steps) -> Report:
    from quantize.make import concerns
    from quantize.report.facts import Report, compared, machine, timed

    with steps("comparing layers"):
        layers = compared(made)
    with steps("timing the files"):
        latency = timed(made)
    return Report(network, made, calibration, concerns(made.model), layers, latency, machine(), steps.seconds)


def _drawn(report: Report, steps: Steps) -> dict[str, bytes]:
    from quantize.report import files_of

    with steps("writing the report"):
        return files_of(report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "quantize", description="Converts a trained network into a device's files.",
        epilog="quantize inspect FILE prints the content of a model file; quantize card FILE --out DIR "
        "writes the card of a third-party face detector",
    )  # fmt: skip
    parser.add_argument("model", type=Path, metavar="MODEL", help=".keras, .h5, .onnx or a SavedModel folder")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="NPZ",
        help="the run's calibration.npz; for a face detector its folder of training photos",
    )  # fmt: skip
    parser.add_argument(
        "--measure", type=Path, nargs="+", default=[], metavar="DIR",
        help="for a face detector: folders with annotations.json to evaluate on",
    )  # fmt: skip
    parser.add_argument(
        "--min-score", type=number(0), default=0.5, metavar="S",
        help="for a face detector: the score threshold in its card (default 0.5)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--target", choices=TARGETS, default="pi",
        help="pi: int8 TFLite; coral: that and --edgetpu; jetson: that and --onnx; all (default pi)",
    )  # fmt: skip
    parser.add_argument(
        "--onnx", action="store_true", help="also ONNX files: fp32, fp16, and int8 for TensorRT"
    )
    parser.add_argument(
        "--edgetpu", action="store_true",
        help="also check the ops against the Edge TPU's table, and compile for it",
    )  # fmt: skip
    parser.add_argument(
        "--max-drop", type=number(), default=0.5, metavar="POINTS",
        help="accuracy that int8 may cost; if more, exit 3 and write nothing (default 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--qat", type=whole(), default=0, metavar="EPOCHS",
        help="quantization-aware training if int8 costs more than that (default 0: never)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrate", type=whole(), default=1000, metavar="N", help="calibration pictures (default 1000)"
    )
    parser.add_argument(
        "--confidence", choices=CONFIDED, metavar="LABELS",
        help="labels to calibrate confidence on: plus7, FER+'s majority (default with FER+ votes), "
        "or fer2013, if trained on those",
    )  # fmt: skip
    parser.add_argument(
        "--labels", type=order, default=FER2013, metavar="NAME,NAME",
        help="names of the data's numeric labels, in order (default: FER2013's)",
    )  # fmt: skip
    parser.add_argument(
        "--pixels", type=_pixels, metavar="RANGE",
        help="the network's pixel range: 255 (0 to 255), 1 (0 to 1), signed (-1 to 1), or MEAN,STD of its "
        "normalization; folded into the file (default: detected on PublicTest)",
    )  # fmt: skip
    parser.add_argument("--seed", type=whole(), default=0, help="selects calibration pictures (default 0)")
    report = parser.add_mutually_exclusive_group()
    report.add_argument(
        "--report", type=Path, metavar="DIR",
        help="folder for report.md, report.json and plots (default: report in --out's folder)",
    )  # fmt: skip
    report.add_argument("--no-report", action="store_true", help="write only the files, without timing")
    parser.add_argument("--name", type=_name, help="of the files (default emotion; for a detector faces)")
    parser.add_argument("--model-version", default="1", metavar="V", help="for the card (default 1)")
    return parser


def _name(text: str) -> str:
    """Option type: a file name without its suffix."""
    if not text or text.startswith(".") or len(text) > _LONGEST_NAME or not set(text).isdisjoint("/\\\0\n"):
        raise argparse.ArgumentTypeError(
            f"found {text!a}; expected a file's name without its suffix; --out gives the folder"
        )
    return text


def _pixels(text: str) -> str:
    try:
        limits(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}; expected {', '.join(RANGES)}, or MEAN,STD, as 129.4,65.1 or 0.507,0.255"
        ) from None
    return text


def _card_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "quantize card",
        description="Writes a card for a third-party face detector (MediaPipe's BlazeFace) for use "
        "as detector.file.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help=".tflite, may be compiled for an Edge TPU")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the card and a copy of the file"
    )
    return parser


def _inspect_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("quantize inspect", description="Prints the content of a model file.")
    parser.add_argument("file", type=Path, metavar="FILE", help=".tflite, .onnx, .keras or .h5")
    return parser


if __name__ == "__main__":
    sys.exit(main())
