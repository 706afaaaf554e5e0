"""Runtime selection: tried in order, verified by golden vectors, with reasons for skipped ones."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.card import read_model
from edge.analysis.engine import open_chain
from edge.analysis.golden import read_golden
from edge.analysis.runtimes import chain
from edge.analysis.runtimes.chip import Chip
from edge.settings.tables import MODEL_FILE
from edge.types import EdgeError
from tests.broker import eventually
from tests.edgetpu_stub import Stub, stub, write_compiled_model  # noqa: F401


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chip]:
    one = Chip("edgetpu", absent=lambda: "", retry_s=(0.2, 0.4))
    monkeypatch.setattr(chain, "the_chip", lambda kind: one)
    yield one
    one.close()


def test_shipped_model_runs_on_the_cpu_without_other_attempts() -> None:
    engine = open_chain(MODEL_FILE)
    assert ", cpu, " in engine.runtime.name
    assert engine.reason == "auto"


@pytest.mark.usefixtures("stub", "chip")
@pytest.mark.parametrize("runtime", ["auto", "edgetpu"])
@pytest.mark.parametrize("file", ["emotion.tflite", "emotion.edgetpu.tflite"])
def test_compiled_file_in_the_card_runs_on_the_edge_tpu(tmp_path: Path, runtime: str, file: str) -> None:
    write_compiled_model(tmp_path)
    engine = open_chain(tmp_path / file, runtime=runtime)
    assert ", edgetpu, " in engine.runtime.name
    assert (engine.reason, engine.model.path.name) == (runtime, "emotion.edgetpu.tflite")


@pytest.mark.usefixtures("stub", "chip")
def test_chip_with_wrong_outputs_is_disqualified_with_reason(tmp_path: Path) -> None:
    engine = open_chain(write_compiled_model(tmp_path, right=False))
    assert ", cpu, " in engine.runtime.name
    assert engine.reason.startswith(
        "auto; edgetpu: wrong answers: 8 golden pictures, probabilities differ by up to "
    )


def test_chip_loss_and_return_show_in_the_reason(
    tmp_path: Path,
    stub: Stub,
    chip: Chip,
) -> None:
    stub.set("fail")
    engine = open_chain(write_compiled_model(tmp_path), runtime="edgetpu")
    assert not engine.classifier.mirror  # nor on the CPU while the chip is away: its answers must not change
    assert engine.reason.startswith("edgetpu; edgetpu: libedgetpu.so.1 gives no delegate: ")
    stub.set("load")
    assert eventually(lambda: engine.reason == "edgetpu", 30)
    assert ", edgetpu, " in engine.runtime.name
    assert chip.pid is not None


def test_edge_tpu_without_compiled_file_gets_one_line_with_advice() -> None:
    with pytest.raises(EdgeError) as caught:
        open_chain(MODEL_FILE, runtime="edgetpu")
    assert str(caught.value) == (
        f"{MODEL_FILE}: no .edgetpu.tflite file in its card; `quantize --target coral` makes one, "
        'or set model.runtime = "auto"'
    )


def test_compiled_file_without_its_twin_is_rejected(tmp_path: Path) -> None:
    file = write_compiled_model(tmp_path)
    (tmp_path / "emotion.tflite").unlink()
    with pytest.raises(EdgeError, match="its uncompiled twin is not in its card"):
        open_chain(file)


def test_missing_provider_leaves_the_cpu_and_the_reason(squares_files: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if set(onnxruntime.get_available_providers()) & {"CUDAExecutionProvider", "TensorrtExecutionProvider"}:
        pytest.skip("this machine's ONNX Runtime has them")
    waits: list[str] = []

    def waiting(what: str, seconds: float) -> contextlib.AbstractContextManager[None]:
        assert seconds >= 60
        waits.append(what)
        return contextlib.nullcontext()

    engine = open_chain(
        squares_files / "emotion.tflite", runtime="onnx", provider="tensorrt", waiting=waiting
    )
    assert engine.runtime.name.endswith(", cpu, 1 thread")
    first, second, third = engine.reason.split("; ", 1)[0], *engine.passed_over
    assert first == "onnx"
    assert second.startswith("tensorrt: onnxruntime ")
    assert 'provider "cuda" is not there or does not load' in third
    # Long engine builds are declared to the watchdog.
    assert waits == ["TensorRT loads emotion.onnx", "CUDA loads emotion.onnx"]


def test_cpu_with_wrong_outputs_is_an_error(tmp_path: Path) -> None:
    write_compiled_model(tmp_path, right=False)
    card = json.loads((tmp_path / "emotion.json").read_text())
    # The compiled file's wrong vectors, as if they were the uncompiled one's.
    shutil.copy(tmp_path / "emotion.tflite", tmp_path / "emotion.edgetpu.tflite")
    card["files"]["emotion.edgetpu.tflite"] = card["files"]["emotion.tflite"]
    (tmp_path / "emotion.json").write_text(json.dumps(card))
    with pytest.raises(EdgeError, match=r"cpu, 1 thread: 8 golden pictures, probabilities differ by up to "):
        open_chain(tmp_path / "emotion.edgetpu.tflite", runtime="cpu")


def test_model_without_golden_vectors_runs_on_the_cpu_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_compiled_model(tmp_path)
    card = json.loads((tmp_path / "emotion.json").read_text())
    del card["files"]["emotion.golden.npz"]
    (tmp_path / "emotion.json").write_text(json.dumps(card))
    engine = open_chain(tmp_path / "emotion.tflite")
    assert ", cpu, " in engine.runtime.name
    assert engine.reason.startswith("auto; edgetpu: cannot be verified: ")
    assert "lists 0 files *.golden.npz" in caplog.text


@pytest.mark.parametrize("mirror", [True, False])
def test_mirror_image_counts_equally_if_enabled(mirror: bool) -> None:
    classifier = open_chain(MODEL_FILE, mirror=mirror).classifier
    golden = read_golden(read_model(MODEL_FILE))
    for picture in golden.pictures:
        once, other = np.array(classifier.scores(picture)), np.array(classifier.scores(picture[:, ::-1]))
        wanted = (once + other) / 2 if mirror else once
        assert classifier.opinion(picture) == pytest.approx(wanted)
    moved = [
        np.abs(np.subtract(classifier.scores(p), classifier.scores(p[:, ::-1]))).max()
        for p in golden.pictures
    ]
    assert max(moved) > 0.01  # the two differ, or the test could not fail


def test_mirror_defaults_to_on_for_the_cpu() -> None:
    assert open_chain(MODEL_FILE).classifier.mirror
    assert not open_chain(MODEL_FILE, mirror=False).classifier.mirror
