"""TFLite models by ai-edge-litert or an older tflite-runtime that works: on the CPU, or a delegate's chip."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.host.quiet import quiet
from edge.types import EdgeError, TensorSpec


class LiteRT:
    """One interpreter. Not for two threads at once: its tensors are shared memory."""

    def __init__(
        self, content: bytes, *, threads: int = 1, delegate: Any = None, chip: str = "cpu"
    ) -> None:
        """EdgeError where no interpreter is installed or *content* is not a model it can run.

        A *delegate* (the interpreter's load_delegate) takes the operators that it knows to its *chip*.
        """
        package, interpreter_class = _interpreter_class()
        try:
            with quiet(show_on_error=False):
                self._interpreter = interpreter_class(
                    model_content=content,
                    num_threads=threads,
                    experimental_delegates=[delegate] if delegate is not None else None,
                )
                self._interpreter.allocate_tensors()
        # tflite-runtime 2.14 beside numpy 2 installs, imports and dies here with SystemError.
        except (ValueError, RuntimeError, SystemError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise EdgeError(f"{package}: cannot run this model: {reason}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise EdgeError(
                f"{package}: model has {len(inputs)} inputs and {len(outputs)} outputs; one of each would do"
            )
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._input_index: int = inputs[0]["index"]
        self._output_index: int = outputs[0]["index"]
        self.name = f"{package} {version(package)}, {chip}, {threads} thread{'s' if threads > 1 else ''}"

    def run(self, tensor: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """One inference; a copy of the output, shaped as ``output`` says."""
        self._interpreter.set_tensor(self._input_index, tensor)
        self._interpreter.invoke()
        result: npt.NDArray[np.generic] = self._interpreter.get_tensor(self._output_index)
        return result


def _interpreter_class() -> tuple[str, Any]:
    try:
        from ai_edge_litert.interpreter import Interpreter

        return "ai-edge-litert", Interpreter
    except ImportError:
        pass
    try:
        from tflite_runtime.interpreter import Interpreter

        return "tflite-runtime", Interpreter
    except ImportError as error:
        raise EdgeError("no TFLite interpreter installed; `pip install ai-edge-litert` would do") from error


def _spec(details: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(side) for side in details["shape"])
    scale, zero_point = details["quantization"]
    return TensorSpec(shape, np.dtype(details["dtype"]), float(scale), int(zero_point))
