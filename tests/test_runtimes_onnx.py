"""ONNX Runtime specifics: missing package or provider, TensorRT options and engines."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge.analysis.runtimes.onnx import OnnxRuntime
from edge.types import EdgeError
from tests import tiny_onnx

TENSORRT, CUDA, CPU = (f"{name}ExecutionProvider" for name in ("Tensorrt", "CUDA", "CPU"))
MODEL = b"\x08\x08 no weights"


class Session:
    """Like onnxruntime's session: silently falls back to the CPU if a provider does not load."""

    loads: tuple[str, ...] = ()
    requested: dict[str, dict[str, str]] = {}  # noqa: RUF012

    def __init__(
        self, content: bytes, _: Any, providers: list[str], provider_options: list[Any], enable_fallback: int
    ) -> None:
        assert not enable_fallback
        Session.requested = dict(zip(providers, provider_options, strict=True))
        self._providers = [name for name in providers if name in Session.loads]

    def get_providers(self) -> list[str]:
        return self._providers

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="pixels", shape=["batch", 48, 48, 1], type="tensor(float)")]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name="probabilities", shape=["batch", 7], type="tensor(float)")]


@pytest.fixture
def jetson(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    """A fake onnxruntime that lists TensorRT and CUDA; Session.loads are those that load."""
    options = SimpleNamespace(add_session_config_entry=lambda key, value: None)
    fake = SimpleNamespace(
        __version__="1.2.3",
        get_available_providers=lambda: [TENSORRT, CUDA, CPU],
        SessionOptions=lambda: options,
        InferenceSession=Session,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setattr(Session, "loads", (TENSORRT, CUDA, CPU))
    return Session


def test_missing_package_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EdgeError) as caught:
        OnnxRuntime(MODEL)
    assert str(caught.value) == "no ONNX Runtime installed; run `pip install 'emotion-edge[onnx]'`"


def test_missing_provider_gets_one_line() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if TENSORRT in onnxruntime.get_available_providers():
        pytest.skip("this machine's ONNX Runtime has TensorRT")
    with pytest.raises(EdgeError) as caught:
        OnnxRuntime(MODEL, provider="tensorrt")
    assert str(caught.value) == (
        f'onnxruntime {onnxruntime.__version__}: provider "tensorrt" is not there or does not load, only '
        "cpu; install onnxruntime-gpu (on a Jetson the wheel that NVIDIA makes for its JetPack) or set "
        'model.provider = "cpu"'
    )


def test_listed_provider_that_does_not_load_is_an_error(jetson: type[Session]) -> None:
    jetson.loads = (CPU,)
    with pytest.raises(EdgeError, match='provider "cuda" is not there or does not load, only cpu; install'):
        OnnxRuntime(MODEL, provider="cuda")


def test_cuda_requests_cuda_then_cpu(jetson: type[Session]) -> None:
    runtime = OnnxRuntime(MODEL, provider="cuda", threads=2)
    assert jetson.requested == {CUDA: {}, CPU: {}}
    assert runtime.name == "onnxruntime 1.2.3, cuda, 2 threads"
    assert runtime.input.shape == (1, 48, 48, 1)  # a dynamic batch becomes 1


def test_tensorrt_keeps_engines_of_models_apart(jetson: type[Session], tmp_path: Path) -> None:
    folders = []
    for content in (MODEL, MODEL + b" but others"):
        OnnxRuntime(content, provider="tensorrt", engines=tmp_path / "engines")
        options = jetson.requested[TENSORRT]
        assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", "0")
        assert options["trt_engine_cache_enable"] == "1"
        folders.append(Path(options["trt_engine_cache_path"]))
    assert list(jetson.requested) == [TENSORRT, CUDA, CPU]
    assert folders[0] != folders[1]
    assert all(folder.is_dir() and folder.parent == tmp_path / "engines" for folder in folders)


def test_tensorrt_uses_int8_for_a_quantized_model(jetson: type[Session]) -> None:
    OnnxRuntime(MODEL + b"QuantizeLinear", provider="tensorrt")
    assert jetson.requested[TENSORRT]["trt_int8_enable"] == "1"


def test_tensorrt_runs_without_an_engine_folder(
    jetson: type[Session], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "engines").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        OnnxRuntime(MODEL, provider="tensorrt", engines=tmp_path / "engines")
    assert "trt_engine_cache_enable" not in jetson.requested[TENSORRT]
    assert "not a directory; TensorRT builds its engine at every start" in caplog.text


@pytest.mark.parametrize(
    "imported", ["edge.analysis.runtimes.onnx", "edge.commands.probe", "quantize.__main__"]
)
def test_onnxruntime_stores_no_telemetry(imported: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    tiny_onnx.write_cells(tmp_path / "faces.onnx")
    home = tmp_path / "home"
    home.mkdir()
    code = f"import {imported}, onnxruntime; onnxruntime.InferenceSession({str(tmp_path / 'faces.onnx')!r})"
    # On CI machines onnxruntime disables telemetry by itself, so drop their variables.
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")}
    subprocess.run([sys.executable, "-c", code], env={**kept, "HOME": str(home)}, check=True, timeout=120)
    assert not list(home.rglob("*"))  # no device id, no queued telemetry
