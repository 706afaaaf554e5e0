"""The report as Markdown, and as text for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from quantize.costs import Cost
from quantize.make import Made
from quantize.report import sqnr, tables
from quantize.report.facts import FLOAT_TFLITE, Report
from quantize.report.latency import BATCHES, THREADS


def table(made: Made) -> str:
    """A table: accuracy, calibration and agreement of each file and the float network."""
    width = max(len(file) for file in made.files)
    lines = [
        f"{'':<{width}}  {'PublicTest':<22}{'n':>6}{'float':>9}{'file':>9}{'drop':>7}{'p':>8}"
        f"{'ECE float':>11}{'file':>7}  most moved label"
    ]
    for cost in made.costs:
        lines.append(
            f"{cost.file:<{width}}  {cost.data:<22}{cost.n:>6}{100 * cost.float_accuracy:>7.2f} %"
            f"{100 * cost.accuracy:>7.2f} %{cost.drop:>7.2f}{cost.p:>8.3f}{cost.float_error:>11.3f}"
            f"{cost.error:>7.3f}  {_moved(cost)}"
        )
    first = next(iter(made.files))
    for file, content in made.files.items():
        summary = f"{file:<{width}}  {len(content):>9,} bytes, agrees with float {made.agreement(file):.2%}"
        lines.append(summary if file == first else f"{summary}, {first} {made.agreement(file, first):.2%}")
    lines += [f"{file:<{width}}  {len(content):>9,} bytes" for file, content in made.compiled.items()]
    return "\n".join(lines)


def measured_table(report: Report) -> str:
    """Text for the terminal: milliseconds per face, speedups, and the layer with the largest error."""
    found = report.latency
    files = list(dict.fromkeys(one.file for one in found.times))
    width = max(len(file) for file in files)
    heads = "".join(f"{tables.way(threads, batch):>22}" for threads in THREADS for batch in BATCHES)
    lines = [f"{'ms a face':<{width}}{heads}"]
    for file in files:
        values = [found.of(file, threads, batch).ms for threads in THREADS for batch in BATCHES]
        lines.append(f"{file:<{width}}" + "".join(f"{value:>22.3f}" for value in values))
    lines.append(speed(report))
    if report.layers:
        lines.append(f"largest error: {sqnr.summary(report.layers, 1)[0]}")
    return "\n".join(lines)


def speed(report: Report) -> str:
    """The speed of the int8 TFLite file, in a sentence."""
    found = report.latency
    return (
        f"{report.int8} takes {found.of(report.int8).ms:.3f} ms a face on one thread: "
        f"{report.against_float:.1f} times as fast as float TFLite ({found.of(FLOAT_TFLITE).ms:.3f} ms), "
        f"{report.against_keras:.0f} times as fast as Keras' model.predict on one image "
        f"({found.keras_ms:.0f} ms)"
    )


def markdown(report: Report, pictures: Collection[str]) -> str:
    """report.md with the plots *pictures* (names)."""
    made = report.made
    sections = {
        "": _opening(report),
        "Accuracy": [*_accuracy(made), *tables.shown(pictures, "accuracy.png", "Accuracy of each file")],
        "Calibration": [
            *_calibration(made),
            *tables.shown(pictures, "reliability.png", "Reliability diagrams"),
        ],
        "Files": _files(made),
        "Latency": [*_latency(report), *tables.shown(pictures, "latency.png", "Milliseconds a face")],
        "Layers": [*_layers(report), *tables.shown(pictures, "layers.png", "Signal over error by layer")],
        "Where the ops run": _places(report),
        "How it was made": _making(report),
    }
    return tables.page(f"{report.network} in eight bits", sections)


def _opening(report: Report) -> Iterator[str]:
    first = [cost for cost in report.made.costs if cost.file == report.int8][-1]
    yield (
        f"{report.int8} has {100 * first.accuracy:.2f} % accuracy on PublicTest by {first.data} "
        f"(n = {first.n:,}; the float network {100 * first.float_accuracy:.2f} %) and agrees with the float "
        f"network on {100 * report.made.agreement(report.int8):.2f} %. {speed(report)}."
    )
    if report.concerns:
        yield from ("", "Parts of this network that quantize badly:", "")
        yield from (f"- {line}" for line in report.concerns)


def _accuracy(made: Made) -> Iterator[str]:
    yield (
        "Every file was run as on a device, one picture per inference. Only float, only file: rows that "
        "only that one classifies correctly; p: McNemar's test, exact, mid-p."
    )
    yield from ("", "| file | labels | n | float, % | file, % | drop | only float : only file | p |")
    yield "|---|---|---|---|---|---|---|---|"
    for cost in made.costs:
        yield (
            f"| {cost.file} | {cost.data} | {cost.n:,} | {100 * cost.float_accuracy:.2f} "
            f"| {100 * cost.accuracy:.2f} | {cost.drop:.2f} | {cost.only_float} : {cost.only_file} "
            f"| {cost.p:.3f} |"
        )
    files = list(made.files)
    yield from ("", "Agreement, % of PublicTest with the same predicted label:", "")
    yield "| | float network | " + " | ".join(files[:-1]) + " |"
    yield "|---|---|" + "---|" * (len(files) - 1)
    for number, file in enumerate(files):
        against = [made.agreement(file), *(made.agreement(file, other) for other in files[:number])]
        cells = [f"{100 * share:.2f}" for share in against] + [""] * (len(files) - 1 - number)
        yield f"| {file} | " + " | ".join(cells) + " |"
    yield from ("", "Recall of each label, points gained or lost against the float network:", "")
    yield "| file | labels | " + " | ".join(made.data.names) + " | largest |"
    yield "|---|---|" + "---|" * (len(made.data.names) + 1)
    for cost in made.costs:
        pairs = zip(cost.float_recalls, cost.recalls, strict=True)
        cells = ["–" if a is None or b is None else f"{100 * (b - a):+.2f}" for a, b in pairs]
        yield f"| {cost.file} | {cost.data} | " + " | ".join(cells) + f" | {_moved(cost)} |"
    yield ""


def _calibration(made: Made) -> Iterator[str]:
    yield (
        f"Temperature {made.temperature:.3f}, fitted on PublicTest's {made.confided} and folded into "
        "the last layer. Calibration error (ECE): mean distance of confidence and accuracy over 15 bins; "
        "before: the float network as trained."
    )
    yield from ("", "| file | labels | ECE before | ECE after |", "|---|---|---|---|")
    for cost in made.costs:
        yield f"| {cost.file} | {cost.data} | {cost.float_error:.4f} | {cost.error:.4f} |"
    yield ""


def _files(made: Made) -> Iterator[str]:
    yield from tables.files({FLOAT_TFLITE: made.float_tflite, **made.files}, made.compiled)


def _latency(report: Report) -> Iterator[str]:
    yield f"{speed(report)}."
    yield ""
    yield from tables.latency(report.latency, report.machine, "face")


def _layers(report: Report) -> Iterator[str]:
    yield from tables.layers(report.int8, report.layers)


def _places(report: Report) -> Iterator[str]:
    yield from tables.edge_tpu(report.int8, report.made.files[report.int8], report.made.compiler)


def _making(report: Report) -> Iterator[str]:
    yield from tables.making(report.calibration, "balanced over the labels", report.seconds)


def _moved(cost: Cost) -> str:
    label, points = cost.moved
    return f"{label} {points:+.2f}" if points else "none"
