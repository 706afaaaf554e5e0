"""TFLite models by ai-edge-litert or an older tflite-runtime, on the CPU or a delegate's chip."""

from __future__ import annotations

import contextlib
import importlib
from importlib.metadata import version
from typing import Any

import numpy as np

from edge.host.quiet import quiet
from edge.types import EdgeError, Runtime, Tensor, TensorSpec, words_of


class LiteRT(Runtime):
    """One interpreter. Not for two threads at once: they would share its tensors."""

    def __init__(self, content: bytes, *, threads: int = 1, delegate: Any = None, chip: str = "cpu") -> None:
        """*delegate*: for *chip*, by load_delegate. EdgeError where no interpreter runs *content*."""
        package, interpreter_class = _interpreter_class()
        try:
            with quiet(show_on_error=False):
                self._interpreter = interpreter_class(
                    model_content=content,
                    num_threads=threads,
                    experimental_delegates=[delegate] if delegate is not None else None,
                )
                self._interpreter.allocate_tensors()
        # tflite-runtime 2.14 with numpy 2 installs, imports and dies here with SystemError.
        except (ValueError, RuntimeError, SystemError) as error:
            raise EdgeError(f"{package}: cannot run this model: {words_of(error)}") from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or not outputs:
            raise EdgeError(
                f"{package}: model has {len(inputs)} inputs and {len(outputs)} outputs; expected one input "
                "and at least one output"
            )
        self._package = package
        self._input_index: int = inputs[0]["index"]
        self._output_indices: list[int] = [output["index"] for output in outputs]
        self._names = _signature_names(self._interpreter)
        self._read_specs()
        # What is compiled for a delegate's chip has one shape.
        self.resizable = delegate is None
        self.name = f"{package} {version(package)}, {chip}, {threads} thread{'s' if threads > 1 else ''}"

    def run(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """One inference; copies of the outputs, shaped as ``outputs`` says."""
        self._interpreter.set_tensor(self._input_index, tensor)
        self._interpreter.invoke()
        return tuple(self._interpreter.get_tensor(index) for index in self._output_indices)

    def resize(self, shape: tuple[int, ...]) -> None:
        """Take inputs of *shape*; EdgeError, and the shape as it was, where the graph does not."""
        if not self.resizable:
            super().resize(shape)  # raises
        before = self.input.shape
        try:
            with quiet(show_on_error=False):
                self._allocate(shape)
        except (ValueError, RuntimeError) as error:
            self._allocate(before)
            why = f"cannot run this model on {shape}: {words_of(error)}"
            raise EdgeError(f"{self._package}: {why}") from error
        self._read_specs()

    def _allocate(self, shape: tuple[int, ...]) -> None:
        self._interpreter.resize_tensor_input(self._input_index, shape)
        self._interpreter.allocate_tensors()

    def _read_specs(self) -> None:
        self.input = _spec(self._interpreter.get_input_details()[0], self._names)
        self.outputs = tuple(_spec(part, self._names) for part in self._interpreter.get_output_details())


def _interpreter_class() -> tuple[str, Any]:
    """The first package that is installed, and its Interpreter."""
    for package in ("ai-edge-litert", "tflite-runtime"):
        with contextlib.suppress(ImportError):
            return package, importlib.import_module(f"{package.replace('-', '_')}.interpreter").Interpreter
    raise EdgeError("no TFLite interpreter installed; run `pip install ai-edge-litert`")


def _signature_names(interpreter: Any) -> dict[int, str]:
    """Tensor index -> the name that the file's signature gives it; a file need not have one."""
    try:
        signatures = interpreter.get_signature_list()
        if len(signatures) != 1:
            return {}
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        given = {**runner.get_input_details(), **runner.get_output_details()}
    except (AttributeError, ValueError):  # an interpreter from before signatures
        return {}
    return {details["index"]: name for name, details in given.items()}


def _spec(details: dict[str, Any], names: dict[int, str]) -> TensorSpec:
    shape = tuple(int(side) for side in details["shape"])
    scale, zero_point = details["quantization"]
    name = names.get(details["index"], details["name"])
    return TensorSpec(shape, np.dtype(details["dtype"]), float(scale), int(zero_point), name)
