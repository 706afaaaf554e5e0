"""``quantize``: from a trained network to the files that a device runs."""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.types import EdgeError

if TYPE_CHECKING:
    from quantize.make import Made

# What each kind of device takes besides the int8 TFLite file: (ONNX, Edge TPU).
TARGETS = {"pi": (False, False), "coral": (False, True), "jetson": (True, False), "all": (True, True)}


class DropError(EdgeError):
    """Eight bits cost more accuracy than was allowed."""

    exit_code = 3


def main(argv: list[str] | None = None) -> int:
    """0 with all files in place; else nothing is written: 1 wrong input, 3 too large a loss.

    ``quantize inspect FILE`` prints what a file holds: 0, or 1 where it is not whole.
    """
    given = sys.argv[1:] if argv is None else argv
    inspecting = given[:1] == ["inspect"]
    options = _inspect_parser().parse_args(given[1:]) if inspecting else _parser().parse_args(given)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        if inspecting:
            from quantize.inspect import inspect

            print(inspect(options.file))
        else:
            _quantize(options)
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def _quantize(options: argparse.Namespace) -> None:
    from quantize.files import check_writable, package, write
    from quantize.make import concerns, make, worst

    began = time.monotonic()
    check_writable(options.out)  # now rather than after a minute's work
    with_onnx, with_edgetpu = TARGETS[options.target]
    made_with = functools.partial(
        make, options.model, options.data,
        name=options.name, calibrate=options.calibrate, seed=options.seed,
        with_onnx=with_onnx or options.onnx, with_edgetpu=with_edgetpu or options.edgetpu,
    )  # fmt: skip
    made = made_with()
    print(table(made))
    most = worst(made)
    if most.drop > options.max_drop and options.qat:
        print(f"{most.file} loses {most.drop:.2f} points; training it to bear eight bits …", flush=True)
        made = made_with(qat=options.qat)
        print(table(made))
        most = worst(made)
    if most.drop > options.max_drop:
        for line in concerns(made.model):
            print(line, file=sys.stderr)
        raise DropError(
            f"{options.model}: {most.file} loses {most.drop:.2f} points on {most.data}, --max-drop allows "
            f"{options.max_drop:g}; nothing was written" + ("" if options.qat else "; --qat 10 may mend it")
        )
    calibration = {"data": options.data.name, "pictures": len(made.data.rows), "seed": options.seed}
    files = package(made, options.name, options.model_version, options.model, calibration)
    write(options.out, files)
    print(f"{options.out}: {', '.join(files)}; {time.monotonic() - began:.0f} s")


def table(made: Made) -> str:
    """For people: each file's accuracy and calibration beside the float network's, and who agrees."""
    width = max(len(file) for file in made.files)
    lines = [
        f"{'':<{width}}  {'PublicTest':<22}{'n':>6}{'float':>9}{'file':>9}{'drop':>7}"
        f"{'ECE float':>11}{'file':>7}"
    ]
    for cost in made.costs:
        lines.append(
            f"{cost.file:<{width}}  {cost.data:<22}{cost.n:>6}{100 * cost.float_accuracy:>7.2f} %"
            f"{100 * cost.accuracy:>7.2f} %{cost.drop:>7.2f}{cost.float_error:>11.3f}{cost.error:>7.3f}"
        )
    first = next(iter(made.files))
    for file, content in made.files.items():
        told = f"{file:<{width}}  {len(content):>9,} bytes, as float does {made.agreement(file):.2%}"
        lines.append(told if file == first else f"{told}, as {first} {made.agreement(file, first):.2%}")
    lines += [f"{file:<{width}}  {len(content):>9,} bytes" for file, content in made.compiled.items()]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "quantize", description="A trained network to a device's files.",
        epilog="quantize inspect FILE prints what is inside a model file",
    )  # fmt: skip
    parser.add_argument("model", type=Path, metavar="MODEL", help=".keras, .h5 or a SavedModel folder")
    parser.add_argument("--data", type=Path, required=True, metavar="NPZ", help="the run's calibration.npz")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--target", choices=TARGETS, default="pi",
        help="pi: int8 TFLite; coral: that and --edgetpu; jetson: that and --onnx; all (default pi)",
    )  # fmt: skip
    parser.add_argument(
        "--onnx", action="store_true", help="also ONNX files: fp32, fp16, and int8 as TensorRT takes it"
    )
    parser.add_argument(
        "--edgetpu", action="store_true",
        help="also what an Edge TPU takes of it, and the file compiled for it",
    )  # fmt: skip
    parser.add_argument(
        "--max-drop", type=float, default=0.5, metavar="POINTS",
        help="accuracy that int8 may cost; beyond: exit 3, nothing written (default 0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--qat", type=int, default=0, metavar="EPOCHS",
        help="train the network to bear eight bits where they cost more than that (default 0: never)",
    )  # fmt: skip
    parser.add_argument("--calibrate", type=int, default=1000, metavar="N", help="pictures (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="chooses them (default 0)")
    parser.add_argument("--name", default="emotion", help="of the files (default emotion)")
    parser.add_argument("--model-version", default="1", metavar="V", help="for the card (default 1)")
    return parser


def _inspect_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("quantize inspect", description="What is inside a model file.")
    parser.add_argument("file", type=Path, metavar="FILE", help=".tflite, .onnx, .keras or .h5")
    return parser


if __name__ == "__main__":
    sys.exit(main())
