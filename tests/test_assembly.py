"""From settings to objects: what the node tells of itself."""

import shutil
from pathlib import Path

import pytest

from edge.assembly import build_info, open_configured_detector, open_engine
from edge.detectors import FACES
from edge.settings import Settings


def test_info_names_files_and_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("edge.detectors.FACES", tmp_path / "faces.tflite")
    settings = Settings()
    info = build_info(settings, open_engine(settings), open_configured_detector(settings))
    assert info.detector == "haar"
    assert info.detector_reason == (
        "haar, because no network faces.tflite in this installation; name one in detector.file; "
        "no YuNet file at face_detection_yunet_2023mar.onnx; "
        "`emotion-edge models fetch yunet` gets it"
    )


def test_info_names_no_folder_of_a_file_that_is_configured(tmp_path: Path) -> None:
    for place in ("of o'neil (2)", "a b"):
        folder = tmp_path / place
        folder.mkdir()
        for file in FACES.parent.glob("faces.*"):
            shutil.copy(file, folder)
        settings = Settings(detector={"file": folder / FACES.name})  # type: ignore[arg-type]
        info = build_info(settings, open_engine(settings), open_configured_detector(settings))
        assert info.detector_reason.startswith("ssd (faces.tflite, faces")
        assert "/" not in info.detector_reason
