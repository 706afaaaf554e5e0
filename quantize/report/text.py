"""The report as Markdown, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from edge.types import LABELS
from quantize.costs import Cost
from quantize.inside import edgetpu
from quantize.inside import graph as graphs
from quantize.inside.inspect import read
from quantize.make import Made
from quantize.report import sqnr
from quantize.report.facts import FLOAT_TFLITE, Report, places, versions
from quantize.report.latency import BATCHES, THREADS


def table(made: Made) -> str:
    """For people: each file's accuracy and calibration beside the float network's, and who agrees."""
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
        told = f"{file:<{width}}  {len(content):>9,} bytes, as float does {made.agreement(file):.2%}"
        lines.append(told if file == first else f"{told}, as {first} {made.agreement(file, first):.2%}")
    lines += [f"{file:<{width}}  {len(content):>9,} bytes" for file, content in made.compiled.items()]
    return "\n".join(lines)


def measured_table(report: Report) -> str:
    """For people: milliseconds a face, how many times as fast that is, and where eight bits lose most."""
    found = report.latency
    files = list(dict.fromkeys(one.file for one in found.times))
    width = max(len(file) for file in files)
    heads = "".join(f"{_way(threads, batch):>22}" for threads in THREADS for batch in BATCHES)
    lines = [f"{'ms a face':<{width}}{heads}"]
    for file in files:
        values = [found.of(file, threads, batch).ms for threads in THREADS for batch in BATCHES]
        lines.append(f"{file:<{width}}" + "".join(f"{value:>22.3f}" for value in values))
    lines.append(speed(report))
    if report.layers:
        lines.append(f"most error is added by {sqnr.told(report.layers, 1)[0]}")
    return "\n".join(lines)


def speed(report: Report) -> str:
    """How fast the int8 TFLite file is, in a sentence."""
    found = report.latency
    return (
        f"{report.int8} takes {found.of(report.int8).ms:.3f} ms a face on one thread: "
        f"{report.against_float:.1f} times as fast as float TFLite ({found.of(FLOAT_TFLITE).ms:.3f} ms), "
        f"{report.against_keras:.0f} times as fast as Keras' model.predict on one image "
        f"({found.keras_ms:.0f} ms)"
    )


def markdown(report: Report, pictures: Collection[str]) -> str:
    """report.md; those of *pictures* (names) that belong to a part are shown in it."""
    made = report.made
    sections = {
        "": _opening(report),
        "Accuracy": [*_accuracy(made), *_shown(pictures, "accuracy.png", "Accuracy of each file")],
        "Calibration": [*_calibration(made), *_shown(pictures, "reliability.png", "Reliability diagrams")],
        "Files": _files(made),
        "Latency": [*_latency(report), *_shown(pictures, "latency.png", "Milliseconds a face")],
        "Layers": [*_layers(report), *_shown(pictures, "layers.png", "Signal over error by layer")],
        "Where the ops run": _places(report),
        "How it was made": _making(report),
    }
    lines = [f"# {report.network} in eight bits"]
    for title, part in sections.items():
        lines += ["", *([f"## {title}", ""] if title else []), *part]
    return "\n".join([*lines, ""])


def _opening(report: Report) -> Iterator[str]:
    first = [cost for cost in report.made.costs if cost.file == report.int8][-1]
    yield (
        f"{report.int8} is right on {100 * first.accuracy:.2f} % of PublicTest by {first.data} "
        f"(n = {first.n:,}; the float network {100 * first.float_accuracy:.2f} %) and chooses as the float "
        f"network does on {100 * report.made.agreement(report.int8):.2f} %. {speed(report)}."
    )
    if report.concerns:
        yield from ("", "What eight bits do not go well with in this network:", "")
        yield from (f"- {line}" for line in report.concerns)


def _accuracy(made: Made) -> Iterator[str]:
    yield (
        "Every file was run as a device runs it, one picture an inference. Only float, only file: rows that "
        "only the one has right; p: how likely chance splits them so unevenly (McNemar, exact, mid-p)."
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
    yield from ("", "Agreement, % of PublicTest on which both choose the same label:", "")
    yield "| | float network | " + " | ".join(files[:-1]) + " |"
    yield "|---|---|" + "---|" * (len(files) - 1)
    for number, file in enumerate(files):
        against = [made.agreement(file), *(made.agreement(file, other) for other in files[:number])]
        cells = [f"{100 * share:.2f}" for share in against] + [""] * (len(files) - 1 - number)
        yield f"| {file} | " + " | ".join(cells) + " |"
    yield from ("", "Recall of each label, points gained or lost against the float network:", "")
    yield "| file | labels | " + " | ".join(LABELS) + " | largest |"
    yield "|---|---|" + "---|" * (len(LABELS) + 1)
    for cost in made.costs:
        pairs = zip(cost.float_recalls, cost.recalls, strict=True)
        cells = ["–" if a is None or b is None else f"{100 * (b - a):+.2f}" for a, b in pairs]
        yield f"| {cost.file} | {cost.data} | " + " | ".join(cells) + f" | {_moved(cost)} |"
    yield ""


def _calibration(made: Made) -> Iterator[str]:
    yield (
        f"Temperature {made.temperature:.3f}, chosen on PublicTest's {made.confided} and folded into "
        "the last layer. Calibration error (ECE): mean distance of confidence and accuracy over 15 bins; "
        "before is the float network as it was trained."
    )
    yield from ("", "| file | labels | ECE before | ECE after |", "|---|---|---|---|")
    for cost in made.costs:
        yield f"| {cost.file} | {cost.data} | {cost.float_error:.4f} | {cost.error:.4f} |"
    yield ""


def _files(made: Made) -> Iterator[str]:
    yield "| file | bytes | parameters | MACs | arena, bytes | ops, of them float |"
    yield "|---|---|---|---|---|---|"
    for file, content in {FLOAT_TFLITE: made.float_tflite, **made.files}.items():
        graph = read(Path(file).suffix or ".tflite", content)
        yield (
            f"| {file} | {len(content):,} | {graphs.parameters(graph):,} | {graphs.macs(graph):,} "
            f"| {'' if file.endswith('.onnx') else f'{graphs.arena(graph):,}'} "
            f"| {len(graph.ops)}, {len(graphs.float_ops(graph))} |"
        )
    for file, content in made.compiled.items():
        yield f"| {file} | {len(content):,} | | | | |"
    yield from (
        "",
        "Arena: what the activations need at once by TFLite's plan, an estimate; kernels take some more.",
    )


def _latency(report: Report) -> Iterator[str]:
    found = report.latency
    yield f"{speed(report)}."
    yield ""
    ways = [(threads, batch) for threads in THREADS for batch in BATCHES]
    yield "| ms a face | " + " | ".join(_way(*way) for way in ways) + " |"
    yield "|---|" + "---|" * len(ways)
    for file in dict.fromkeys(one.file for one in found.times):
        times = [found.of(file, *way) for way in ways]
        yield f"| {file} | " + " | ".join(f"{one.ms:.3f} ({one.best_ms:.3f})" for one in times) + " |"
    yield f"| Keras' model.predict | {found.keras_ms:.1f} (all cores) | | | |"
    yield ""
    facts = report.machine
    singly = dict.fromkeys(one.file for one in found.times if not one.at_once)
    yield (
        f"Medians (and the fastest) of {found.rounds} rounds; each round ran all of them, so that what else "
        f"the machine did met them alike. {facts['processor']}, {facts['cores']} cores, load average "
        f"{facts['load_average']}. "
        "A batch of eight is one run of eight pictures (LiteRT: input resized)"
        + (f", but for {', '.join(singly)}, which take one at a time: eight runs." if singly else ".")
    )
    yield ""


def _layers(report: Report) -> Iterator[str]:
    if not report.layers:
        yield "No layer of the int8 file has its like in the float one."
        return
    yield (
        f"Signal over error (SQNR) of each layer's output in {report.int8}, on {sqnr.PICTURES} calibration "
        "pictures; errors add up from layer to layer. The middle channel tells of small channels, which "
        "large ones hide in the sum. Most error is added by:"
    )
    yield ""
    yield from (f"{number}. {line}" for number, line in enumerate(sqnr.told(report.layers), 1))
    yield from ("", "| layer | op | SQNR, dB | middle channel, dB | error added, % |")
    yield "|---|---|---|---|---|"
    for one in report.layers:
        yield f"| {one.name} | {one.op} | {one.db:.1f} | {one.middle_db:.1f} | {100 * one.added:.1f} |"
    yield ""


def _places(report: Report) -> Iterator[str]:
    yield f"{report.int8}; the Edge TPU by its table of ops, before any compiler."
    yield from ("", "| op | | CPU | Edge TPU |", "|---|---|---|---|")
    for one in places(report.made.files[report.int8]):
        yield f"| {one.op} | {one.number} | {one.cpu} | {one.edge_tpu} |"
    if report.made.compiler:
        yield ""
        yield from (f"- {line}" for line in edgetpu.compiled_told(report.made.compiler))


def _making(report: Report) -> Iterator[str]:
    told = ", ".join(f"{key} {value}" for key, value in report.calibration.items())
    yield f"Calibration: {told}; balanced over the labels."
    yield ""
    yield f"With {', '.join(f'{name} {value}' for name, value in versions().items())}."
    yield from ("", "| step | s |", "|---|---|")
    yield from (f"| {name} | {seconds:.1f} |" for name, seconds in report.seconds.items())


def _moved(cost: Cost) -> str:
    label, points = cost.moved
    return f"{label} {points:+.2f}" if points else "none"


def _way(threads: int, batch: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def _shown(pictures: Collection[str], name: str, what: str) -> Sequence[str]:
    return [f"![{what}]({name})"] if name in pictures else []
