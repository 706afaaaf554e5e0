"""`quantize card`: third-party detectors, from file to faces."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.__main__ import main as edge
from edge.analysis.detectors import open_detector
from edge.types import Box, EdgeError, Image
from quantize.__main__ import main


@pytest.fixture
def detectors(shared_data: Path) -> Path:
    return shared_data / "models/detectors"


@pytest.fixture
def blazeface(detectors: Path, tmp_path: Path) -> Path:
    file = detectors / "face_detection_short_range.tflite"
    assert main(["card", str(file), "--out", str(tmp_path / "out")]) == 0
    return tmp_path / "out" / file.name


@pytest.fixture
def portrait(shared_data: Path) -> Image:
    return np.asarray(cv2.imread(str(shared_data / "videos/single_face.jpg")), np.uint8)


def test_blazeface_finds_face_and_eyes_in_color_and_luma(blazeface: Path, portrait: Image) -> None:
    detector = open_detector("ssd", file=blazeface)
    assert detector.long_side == 128
    for image in (portrait, np.asarray(cv2.cvtColor(portrait, cv2.COLOR_BGR2GRAY), np.uint8)):
        (face,) = detector.detect(image)
        assert face.box.iou(Box(155, 152, 237, 237)) > 0.75
        assert face.score > 0.8
        assert face.eyes is not None
        (left_x, left_y), (right_x, right_y) = face.eyes
        x, y = face.box.center
        assert left_x < x < right_x
        assert max(left_y, right_y) < y


def test_wide_picture_is_padded_and_its_face_stays_in_place(blazeface: Path, portrait: Image) -> None:
    wide = np.zeros((562, 1000, 3), np.uint8)
    wide[:, 300:872] = portrait[:562]
    (face,) = open_detector("ssd", file=blazeface).detect(wide)
    assert face.box.iou(Box(455, 152, 237, 237)) > 0.7


def test_mismatched_long_side_is_rejected_with_the_reason(
    blazeface: Path, shared_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(blazeface.parent)  # the config.toml in the current directory sets long_side
    arguments = ["detect", str(shared_data / "videos/single_face.jpg"), "--detector-file", str(blazeface)]
    assert edge([*arguments, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["faces"]) == 1
    assert edge([*arguments, "--long-side", "320"]) == 78
    assert capsys.readouterr().err == (
        f"{blazeface}: takes 128x128 pixels only, found detector.long_side = 320; "
        "set detector.long_side = 128\n"
    )


def test_edge_tpu_build_gets_a_card_but_needs_the_chip_to_run(detectors: Path, tmp_path: Path) -> None:
    file = detectors / "face-detector-quantized_edgetpu.tflite"
    assert main(["card", str(file), "--out", str(tmp_path)]) == 0
    card = json.loads((tmp_path / "face-detector-quantized_edgetpu.json").read_text())
    assert (card["kind"], card["decode"]["form"]) == ("detector", "anchors")
    with pytest.raises(EdgeError, match=r"_edgetpu\.tflite: compiled for the Edge TPU, and its uncomp"):
        open_detector("ssd", file=tmp_path / file.name)


def test_unknown_format_is_named_and_nothing_written(
    detectors: Path, tmp_path: Path, squares_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for file, message in (
        (detectors / "face_detection_yunet_2023mar.onnx", "not a TFLite file; "),
        (squares_files / "emotion.tflite", "input (1, 48, 48, 1), outputs (1, 7); expected MediaPipe"),
        (tmp_path / "missing.tflite", "No such file"),
    ):
        assert main(["card", str(file), "--out", str(out)]) == 1
        assert capsys.readouterr().err.startswith(f"{file}: {message}")
    assert not out.exists()
