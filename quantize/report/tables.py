"""The common parts of a classifier's and a detector's report.md, as lines of Markdown."""

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
    """The whole page; the section without a name comes first, without a heading."""
    lines = [f"# {title}"]
    for name, part in sections.items():
        lines += ["", *([f"## {name}", ""] if name else []), *part]
    return "\n".join([*lines, ""])


def files(contents: Mapping[str, bytes], compiled: Mapping[str, bytes]) -> Iterator[str]:
    """The content of each file (name -> content)."""
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
        "Arena: estimated memory for activations by TFLite's plan; kernels need some more.",
    )


def latency(found: Latency, machine: Mapping[str, Any], one: str) -> Iterator[str]:
    """Milliseconds per *one* (face, picture) of each file."""
    ways = list(dict.fromkeys((time.threads, time.batch) for time in found.times))
    yield f"| ms a {one} | " + " | ".join(way(*each) for each in ways) + " |"
    yield "|---|" + "---|" * len(ways)
    for file in dict.fromkeys(time.file for time in found.times):
        times = [found.of(file, *each) for each in ways]
        yield f"| {file} | " + " | ".join(f"{time.ms:.3f} ({time.best_ms:.3f})" for time in times) + " |"
    yield f"| Keras' model.predict | {found.keras_ms:.1f} (all cores) |" + " |" * (len(ways) - 1)
    yield ""
    text = (
        f"Medians (and the fastest) of {found.rounds} rounds; each round ran all of them, so that other "
        f"load affected all alike. {machine['processor']}, {machine['cores']} cores, load average "
        f"{machine['load_average']}."
    )
    if any(batch > 1 for _, batch in ways):
        singly = dict.fromkeys(time.file for time in found.times if not time.at_once)
        text += " A batch of eight is one run of eight pictures (LiteRT: input resized)"
        text += f", but for {', '.join(singly)}, which take one at a time: eight runs." if singly else "."
    yield text
    yield ""


def layers(int8: str, found: Sequence[sqnr.Layer]) -> Iterator[str]:
    """Quantization error of the file *int8* by layer."""
    if not found:
        yield "No layer of the int8 file corresponds to one of the float file."
        return
    yield (
        f"Signal over error (SQNR) of each layer's output in {int8}, on {sqnr.PICTURES} calibration "
        "pictures; errors accumulate from layer to layer. The median channel shows small channels, which "
        "large ones hide in the sum. Layers that add the most error:"
    )
    yield ""
    yield from (f"{number}. {line}" for number, line in enumerate(sqnr.summary(found), 1))
    yield from ("", "| layer | op | SQNR, dB | median channel, dB | error added, % |")
    yield "|---|---|---|---|---|"
    for one in found:
        yield f"| {one.name} | {one.op} | {one.db:.1f} | {one.middle_db:.1f} | {100 * one.added:.1f} |"
    yield ""


def edge_tpu(int8: str, content: bytes, compiler: edgetpu.Compiled | None) -> Iterator[str]:
    """Where the ops of the TFLite file *int8* run."""
    yield f"{int8}; the Edge TPU's support by its table of ops, not by its compiler."
    yield from ("", "| op | | CPU | Edge TPU |", "|---|---|---|---|")
    for one in places(content):
        yield f"| {one.op} | {one.number} | {one.cpu} | {one.edge_tpu} |"
    if compiler:
        yield ""
        yield from (f"- {line}" for line in edgetpu.compiled_text(compiler))


def making(calibration: Mapping[str, Any], chosen: str, seconds: Mapping[str, float]) -> Iterator[str]:
    """How the files were made; *chosen*: how the pictures of *calibration* were selected."""
    text = ", ".join(f"{key} {value}" for key, value in calibration.items())
    yield f"Calibration: {text}; {chosen}."
    yield ""
    yield f"With {', '.join(f'{name} {value}' for name, value in versions().items())}."
    yield from ("", "| step | s |", "|---|---|")
    yield from (f"| {name} | {took:.1f} |" for name, took in seconds.items())


def way(threads: int, batch: int) -> str:
    """How a file was run, as a column heading."""
    return f"{threads} thread{'s' if threads > 1 else ''}, batch {batch}"


def shown(pictures: Collection[str], name: str, what: str) -> Sequence[str]:
    """The plot *name*, if it is in *pictures*."""
    return [f"![{what}]({name})"] if name in pictures else []
