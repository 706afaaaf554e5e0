"""``quantize``: from a trained network to the files that a device runs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from edge.types import EdgeError


class DropError(EdgeError):
    """Eight bits cost more accuracy than was allowed."""

    exit_code = 3


def main(argv: list[str] | None = None) -> int:
    """0 with all files in place; else nothing is written: 1 wrong input, 3 too large a loss."""
    options = _parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        _quantize(options)
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def _quantize(options: argparse.Namespace) -> None:
    from edge.runtimes import open_runtime
    from quantize import convert, measure
    from quantize.data import read_data
    from quantize.files import Cost, card, check_writable, write

    check_writable(options.out)  # now rather than after a minute's work
    model = convert.load(options.model)
    _, height, width, _ = model.input_shape
    data = read_data(options.data, height, width, options.calibrate, options.seed)
    known = data.majority >= 0
    before = convert.predict(model, data.images)
    # What a user sees is held against what most people see; FER2013's own labels where no one voted.
    rows, truth = (known, data.majority[known]) if known.any() else (~known, data.labels)
    temperature = measure.fit_temperature(before[rows], truth)
    convert.fold_temperature(model, temperature, options.model)
    print(f"temperature {temperature:.3f}, folded in; quantizing by {len(data.rows)} pictures …")

    content = convert.to_int8(model, data.calibration)
    after = measure.probabilities_of(open_runtime("cpu", content), data.images)
    label_sets = [("FER2013", ~known | known, data.labels)]
    if known.any():
        label_sets.append(("FER+ majority (plus7)", known, data.majority))
    costs = [
        Cost(
            name, int(rows.sum()),
            measure.accuracy(before[rows], labels[rows]), measure.accuracy(after[rows], labels[rows]),
            measure.calibration_error(before[rows], labels[rows]),
            measure.calibration_error(after[rows], labels[rows]),
        )
        for name, rows, labels in label_sets
    ]  # fmt: skip
    print(f"{'PublicTest':<24}{'n':>6}{'float':>10}{'int8':>10}{'drop':>8}{'ECE float':>11}{'ECE int8':>10}")
    for cost in costs:
        print(
            f"{cost.data:<24}{cost.n:>6}{100 * cost.float_accuracy:>8.2f} %{100 * cost.int8_accuracy:>8.2f} %"
            f"{cost.drop:>8.2f}{cost.float_error:>11.3f}{cost.int8_error:>10.3f}"
        )
    agreement = float((before.argmax(1) == after.argmax(1)).mean())
    print(f"float and int8 choose the same label for {100 * agreement:.2f} %; {len(content):,} bytes")

    worst = max(costs, key=lambda cost: cost.drop)
    if worst.drop > options.max_drop:
        raise DropError(
            f"{options.model}: int8 loses {worst.drop:.2f} points on {worst.data}, --max-drop allows "
            f"{options.max_drop:g}; nothing was written"
        )
    file_name = f"{options.name}.tflite"
    described = card(
        content, options.name, options.model_version, options.model, (height, width), temperature, costs,
        {"data": options.data.name, "pictures": len(data.rows), "seed": options.seed, "agreement": agreement},
    )  # fmt: skip
    write(
        options.out,
        {file_name: content, f"{options.name}.json": described.model_dump_json(indent=1).encode()},
    )
    print(f"{options.out / file_name} and its card {options.name}.json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("quantize", description="A trained network to a device's files.")
    parser.add_argument("model", type=Path, metavar="MODEL.keras")
    parser.add_argument("--data", type=Path, required=True, metavar="NPZ", help="the run's calibration.npz")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--max-drop", type=float, default=0.5, metavar="POINTS",
        help="accuracy that int8 may cost; beyond: exit 3, nothing written (default 0.5)",
    )  # fmt: skip
    parser.add_argument("--calibrate", type=int, default=1000, metavar="N", help="pictures (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="chooses them (default 0)")
    parser.add_argument("--name", default="emotion", help="of the files (default emotion)")
    parser.add_argument("--model-version", default="1", metavar="V", help="for the card (default 1)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
