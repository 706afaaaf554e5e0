"""Conformance of every runtime on the same pictures; which runtime takes which file."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.card import Model, read_model
from edge.analysis.classify import FaceClassifier
from edge.analysis.runtimes import kind_of, open_runtime
from edge.analysis.tensors import quantize
from edge.node.build import open_engine
from edge.settings import Settings
from edge.settings.tables import Model as ModelSettings
from edge.types import LABELS, EdgeError, Runtime
from tests.squares import pictures

FILES = ("emotion.tflite", "emotion.onnx", "emotion.fp16.onnx", "emotion.int8.onnx")


@pytest.fixture(params=FILES)
def model(request: pytest.FixtureRequest, squares_files: Path) -> Model:
    return read_model(squares_files / request.param)


@pytest.fixture
def runtime(model: Model) -> Runtime:
    return open_runtime("auto", model.content)


def tensor(runtime: Runtime, number: int) -> np.ndarray:
    return quantize(pictures(14)[0][number].reshape(runtime.input.shape), runtime.input)


def test_runtime_shapes_match_its_specs(runtime: Runtime) -> None:
    assert runtime.input.shape == (1, 48, 48, 1)
    (output,) = runtime.outputs
    assert output.shape == (1, len(LABELS))
    (result,) = runtime.run(tensor(runtime, 0))
    assert (result.shape, result.dtype) == (output.shape, output.dtype)


def test_runs_are_independent_and_leave_the_input_unchanged(runtime: Runtime) -> None:
    given = tensor(runtime, 3)
    (first,) = runtime.run(given)
    kept = first.copy()
    (other,) = runtime.run(tensor(runtime, 4))
    assert not np.array_equal(other, kept)
    assert np.array_equal(first, kept)  # the next run does not overwrite earlier output
    assert np.array_equal(runtime.run(given)[0], kept)
    assert np.array_equal(given, tensor(runtime, 3))


def test_runtime_is_accurate_in_the_daemon_classifier(runtime: Runtime, model: Model) -> None:
    classifier = FaceClassifier(runtime, model.card, model.path.name)
    images, labels = pictures(70)
    scores = np.array([classifier.scores(image) for image in images])
    assert float((scores.argmax(1) == labels).mean()) > 0.98
    assert scores.sum(1) == pytest.approx(np.ones(70))


def test_runtime_runs_in_another_thread(runtime: Runtime) -> None:
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(runtime.run(tensor(runtime, 5))[0]))
    thread.start()
    thread.join(30)
    assert np.array_equal(results[0], runtime.run(tensor(runtime, 5))[0])


def test_name_has_package_device_and_threads(runtime: Runtime, model: Model) -> None:
    package = "ai-edge-litert" if model.path.suffix == ".tflite" else "onnxruntime"
    assert runtime.name.startswith(f"{package} ")
    assert runtime.name.endswith(", cpu, 1 thread")


def test_two_threads_compute_the_same(runtime: Runtime, model: Model) -> None:
    both = open_runtime("auto", model.content, threads=2)
    assert both.name.endswith(", cpu, 2 threads")
    for number in range(7):
        one, two = (each.run(tensor(runtime, number))[0].astype(float) for each in (runtime, both))
        assert one == pytest.approx(two, abs=1e-4)


def test_damaged_file_gets_one_line(model: Model) -> None:
    with pytest.raises(EdgeError, match="cannot run this model: ") as caught:
        open_runtime("auto", model.content[: len(model.content) // 2])
    assert "\n" not in str(caught.value)


def test_file_kind_is_detected(squares_files: Path) -> None:
    assert [kind_of((squares_files / name).read_bytes()) for name in FILES] == ["cpu", "onnx", "onnx", "onnx"]
    assert kind_of(b"\x1c\0\0\0TFL3 ... edgetpu-custom-op ...") == "edgetpu"
    assert kind_of(b"") == "cpu"


def test_runtime_rejects_files_for_another_target(squares_files: Path) -> None:
    tflite, onnx = ((squares_files / name).read_bytes() for name in FILES[:2])
    with pytest.raises(EdgeError) as caught:
        open_runtime("cpu", onnx)
    assert str(caught.value) == (
        'runtime "cpu" takes a TFLite file for the CPU, this is an ONNX file; '
        'set runtime = "onnx" or name another file'
    )
    with pytest.raises(EdgeError, match=r'runtime "onnx" takes an ONNX file, this is a TFLite file'):
        open_runtime("onnx", tflite)
    with pytest.raises(EdgeError, match=r'compiled for the Edge TPU; set runtime = "edgetpu"'):
        open_runtime("cpu", b"\x1c\0\0\0TFL3edgetpu-custom-op")
    with pytest.raises(EdgeError, match='runtime "npu": not known'):
        open_runtime("npu", tflite)


def test_runtime_onnx_uses_the_onnx_twin_of_a_tflite_file(squares_files: Path) -> None:
    chosen = ModelSettings(file=squares_files / "emotion.tflite", runtime="onnx")
    engine = open_engine(Settings(model=chosen))
    assert engine.model.path == squares_files / "emotion.onnx"
    assert engine.runtime.name.startswith("onnxruntime ")


def test_unsupported_shape_is_rejected_and_the_old_one_kept(runtime: Runtime, model: Model) -> None:
    given = tensor(runtime, 2)
    (before,) = runtime.run(given)
    assert runtime.resizable == (model.path.suffix == ".tflite")
    with pytest.raises(EdgeError, match=r"\(1, 48, 48, 3\)"):
        runtime.resize((1, 48, 48, 3))
    assert runtime.input.shape == (1, 48, 48, 1)
    assert np.array_equal(runtime.run(given)[0], before)
