"""`emotion-edge check` as a user runs it."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.detectors import FACES
from edge.settings.shown import toml
from edge.settings.tables import MODEL_FILE
from edge.settings.toml_lines import tomllib
from tests.gpu_stub import write_onnx_classifier

ROOT = Path(__file__).resolve().parents[1]


def check(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("EMOTION_EDGE_")}
    return subprocess.run(
        [sys.executable, "-m", "edge", "check", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=120,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_valid_configuration_is_printed_with_origins(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[mqtt]\nhost = "broker.lan"\nusername = "me"\n[[camera]]\nname = "door"\n'
        'source = "rtsp://me:hunter2@cam/1?sessionid=hunter2"\n[[camera]]\n'
    )
    done = check(tmp_path, "--config", "c.toml",
                 EMOTION_EDGE_MQTT__PASSWORD="hunter2", EMOTION_EDGE_MQTT__FACES_HZ="0.5")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "hunter2" not in done.stdout
    lines = [" ".join(line.split()) for line in done.stdout.split("\n")]
    assert lines[0] == "# c.toml: no mistakes"
    assert 'host = "broker.lan" # c.toml:2' in lines
    assert 'password = "********" # environment: EMOTION_EDGE_MQTT__PASSWORD' in lines
    assert "# password_file is not set" in lines
    assert "port = 1883" in lines
    assert f"# which tries first: ssd ({FACES})" in lines
    printed = tomllib.loads(done.stdout)
    assert printed["mqtt"]["faces_hz"] == 0.5
    assert [camera["name"] for camera in printed["camera"]] == ["door", "cam"]
    assert printed["camera"][0]["source"] == "rtsp://********@cam/1?sessionid=********"


@pytest.mark.parametrize("path", ["/mqtt?jwt=hunter2", "/hunter2hunter2hunter2hunter2/mqtt"])
def test_websocket_path_token_is_not_printed(tmp_path: Path, path: str) -> None:
    text = f'[mqtt]\ntransport = "websockets"\npath = "{path}"\n'
    (tmp_path / "c.toml").write_text(text)
    done = check(tmp_path, "--config", "c.toml")
    assert done.returncode == 0
    assert 'path = "/' in done.stdout
    assert "hunter2" not in done.stdout
    (tmp_path / "c.toml").write_text(text.replace("/mqtt", "/mqtt /"))
    done = check(tmp_path, "--config", "c.toml")
    assert (done.returncode, "mqtt.path: found " in done.stderr) == (78, True)
    assert "hunter2" not in done.stderr


def test_missing_accelerator_is_reported_but_is_no_error(tmp_path: Path) -> None:
    write_onnx_classifier(tmp_path)
    model = f'[model]\nfile = "{tmp_path}/emotion.onnx"\nruntime = "onnx"\nprovider = "tensorrt"\n'
    (tmp_path / "c.toml").write_text(model)
    done = check(tmp_path, "--config", "c.toml")
    assert (done.returncode, done.stderr) == (0, "")
    step = "install onnxruntime-gpu (on a Jetson the wheel that NVIDIA makes for its JetPack)"
    assert [line for line in done.stdout.split("\n") if line.startswith("# model: ")] == [
        f"# model: {kind}: the ONNX Runtime here was built without it; {step}; the next "
        "runtime or the CPU is used instead"
        for kind in ("tensorrt", "cuda")
    ]
    assert tomllib.loads(done.stdout)["model"]["provider"] == "tensorrt"
    replayed = check(tmp_path, "--config", "c.toml", "--model")
    assert replayed.returncode == 0
    assert "TensorRT: onnxruntime " in replayed.stderr


def test_runtime_without_its_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[model]\nruntime = "edgetpu"\n')
    done = check(tmp_path, "--config", "c.toml")
    assert done.returncode == 78
    assert "emotion.tflite: no .edgetpu.tflite file in its card; `quantize" in done.stderr


def test_invalid_configuration_exits_78_with_a_line_per_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[mqtt]\nprot = 1883\nport = 0\n")
    done = check(tmp_path, "--config", "config.toml")
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr == (
        "config.toml:2: mqtt.prot: unknown key; did you mean 'port'?\n"
        "config.toml:3: mqtt.port: found 0; expected a whole number from 1 to 65535\n"
    )


def test_missing_configuration_exits_78(tmp_path: Path) -> None:
    done = check(tmp_path, "--config", "none.toml")
    assert (done.returncode, done.stderr) == (
        78, "none.toml: no such file or directory; name a readable TOML file\n"
    )  # fmt: skip


@pytest.mark.parametrize("value", ['a "quoted" \\ one', "käse 😀", "tab\t\x07del\x7f", "", True, -3, 1e-9])
def test_printed_values_round_trip_through_toml(value: str | int | float | bool) -> None:
    assert tomllib.loads(f"key = {toml(value)}") == {"key": value}


def test_check_model_replays_golden_vectors(squares_files: Path) -> None:
    done = check(squares_files, "--model", "emotion.int8.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"emotion\.int8\.onnx: onnxruntime \S+, cpu, 1 thread: 8 golden pictures, "
        r"probabilities differ by at most 0\.\d{4}, 0\.0938 is allowed\n",
        done.stdout,
    )


def test_check_model_without_file_replays_the_configured_one(squares_files: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'[model]\nfile = "{squares_files}/emotion.tflite"\nthreads = 2\n')
    done = check(tmp_path, "--config", "c.toml", "--model")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{squares_files}/emotion.tflite: ai-edge-litert" in done.stdout
    assert "2 threads: 8 golden pictures" in done.stdout


def test_model_with_different_outputs_exits_1_with_one_line(tmp_path: Path) -> None:
    """Simulates a faulty accelerator: the file is intact but its outputs are wrong."""
    for path in MODEL_FILE.parent.glob("emotion.*"):
        shutil.copy(path, tmp_path)
    vectors = tmp_path / "emotion.golden.npz"
    with np.load(vectors) as archive:
        arrays = dict(archive)
    arrays["scores"] = arrays["scores"][:, :, ::-1]
    np.savez(vectors, **arrays)
    card = json.loads((tmp_path / "emotion.json").read_text())
    content = vectors.read_bytes()
    card["files"][vectors.name] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    (tmp_path / "emotion.json").write_text(json.dumps(card))
    done = check(tmp_path, "--model", "emotion.tflite")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"emotion\.tflite: ai-edge-litert .*: 8 golden pictures, probabilities differ by up to "
        r"[01]\.\d{4} \(picture \d\), 0\.0938 is allowed; this runtime differs from .*\n",
        done.stderr,
    )


@pytest.mark.parametrize("key", ["model.file", "detector.file", "mqtt.ca_file", "mqtt.password_file"])
def test_address_in_place_of_a_file_is_rejected_without_secrets(tmp_path: Path, key: str) -> None:
    table, _, name = key.partition(".")
    variable = f"EMOTION_EDGE_{table}__{name}".upper()
    address = "https://me:hunter2@host/models/emotion.tflite?token=hunter2"
    (tmp_path / "c.toml").write_text(f'[{table}]\n{name} = "{address}"\n')
    (tmp_path / "empty.toml").write_text("")
    for done in (
        check(tmp_path, "--config", "c.toml"),
        check(tmp_path, "--config", "empty.toml", **{variable: address}),
    ):
        assert done.returncode == 78
        assert "expected the name of a readable file" in done.stderr
        assert "hunter2" not in done.stdout + done.stderr
