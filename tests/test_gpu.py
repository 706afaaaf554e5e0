"""CUDA and TensorRT run in a child like the Edge TPU: CPU fallback after a fault, then recovery.

The GPU is tests/gpu_stub.py: ONNX Runtime's own CPU session in a package that fails on demand.
"""

from __future__ import annotations

import logging
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.engine import Engine, open_chain
from edge.analysis.runtimes import chain
from edge.analysis.runtimes.chip import Chip
from edge.host.heartbeats import FRESH_S
from edge.types import LABELS
from tests.broker import Mosquitto, broker, eventually  # noqa: F401
from tests.gpu_stub import Gpu, chips, gpu, write_onnx_classifier  # noqa: F401
from tests.test_end_to_end import PORTRAITS, configuration
from tests.test_service import Manager, Run, manager, run  # noqa: F401
from tests.tiny_onnx import level

HAPPY = np.full((48, 48), level("happy"), np.uint8)


def top_label(engine: Engine) -> str:
    scores = engine.classifier.scores(HAPPY)
    return LABELS[int(np.argmax(scores))]


@pytest.mark.usefixtures("chips", "gpu")
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_gpu_runs_in_a_child_and_is_verified(tmp_path: Path, provider: chain.Provider) -> None:
    engine = open_chain(write_onnx_classifier(tmp_path), runtime="onnx", provider=provider)
    assert (engine.reason, engine.state) == ("onnx", "ok")
    assert engine.runtime.name.startswith("onnxruntime ")
    assert f", {provider}, " in engine.runtime.name
    assert top_label(engine) == "happy"
    # Engines go to this process's state directory, although the child has a clean environment.
    assert (tmp_path / "state" / "engines").exists() == (provider == "tensorrt")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("fail", "fails: CUDA failure 700: an illegal memory access was encountered"),
        ("abort", "crashes (SIGABRT)"),
        ("hang", "no answer within 1 s"),
    ],
)
def test_cpu_takes_over_after_a_fault_and_gpu_returns(
    tmp_path: Path,
    chips: dict[str, Chip],
    gpu: Gpu,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    reason: str,
) -> None:
    engine = open_chain(write_onnx_classifier(tmp_path), runtime="onnx", provider="cuda")
    pid = chips["cuda"].pid
    expected = engine.classifier.scores(HAPPY)
    gpu.set(fault)
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        assert engine.classifier.scores(HAPPY) == pytest.approx(expected, abs=1e-4)
        elapsed = time.monotonic() - began
        print(f"{fault}: the CPU answered after {elapsed:.2f} s")
        assert elapsed < 2
        assert ", cpu, 1 thread" in engine.runtime.name
        for _ in range(5):
            engine.classifier.scores(HAPPY)
    assert engine.reason.startswith(f"onnx; cuda: {reason}")
    assert engine.state.startswith(f"cuda: {reason}")
    assert sum("falling back to the CPU" in record.message for record in caplog.records) == 1
    gpu.set("load")
    assert eventually(lambda: engine.state == "ok", 30)
    assert chips["cuda"].pid not in (pid, None)  # a new process, unaffected by the fault
    assert engine.classifier.scores(HAPPY) == pytest.approx(expected, abs=1e-4)
    assert ", cuda, 1 thread" in engine.runtime.name


@pytest.mark.usefixtures("chips")
def test_missing_gpu_is_reported_and_cpu_used(tmp_path: Path, gpu: Gpu) -> None:
    gpu.set("missing")
    engine = open_chain(write_onnx_classifier(tmp_path), runtime="onnx", provider="tensorrt")
    assert ", cpu, 1 thread" in engine.runtime.name
    assert top_label(engine) == "happy"
    state = engine.state
    assert state.startswith("tensorrt: onnxruntime ")
    assert 'provider "tensorrt" is not there or does not load, only cpu; install onnxruntime-gpu' in state
    assert "; cuda: onnxruntime " in state


@pytest.mark.usefixtures("chips")
def test_unexpected_error_in_the_child_logs_its_traceback(
    tmp_path: Path, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.set("bug")
    engine = open_chain(write_onnx_classifier(tmp_path), runtime="onnx", provider="cuda")
    assert top_label(engine) == "happy"
    assert engine.state == "cuda: KeyError: 'a mistake of ours'"
    assert "Traceback (most recent call last)" in caplog.text
    assert 'return {}["a mistake of ours"]' in caplog.text


@pytest.mark.quiet_clock
def test_long_engine_build_is_a_declared_wait_and_feeds_the_watchdog(
    tmp_path: Path, gpu: Gpu, manager: Manager, run: Run, broker: Mosquitto
) -> None:
    gpu.set("slow")
    model = f'[model]\nfile = "{write_onnx_classifier(tmp_path)}"\nruntime = "onnx"\nprovider = "tensorrt"\n'
    began = time.monotonic()
    run(configuration(broker.port, PORTRAITS) + model, before=tmp_path / "gpu")
    assert eventually(lambda: "READY=1" in manager.lines(), 60)
    ready = next(when for when, text in manager.received if "READY=1" in text)
    assert ready - began > FRESH_S + 3  # longer than a heartbeat is valid
    fed = [when for when, text in manager.received if "WATCHDOG=1" in text and when <= ready]
    longest = max(later - earlier for earlier, later in pairwise([*fed, ready]))
    print(f"built for {ready - began:.1f} s, the watchdog went hungry for {longest:.2f} s at most")
    assert longest < 5
