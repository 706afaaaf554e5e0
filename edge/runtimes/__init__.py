"""The seam for hardware: each file here runs a model's bytes on one kind of chip."""

from __future__ import annotations

from edge.types import EdgeError, Runtime


def open_runtime(kind: str, content: bytes, *, threads: int = 1) -> Runtime:
    """A runtime of *kind* ("auto" or "cpu") loaded with a verified TFLite file's *content*."""
    match kind:
        case "auto" | "cpu":
            from edge.runtimes.litert import LiteRT

            return LiteRT(content, threads=threads)
        case _:
            raise EdgeError(f'runtime "{kind}": not known; "auto" or "cpu" would do')
