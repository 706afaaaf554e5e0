"""``quantize inspect FILE``: shows the content of a model file without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.analysis.card import read_model
from edge.types import EdgeError
from quantize.figures import graph as graphs
from quantize.figures.graph import Graph, Tensor
from quantize.figures.reader import read

_MOST_BYTES = 512 * 1024 * 1024  # far more than any device's file
SUFFIXES = (".tflite", ".onnx", ".keras", ".h5")


def inspect(path: Path) -> str:
    """The content of the file at *path*, one fact per line; EdgeError if it is not a complete model."""
    if path.suffix in (".keras", ".h5") or path.is_dir():
        return _keras(path)
    if path.suffix not in SUFFIXES:
        raise EdgeError(f"{path}: {path.suffix or 'no suffix'}; expected one of {', '.join(SUFFIXES)}")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise EdgeError(f"{path}: {path.stat().st_size:,} bytes; expected at most {_MOST_BYTES:,}")
        content = path.read_bytes()
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror or error}") from error
    if not content:
        raise EdgeError(f"{path}: empty; copy the file again")
    try:
        graph = read(path.suffix, content)
    except EdgeError as error:
        raise EdgeError(f"{path}: {error}; copy the file again") from error
    lines = [f"{path}  {len(content):,} bytes", *described(graph), *_card(path)]
    if path.suffix == ".tflite":
        from quantize.inside import edgetpu

        lines += edgetpu.summary(graph, edgetpu.check(graph))
    return "\n".join(lines)


def described(graph: Graph) -> list[str]:
    """One fact per line: inputs, outputs, ops, floating-point ops, and sizes."""
    lines = [_row("input", _tensor(graph.tensors[index])) for index in graph.inputs]
    lines += [_row("output", _tensor(graph.tensors[index])) for index in graph.outputs]
    lines.append(_row("ops", f"{len(graph.ops)}: {graphs.counted([op.name for op in graph.ops])}"))
    floats = graphs.float_ops(graph)
    if not floats:
        lines.append(_row("float ops", "none: all integer"))
    elif len(floats) == len(graph.ops):
        lines.append(_row("float ops", "all"))
    else:
        names = graphs.counted([op.name for op in floats])
        lines.append(_row("float ops", f"{len(floats)} of {len(graph.ops)}: {names}"))
    lines.append(_row("parameters", f"{graphs.parameters(graph):,}"))
    lines.append(_row("MACs", f"{graphs.macs(graph):,} per run"))
    lines.append(_row("arena", f"{graphs.arena(graph):,} bytes for activations (estimate)"))
    unknown = [tensor.name for tensor in graph.tensors if -1 in tensor.shape]
    if unknown:
        lines.append(_row("sizes", f"{len(unknown)} tensors are sized at run time, first {unknown[0]!r}"))
    return lines


def _tensor(tensor: Tensor) -> str:
    shape = ", ".join("?" if size < 0 else str(size) for size in tensor.shape)
    if len(tensor.scales) == 1:
        zero = tensor.zero_points[0] if tensor.zero_points else 0
        return f"{tensor.name} {tensor.dtype} ({shape}), scale {tensor.scales[0]:.6g}, zero point {zero}"
    if tensor.scales:
        return f"{tensor.name} {tensor.dtype} ({shape}), {len(tensor.scales)} scales"
    return f"{tensor.name} {tensor.dtype} ({shape})"


def _card(path: Path) -> list[str]:
    """The card of the file at *path*, or what is wrong with it."""
    if not path.with_suffix(".json").exists():
        return [_row("card", "none next to it; the daemon needs one (quantize writes both)")]
    try:
        card = read_model(path).card
    except EdgeError as error:
        return [_row("card", str(error))]
    lines = [
        _row("card", f"{path.with_suffix('.json').name}: {card.name} {card.version}, sha256 and size match"),
        _row("labels", ", ".join(card.labels)),
    ]
    lines += [
        _row("figure", f"{figure.name} {figure.value:g} on {figure.data} {figure.split} (n {figure.n})")
        for figure in card.figures
    ]
    return lines


def _keras(path: Path) -> str:
    from quantize import convert

    model = convert.opened(path)
    from quantize.network import explain  # late: it imports Keras, after opened() has silenced its output

    lines = [f"{path}"]
    lines += [_row("input", f"{tensor.name} {tensor.dtype} {_shape(tensor)}") for tensor in model.inputs]
    lines += [_row("output", f"{tensor.name} {tensor.dtype} {_shape(tensor)}") for tensor in model.outputs]
    kinds = [type(layer).__name__ for layer in model.layers]
    lines.append(_row("layers", f"{len(kinds)}: {graphs.counted(kinds)}"))
    lines.append(_row("parameters", f"{model.count_params():,}"))
    return "\n".join([*lines, *explain.summary(explain.explain(model))])


def _shape(tensor: Any) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in tensor.shape) + ")"


def _row(name: str, text: str) -> str:
    return f"{name:<12}{text}"
