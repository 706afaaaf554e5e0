"""The seam for hardware: each file here runs a model's bytes on one kind of chip."""

from __future__ import annotations

from edge.types import EdgeError, Runtime

# Kind -> what it runs.
KINDS = {
    "cpu": "a TFLite file for the CPU",
    "edgetpu": "a TFLite file compiled for the Edge TPU",
    "onnx": "an ONNX file",
}
_TFLITE_MARK = b"TFL3"  # bytes 4 to 7, the flatbuffer's file identifier
_ONNX_MARK = b"\x08"  # byte 0, the protobuf field that ONNX puts first: ir_version
COMPILED = ".edgetpu.tflite"  # how quantize ends the name of a file for the Edge TPU
_EDGETPU_MARK = b"edgetpu-custom-op"  # the only operator that edgetpu_compiler leaves


def open_runtime(kind: str, content: bytes, *, threads: int = 1) -> Runtime:
    """A runtime of *kind* on the CPU, with a verified model file's *content*; chain.py opens the other chips.

    *kind*: one of KINDS, or "auto" for what the file was made for. EdgeError where kind and file, or kind and
    machine, do not fit.
    """
    made_for = kind_of(content)
    if kind != "auto" and kind in KINDS and kind != made_for:
        raise EdgeError(
            f'runtime "{kind}" takes {KINDS[kind]}, this is {KINDS[made_for]}; '
            f'set runtime = "{made_for}" or name another file'
        )
    match made_for if kind == "auto" else kind:
        case "cpu":
            from edge.analysis.runtimes.litert import LiteRT

            return LiteRT(content, threads=threads)
        case "edgetpu":
            raise EdgeError("runs with its uncompiled twin only; name the uncompiled file")
        case "onnx":
            from edge.analysis.runtimes.onnx import OnnxRuntime

            return OnnxRuntime(content, threads=threads)
        case _:
            raise EdgeError(f'runtime "{kind}": not known; expected "auto", "cpu", "edgetpu" or "onnx"')


def kind_of(content: bytes) -> str:
    """The kind in KINDS that a model file's *content* was made for."""
    if content[4:8] != _TFLITE_MARK and content.startswith(_ONNX_MARK):
        return "onnx"
    return "edgetpu" if _EDGETPU_MARK in content else "cpu"
