"""The parts of report.md that a classifier's and a detector's have alike, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from quantize.figures import graph as graphs
from quantize.figures.reader import read
from quantize.inside import edgetpu
from quantize.report import sqnr
from quantize.report.facts import places, versions
from quantize.report.latency import Latency


def page(title: str, sections: Mapping[str, Iterable[str]]) -> str:
    """The whole of it; the section without a name comes first, without a heading."""
    lines = [f"# {title}"]
    for name, part in sections.items():
        lines += ["", *([f"## {name}", ""] if name else []), *part]
    return "\n".join([*lines, ""])


def files(contents: Mapping[str, bytes], compiled: Mapping[str, bytes]) -> Iterator[str]:
    """What is inside each file (name -> content)."""
    yield "| file | bytes | parameters | MACs | arena, bytes | ops, of them float |"
    yield "|---|---|---|---|---|---|"
    for file, content in contents.items():
        graph = read(Path(file).suffix or ".tflite", content)
        yield (
            f"| {file} | {len(content):,} | {graphs.parameters(graph):,} | {graphs.macs(graph):,} "
            f"| {'' if file.endswith('.onnx') else f'{graphs.arena(graph):,}'} "
            f"| {len(graph.ops)}, {len(graphs.float_ops(graph))} |"
        )
    for file, content in compiled.items():
        yield f"| {file} | {len(content):,} | | | | |"
    yield from (
        "",
        "Arena: what the activations need at once by TFLite's plan, an estimate; kernels take some more.",
    )


def latency(found: Latency, machine: Mapping[str, Any], one: str) -> Iterator[str]:
    """Milliseconds that *one* (a face, a picture) takes by each file."""
    ways = list(dict.fromkeys((time.threads, time.batch) for time in found.times))
    yield f"| ms a {one} | " + " | ".join(way(*each) for each in ways) + " |"
    yield "|---|" + "---|" * len(ways)
    for file in dict.fromkeys(time.file for time in found.times):
        times = [found.of(file, *each) for each in ways]
        yield f"| {file} | " + " | ".join(f"{time.ms:.3f} ({time.best_ms:.3f})" for time in times) + " |"
    yield f"| Keras' model.predict | {found.keras_ms:.1f} (all cores) |" + " |" * (len(ways) - 1)
    yield ""
    text = (
        f"Medians (and the fastest) of {found.rounds} rounds; each round ran all of them, so that what else "
        f"the machine did met them alike. {machine['processor']}, {machine['cores']} cores, load average "
        f"{machine['load_average']}."
    )
    if any(batch > 1 for _, batch in ways):
        singly = dict.fromkeys(time.file for time in found.times if not time.at_once)
        text += " A batch of eight is one run of eight pictures (LiteRT: input resized)"
        text += f", but for {', '.join(singly)}, which take one at a time: eight runs." if singly else "."
    yield text
    yield ""


def layers(int8: str, found: Sequence[sqnr.Layer]) -> Iterator[str]:
    """Where the file *int8* loses most."""
    if not found:
        yield "No layer of the int8 file has its like in the float one."
        return
    yield (
        f"Signal over error (SQNR) of each layer's output in {int8}, on {sqnr.PICTURES} calibration "
        "pictures; errors add up from layer to layer. The middle channel tells of small channels, which "
        "large ones hide in the sum. Most error is added by:"
    )
    yield ""
    yield from (f"{number}. {line}" for number, line in enumerate(sqnr.summary(found), 1))
    yield from ("", "| layer | op | SQNR, dB | middle channel, dB | error added, % |")
    yield "|---|---|---|---|---|"
    for one in found:
        yield f"| {one.name} | {one.op} | {one.db:.1f} | {one.middle_db:.1f} | {100 * one.added:.1f} |"
    yield ""


def edge_tpu(int8: str, content: bytes, compiler: edgetpu.Compiled | None) -> Iterator[str]:
    """Where the ops of the TFLite file *int8* run."""
    yield f"{int8}; the Edge TPU by its table of ops, before any compiler."
    yield from ("", "| op | | CPU | Edge TPU |", "|---|---|---|---|")
    for one in places(content):
        yield f"| {one.op} | {one.number} | {one.cpu} | {one.edge_tpu} |"
    if compiler:
        yield ""
        yield from (f"- {line}" for line in edgetpu.compiled_told(compiler))


def making(calibration: Mapping[str, Any], chosen: str, seconds: Mapping[str, float]) -> Iterator[str]:
    """How the files came about; *chosen*: how the pictures of *calibration* were."""
    text = ", ".join(f"{key} {value}" for key, value in calibration.items())
    yield f"Calibration: {text}; {chosen}."
    yield ""
    yield f"With {', '.join(f'{name} {value}' for name, value in versions().items())}."
    yield from ("", "| step | s |", "|---|---|")
    yield from (f"| {name} | {took:.1f} |" for name, took in seconds.items())


def way(threads: int, batch: int) -> str:
    """How a file was run, as a column's head."""
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def shown(pictures: Collection[str], name: str, what: str) -> Sequence[str]:
    """The picture *name*, if it is among *pictures*."""
    return [f"![{what}]({name})"] if name in pictures else []
