"""ONNX models by ONNX Runtime: on any CPU, and (untried) by CUDA or TensorRT on NVIDIA's chips."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np

from edge.host.quiet import quiet
from edge.types import EdgeError, Runtime, Tensor, TensorSpec, words_of

log = logging.getLogger(__name__)

# The provider, and what may take the operators that it leaves.
PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8, "tensor(int8)": np.int8,
}  # fmt: skip


def names_of(providers: list[str]) -> list[str]:
    """Those of ONNX Runtime's *providers* that model.provider can name, as it names them."""
    return [name for name, (first, *_) in PROVIDERS.items() if first in providers]


class OnnxRuntime(Runtime):
    """One session; its shape is the file's."""

    def __init__(
        self, content: bytes, *, threads: int = 1, provider: str = "cpu", engines: Path | None = None
    ) -> None:
        """*engines*: where TensorRT may keep what it builds. EdgeError where it does not run here."""
        try:
            import onnxruntime
        except ImportError as error:
            raise EdgeError("no ONNX Runtime installed; run `pip install 'emotion-edge[onnx]'`") from error
        package = f"onnxruntime {onnxruntime.__version__}"
        wanted, available = PROVIDERS[provider], onnxruntime.get_available_providers()
        if wanted[0] not in available:
            raise _missing(package, provider, available)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; and those are raised
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning burns a small board's CPU, to save microseconds.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings = _tensorrt(content, engines) if provider == "tensorrt" else {}
        taken = [name for name in wanted if name in available]
        try:
            with quiet(show_on_error=False):
                self._session: Any = onnxruntime.InferenceSession(
                    content, options, providers=taken,
                    provider_options=[settings, *({} for _ in taken[1:])],
                    # Else it goes on with other providers, after a fault as well, and prints so.
                    enable_fallback=0,
                )  # fmt: skip
        except Exception as error:  # its errors have no base of their own
            raise EdgeError(f"{package}: cannot run this model: {words_of(error)[:200]}") from error
        # A provider whose libraries are missing is listed as available, and silently replaced by the CPU.
        if wanted[0] not in self._session.get_providers():
            raise _missing(package, provider, self._session.get_providers())
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not outputs:
            raise EdgeError(
                f"{package}: model has {len(inputs)} inputs and {len(outputs)} outputs; expected one input "
                "and at least one output"
            )
        self.input, self.outputs = _spec(inputs[0]), tuple(map(_spec, outputs))
        self._input_name: str = inputs[0].name
        self.name = f"{package}, {provider}, {threads} thread{'s' if threads > 1 else ''}"

    def run(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """One inference; the outputs, shaped as ``outputs`` says."""
        return tuple(self._session.run(None, {self._input_name: tensor}))


def _tensorrt(content: bytes, engines: Path | None) -> dict[str, str]:
    """TensorRT's options: 16-bit kernels, 8-bit ones where the model says how, built engines kept."""
    options = {"trt_fp16_enable": "1", "trt_int8_enable": "1" if b"QuantizeLinear" in content else "0"}
    # Building an engine takes minutes. Each model has a folder of its own: ONNX Runtime names an engine
    # after the graph without its weights, and would run an older network's (its issue 6455).
    if engines is None:
        return options
    folder = engines / hashlib.sha256(content).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or "").lower()
        log.warning("%s: %s; TensorRT builds its engine at every start", folder, reason)
        return options
    return options | {
        "trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder),
    }  # fmt: skip


def _missing(package: str, provider: str, found: list[str]) -> EdgeError:
    return EdgeError(
        f'{package}: provider "{provider}" is not there or does not load, only {", ".join(names_of(found))}; '
        "install onnxruntime-gpu (on a Jetson the wheel that NVIDIA makes for its JetPack) or set "
        'model.provider = "cpu"'
    )


def _spec(tensor: Any) -> TensorSpec:
    batch, *sides = tensor.shape
    # A batch that may have any size may have one.
    shape = (batch if isinstance(batch, int) else 1, *sides)
    if tensor.type not in _DTYPES or not all(isinstance(side, int) for side in shape):
        raise EdgeError(
            f"onnxruntime: tensor {tensor.name!r} is {tensor.type} {tensor.shape}; expected float or "
            "8-bit of a fixed shape"
        )
    return TensorSpec(shape, np.dtype(_DTYPES[tensor.type]), name=tensor.name)
