"""The face detector on accelerators: same runtime chain, same outputs, CPU fallback after a fault.

The chips are stubs: tests/edgetpu_stub.py for the Edge TPU, tests/gpu_stub.py for CUDA and TensorRT.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.detectors import open_detector
from edge.analysis.runtimes import chain
from edge.analysis.runtimes.chip import Chip
from edge.sources.portraits import Portraits
from edge.types import ConfigError, EdgeError, Face
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.detector_files import dark_picture, write_compiled_detector, write_onnx_detector
from tests.edgetpu_stub import Stub, stub  # noqa: F401
from tests.gpu_stub import Gpu, chips, gpu  # noqa: F401
from tests.test_end_to_end import PORTRAITS, configuration
from tests.test_live import Start, engine, settings, start  # noqa: F401
from tests.test_service import Manager, Run, manager, run  # noqa: F401

IMAGE = Portraits(faces=2, fps=10, paced=False).render(0)[0]


def same(ones: list[Face], others: list[Face]) -> bool:
    return len(ones) == len(others) and all(
        one.box.iou(other.box) > 0.9 for one, other in zip(ones, others, strict=True)
    )


@pytest.mark.parametrize("runtime", ["auto", "onnx"])
def test_onnx_file_finds_faces_at_the_expected_place(tmp_path: Path, runtime: chain.Where) -> None:
    detector = open_detector("auto", file=write_onnx_detector(tmp_path), runtime=runtime)
    (face,) = detector.find(dark_picture((1, 3)))
    assert face.box == pytest.approx((120 - 32, 40 - 32 * math.exp(0.5), 64, 64 * math.exp(0.5)), abs=0.1)
    assert face.score == pytest.approx(1 / (1 + math.exp(-4)), abs=0.01)
    assert "onnxruntime " in detector.description
    assert (detector.state, detector.finder.shareable) == ("ok", True)
    # The network has one fixed shape: other pictures are padded.
    tall = np.full((640, 360), 20, np.uint8)
    tall[80:160, 80:160] = 255
    (face,) = detector.find(tall)
    assert face.box.center == pytest.approx((120, 120), abs=40)


def test_onnx_twin_is_found_through_the_tflite_card(tmp_path: Path) -> None:
    file = write_onnx_detector(tmp_path)
    detector = open_detector("ssd", file=file, runtime="onnx", provider="cpu")
    assert detector.finder.chosen is not None
    assert detector.finder.chosen.model.path == file
    with pytest.raises(ConfigError, match=r"faces\.tflite: no \.onnx file in its card; .*detector\.runtime"):
        open_detector("ssd", runtime="onnx")


@pytest.mark.parametrize("kind", ["ssd", "auto"])
def test_long_side_that_does_not_fit_a_fixed_shape_is_rejected(tmp_path: Path, kind: str) -> None:
    file = write_onnx_detector(tmp_path)
    with pytest.raises(ConfigError) as caught:
        open_detector(kind, file=file, long_side=240)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"{file}: takes 320x256 pixels only, found detector.long_side = 240; set detector.long_side = 320"
    )


@pytest.mark.usefixtures("stub", "chips")
def test_auto_with_edge_tpu_keeps_the_ssd_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_compiled_detector(tmp_path)
    monkeypatch.setattr("edge.analysis.detectors.FACES", tmp_path / "faces.tflite")
    with pytest.raises(ConfigError, match=r"faces\.edgetpu\.tflite: takes 448x352 pixels only, found"):
        open_detector("auto", long_side=480)
    assert open_detector("auto", long_side=480, runtime="cpu").finder.name == "ssd"


@pytest.mark.usefixtures("stub", "chips")
@pytest.mark.parametrize("file", ["faces.tflite", "faces.edgetpu.tflite"])
def test_edge_tpu_finds_the_faces_of_the_cpu(tmp_path: Path, file: str) -> None:
    write_compiled_detector(tmp_path)
    detector = open_detector("ssd", file=tmp_path / file, runtime="edgetpu")
    assert ", edgetpu, " in detector.description
    assert detector.state == "ok"
    faces = detector.find(IMAGE)
    assert len(faces) == 2
    on_cpu = open_detector("ssd", file=tmp_path / "faces.tflite", runtime="cpu")
    assert ", cpu, " in on_cpu.description
    assert same(faces, on_cpu.find(IMAGE))


def break_chip(fault: str, chip: Chip, stub: Stub) -> None:
    """Inject *fault*; "unplugged" kills the child and lets the library find no chip."""
    if fault == "unplugged":
        stub.set("fail")
        assert chip.pid is not None
        os.kill(chip.pid, signal.SIGKILL)
    else:
        stub.set(fault)
    time.sleep(0.1)


@pytest.mark.parametrize("fault", ["hang", "abort", "unplugged"])
def test_cpu_takes_over_within_2_s_of_a_fault_and_chip_returns(
    tmp_path: Path, stub: Stub, chips: dict[str, Chip], fault: str
) -> None:
    chips["edgetpu"] = Chip("edgetpu", retry_s=(0.2, 0.4))
    detector = open_detector("ssd", file=write_compiled_detector(tmp_path))
    expected = detector.find(IMAGE)
    break_chip(fault, chips["edgetpu"], stub)
    began = time.monotonic()
    assert same(detector.find(IMAGE), expected)
    elapsed = time.monotonic() - began
    print(f"{fault}: the CPU's faces after {elapsed:.2f} s")
    assert elapsed < 2
    assert detector.state.startswith("edgetpu: ")
    assert f"; auto; {detector.state}" in detector.description
    stub.set("load")
    assert eventually(lambda: detector.state == "ok", 30)
    assert same(detector.find(IMAGE), expected)


@pytest.mark.usefixtures("stub", "chips")
def test_wrong_outputs_disqualify_the_chip(tmp_path: Path) -> None:
    detector = open_detector("ssd", file=write_compiled_detector(tmp_path, right=False))
    assert detector.state.startswith(
        "edgetpu: wrong answers: 2 golden pictures, outputs, as parts of their ranges, differ by up to "
    )
    assert ", cpu, 1 thread" in detector.description
    assert detector.finder.chosen is not None
    assert detector.finder.chosen.runtime.resizable  # the chip's fixed shape is gone


@pytest.mark.usefixtures("stub", "chips")
def test_compiled_file_without_its_twin_is_rejected(tmp_path: Path) -> None:
    file = write_compiled_detector(tmp_path)
    (tmp_path / "faces.tflite").unlink()
    with pytest.raises(EdgeError, match="for the Edge TPU, and its uncompiled twin is not in its card, for"):
        open_detector("ssd", file=file)


def test_gpu_finds_faces_and_cpu_takes_over_after_a_fault(
    tmp_path: Path, gpu: Gpu, chips: dict[str, Chip]
) -> None:
    detector = open_detector("ssd", file=write_onnx_detector(tmp_path), runtime="onnx", provider="cuda")
    (face,) = detector.find(dark_picture((1, 3)))
    assert ", cuda, " in detector.description
    gpu.set("fail")
    assert detector.find(dark_picture((1, 3))) == [face]
    assert detector.state == "cuda: fails: CUDA failure 700: an illegal memory access was encountered"
    gpu.set("load")
    assert eventually(lambda: detector.state == "ok", 30)
    assert chips["cuda"].pid is not None


@pytest.mark.usefixtures("stub")
def test_cameras_share_one_detector_and_reload_keeps_it(
    tmp_path: Path, chips: dict[str, Chip], start: Start
) -> None:
    write_compiled_detector(tmp_path)
    detector = {"kind": "ssd", "file": tmp_path / "faces.tflite"}
    home = start(settings("hall", "porch", detector=detector))
    pid = chips["edgetpu"].pid

    def detectors() -> set[int]:
        return {id(camera.pipeline.detector) for camera in home.live.cameras.values()}

    one = detectors()
    assert (len(one), home.live.runtime.detector) == (1, "ok")
    home.reload(settings("hall", "porch", "gate", detector=detector, report={"hold_s": 2}))
    assert detectors() == one
    home.reload(settings("hall", "porch", detector={**detector, "min_score": 0.7}))
    assert len(detectors()) == 1
    assert detectors() != one
    assert (home.live.runtime.detector, chips["edgetpu"].pid) == ("ok", pid)
    refused = home.reload(settings("hall", detector={**detector, "long_side": 240}))
    assert "takes 448x352 pixels only, found detector.long_side = 240" in refused.mistakes[0]
    assert home.live.runtime.detector == "ok"


def test_health_reports_gpu_loss_and_return_at_once(
    tmp_path: Path, gpu: Gpu, manager: Manager, run: Run, broker: Mosquitto
) -> None:
    file = write_onnx_detector(tmp_path)
    with subscriber(broker.port) as client:

        def states() -> list[str]:
            reported = [json.loads(one)["runtime"] for one in client.payloads("emotion-edge/pi/health")]
            assert {one["model"] for one in reported} <= {"ok"}
            return [one["detector"] for one in reported]

        analysis = "[analysis]\nskip_still = false\nadaptive_rate = false\n"
        part = f'[detector]\nfile = "{file}"\nruntime = "onnx"\nprovider = "cuda"\n'
        run(configuration(broker.port, PORTRAITS) + part + analysis, before=tmp_path / "gpu")
        assert eventually(lambda: "READY=1" in manager.lines())
        assert eventually(lambda: states()[-1:] == ["ok"])
        gpu.set("fail")
        began = time.monotonic()
        assert eventually(lambda: states()[-1].startswith("cuda: fails: CUDA failure 700"))
        print(f"health reported the fault after {time.monotonic() - began:.2f} s")
        info = json.loads(client.last("emotion-edge/pi/info") or "{}")
        assert ", cpu, 1 thread; onnx; cuda: fails: CUDA failure 700" in info["detector"]["reason"]
        gpu.set("load")
        assert eventually(lambda: states()[-1] == "ok", 60)
        assert eventually(lambda: ", cuda, 1 thread" in (client.last("emotion-edge/pi/info") or ""))
        assert client.last("emotion-edge/pi/hall/status") == "online"
