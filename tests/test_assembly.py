"""Build from settings: what the node reports about itself."""

import re
import shutil
from pathlib import Path

import pytest

from edge.analysis.detectors import FACES
from edge.mqtt.broker import Broker
from edge.node.build import build_info, client_id_of, open_configured_detector, open_engine
from edge.settings import Settings
from edge.settings.tables import Node, default_node_id


def test_info_gives_file_names_without_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setattr("edge.analysis.detectors.FACES", tmp_path / "faces.tflite")
    settings = Settings()
    info = build_info(settings, open_engine(settings), open_configured_detector(settings))
    assert info.detector == "haar"
    assert info.detector_reason == (
        "haar (haarcascade_frontalface_default.xml), because no network faces.tflite in this "
        "installation; name one in detector.file; "
        "no YuNet file at face_detection_yunet_2023mar.onnx; "
        "`emotion-edge models fetch yunet` gets it"
    )


def test_info_hides_the_folder_of_a_configured_file(tmp_path: Path) -> None:
    for place in ("of o'neil (2)", "a b"):
        folder = tmp_path / place
        folder.mkdir()
        for file in FACES.parent.glob("faces.*"):
            shutil.copy(file, folder)
        settings = Settings(detector={"file": folder / FACES.name})  # type: ignore[arg-type]
        info = build_info(settings, open_engine(settings), open_configured_detector(settings))
        assert info.detector_reason.startswith("ssd (faces.tflite, faces")
        assert "/" not in info.detector_reason


NODES = (
    default_node_id(),
    "a",
    "ab",
    "a-b",
    "a_b",
    "kitchen-pi",
    "-_-",
    "x" * 64,
    "x" * 63 + "y",
)


def test_client_ids_are_valid_everywhere_and_unique(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = []
    for machine in (default_node_id(), "emotion-0a1b2c", "emotion-0a1b2d"):
        monkeypatch.setattr("edge.node.build.default_node_id", lambda machine=machine: machine)
        ids += [client_id_of(Settings(node=Node(id=node))) for node in NODES]
        assert ids[-len(NODES) :] == [client_id_of(Settings(node=Node(id=node))) for node in NODES]
    assert len(set(ids)) == 3 * len(NODES)
    assert [id_ for id_ in ids if not re.fullmatch("[0-9A-Za-z]{1,23}", id_)] == []
    assert ids[5].startswith("kitchenpi")


def test_broker_is_built_from_the_mqtt_table(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("")
    part = {"host": "nas", "port": 8883, "username": "u", "password": "p", "tls": True, "keepalive_s": 20}
    other = {"ca_file": tmp_path / "ca", "transport": "websockets", "path": "/m", "version": "3.1.1"}
    settings = Settings.model_validate({"mqtt": part | other})
    assert Broker.of(settings.mqtt, "n") == Broker(client_id="n", **part, **other)
    assert Broker.of(Settings().mqtt, "n") == Broker("localhost", client_id="n")
