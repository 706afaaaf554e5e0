"""The daemon as a process: a real broker, real signals, real pictures."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from edge.types import LABELS
from tests.broker import Mosquitto, Subscriber, broker, eventually, subscriber  # noqa: F401
from tests.process import Start, emotion_edge, start  # noqa: F401

MODELS = Path(__file__).resolve().parents[1] / "edge" / "models"


def configuration(port: int, *cameras: str) -> str:
    tables = "\n".join(f"[[camera]]\n{camera}" for camera in cameras)
    return f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\nfaces_hz = 10\n{tables}\n'


PORTRAITS = 'name = "hall"\nsource = "portraits"\nfaces = 2\n'


def bodies(client: Subscriber, topic: str) -> list[Any]:
    return [json.loads(payload) for payload in client.payloads(topic)]


def test_faces_reach_a_subscriber_as_documented(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as client:
        daemon = start(configuration(broker.port, PORTRAITS))
        assert eventually(lambda: len(client.payloads("emotion-edge/pi/hall/event")) >= 3)
        assert daemon.stop()[0] == 0
        assert eventually(lambda: client.last("emotion-edge/pi/status") == "offline")
        assert client.payloads("emotion-edge/pi/status") == ["online", "offline"]
        assert client.payloads("emotion-edge/pi/hall/status")[-2:] == ["online", "offline"]
        (info,) = bodies(client, "emotion-edge/pi/info")
        assert (info["labels"], info["cameras"]) == (list(LABELS), ["hall"])
        assert client.payloads("emotion-edge/pi/health")
        first, second, *_ = events = bodies(client, "emotion-edge/pi/hall/event")
        assert {first["track"], second["track"]} == {1, 2}
        assert first["event_type"] == second["event_type"] == "face_appeared"
        assert len({event["id"] for event in events}) == len(events)
        state = bodies(client, "emotion-edge/pi/hall/state")[-1]
        assert (state["present"], state["faces"]) == ("ON", 2)
        faces = bodies(client, "emotion-edge/pi/hall/faces")[-1]
        assert faces["size"] == [640, 480]
        assert [sorted(face["scores"]) for face in faces["faces"]] == [sorted(LABELS)] * 2
        for face in faces["faces"]:
            assert sum(face["scores"].values()) == pytest.approx(1, abs=0.01)
            assert all(0 <= side <= 1 for side in face["box"])
    switches = {f"hall/{switch}/state" for switch in ("enabled", "min_confidence", "hold")}
    own = {"status", "info", "health", "hall/status", "hall/state", *switches}
    retained = {f"emotion-edge/pi/{topic}" for topic in own}
    retained |= {f"homeassistant/device/{device}/config" for device in ("pi", "pi/hall")}
    with subscriber(broker.port) as late:
        assert late.retained() == retained


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.quiet_clock
def test_signal_stops_the_daemon_within_2_s(
    number: signal.Signals,
    broker: Mosquitto,
    start: Start,
) -> None:
    for _ in range(3):  # a busy machine may take longer, now and then
        with subscriber(broker.port) as client:
            daemon = start(configuration(broker.port, PORTRAITS))
            assert eventually(lambda: "online" in client.payloads("emotion-edge/pi/hall/status"))
            code, seconds = daemon.stop(number)
        assert code == 0
        assert "Traceback" not in daemon.log
        if seconds < 2.0:
            return
    pytest.fail(f"{seconds:.1f} s")


def test_late_and_restarted_broker_is_served(
    tmp_path: Path,
    start: Start,
) -> None:
    mosquitto = Mosquitto(tmp_path)
    daemon = start(configuration(mosquitto.port, PORTRAITS))
    try:
        assert not eventually(lambda: daemon.process.poll() is not None, 3)  # it keeps waiting
        for _ in range(2):
            mosquitto.restart()  # without persistence: retained messages are lost
            with subscriber(mosquitto.port, "emotion-edge/#") as client:
                expected = {"status", "info", "hall/status", "hall/state"}
                assert eventually(
                    lambda: (
                        expected  # noqa: B023
                        <= {topic.removeprefix("emotion-edge/pi/") for topic, _, _ in client.messages}
                    )
                )
                assert client.last("emotion-edge/pi/status") == "online"
            mosquitto.kill()
        code, seconds = daemon.stop()
        assert (code, seconds < 5.0) == (0, True)
        assert (
            1 <= daemon.log.count("WARNING") <= 4
        )  # an outage is logged when it begins, not at each attempt
    finally:
        mosquitto.kill()


def test_missing_camera_is_offline_and_the_other_keeps_running(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as client:
        missing = 'name = "porch"\nsource = "/dev/video99"\n'
        daemon = start(configuration(broker.port, PORTRAITS, missing))
        assert eventually(lambda: client.payloads("emotion-edge/pi/hall/event"))
        assert client.last("emotion-edge/pi/porch/status") == "offline"
        assert bodies(client, "emotion-edge/pi/porch/state")[-1]["emotion"] == "none"
        assert daemon.stop()[0] == 0
    assert daemon.log.count("/dev/video99") == 1  # reported once despite retries


def test_damaged_model_is_rejected_in_one_line(tmp_path: Path) -> None:
    for name in ("emotion.tflite", "emotion.json"):
        shutil.copy(MODELS / name, tmp_path / name)
    content = bytearray((tmp_path / "emotion.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "emotion.tflite").write_bytes(content)
    (tmp_path / "config.toml").write_text('[model]\nfile = "emotion.tflite"\n')
    done = emotion_edge("run", "--config", tmp_path / "config.toml")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "emotion.tflite: sha256" in done.stderr


def test_misspelt_key_is_rejected_with_line_and_suggestion(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[mqtt]\nhost = "localhost"\nprot = 1883\n')
    done = emotion_edge("run", "--config", config)
    assert done.returncode == 78
    assert done.stderr == f"{config}:3: mqtt.prot: unknown key; did you mean 'port'?\n"
