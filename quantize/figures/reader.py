"""Reads model files of either format into a graph."""

from __future__ import annotations

from quantize.figures.graph import Graph


def read(suffix: str, content: bytes) -> Graph:
    """The graph in *content*, a file with *suffix*; EdgeError without the file's name."""
    if suffix == ".onnx":
        from quantize.figures import onnx_graph

        return onnx_graph.read(content)
    from quantize.figures import tflite

    return tflite.read(content)
