"""The process that opens an accelerator and runs every model on it, for chip.py.

libedgetpu aborts its process on some faults and never returns from others; after some CUDA faults a process
gets no more answers from the GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edge.host.quiet import quiet
from edge.host.worker import serve
from edge.types import EdgeError, Runtime, TensorSpec, words_of

LIBRARY = "libedgetpu.so.1"


def main(parent: int) -> None:
    """Answer the process *parent* until it ends."""
    serve(parent, Models().answer)


class Models:
    """The models on the chip, by the number that chip.py gives them."""

    def __init__(self) -> None:
        self._models: dict[int, Runtime] = {}

    def answer(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """``load`` (payload: a model file) gives name and specs, ``run`` (a tensor) the outputs."""
        number = header["model"]
        match header["do"]:
            case "load":
                model = _opened(header["kind"], payload, Path(header["state"]))
                self._models[number] = model
                specs = [spec_to_json(spec) for spec in (model.input, *model.outputs)]
                return {"name": model.name, "specs": specs}, b""
            case "run":
                model = self._models[number]
                tensor = np.frombuffer(payload, model.input.dtype).reshape(model.input.shape)
                try:
                    outputs = model.run(tensor)
                except Exception as error:  # ONNX Runtime's have no base of their own
                    raise EdgeError(words_of(error)) from error
                return {}, b"".join(output.tobytes() for output in outputs)
            case "drop":
                self._models.pop(number, None)
                return {}, b""
            case what:
                raise EdgeError(f"no such request: {what}")


def _opened(kind: str, content: bytes, state: Path) -> Runtime:
    if kind == "edgetpu":
        from edge.analysis.runtimes.litert import LiteRT

        return LiteRT(content, delegate=_delegate(), chip="edgetpu")
    from edge.analysis.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(content, provider=kind, engines=state / "engines")


def spec_to_json(spec: TensorSpec) -> list[Any]:
    return [list(spec.shape), spec.dtype.str, *spec[2:]]


def spec_from_json(parts: list[Any]) -> TensorSpec:
    shape, dtype, *rest = parts
    return TensorSpec(tuple(shape), np.dtype(dtype), *rest)


def _delegate() -> Any:
    from ai_edge_litert.interpreter import load_delegate

    try:
        with quiet(show_on_error=False):
            return load_delegate(LIBRARY)
    # OSError: no such library. AttributeError: no delegate in it. ValueError: it finds no chip.
    except (OSError, AttributeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        if "cannot open shared object" in reason:
            raise EdgeError(f"{LIBRARY} not found; install libedgetpu1-std") from error
        raise EdgeError(
            f"{LIBRARY} gives no delegate: {reason or 'no chip found'}; plug the chip in, or install a "
            "libedgetpu made for this TFLite"
        ) from error
