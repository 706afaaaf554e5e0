"""Reloading the configuration of a running daemon: SIGHUP, request/reload, invalid files."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from edge.types import LABELS
from tests.broker import Mosquitto, Subscriber, broker, eventually, subscriber  # noqa: F401
from tests.contract import breach
from tests.gpu_stub import write_onnx_classifier
from tests.home_assistant_rules import entities
from tests.process import Start, start  # noqa: F401
from tests.test_commands import NODE, configuration, health, ready, request


def states(client: Subscriber, camera: str) -> list[Any]:
    return [json.loads(payload) for payload in client.payloads(f"{NODE}/{camera}/state") if payload]


def events(client: Subscriber, camera: str) -> list[tuple[str, int]]:
    found = [json.loads(payload) for payload in client.payloads(f"{NODE}/{camera}/event")]
    return [(event["event_type"], event["track"]) for event in found]


def retained(port: int) -> set[str]:
    """The retained topics about cameras."""
    with subscriber(port) as late:
        eventually(lambda: False, 0.5)
        return {topic for topic, _, old in late.messages if old and ("hall" in topic or "porch" in topic)}


def test_sighup_applies_changes_and_keeps_the_faces(
    broker: Mosquitto,
    start: Start,
) -> None:
    with subscriber(broker.port) as client:
        daemon = start(configuration(broker.port, "hall", "porch"))
        assert ready(client, "hall", "porch")
        was = events(client, "hall")
        opened = client.payloads(f"{NODE}/hall/status")

        text = configuration(broker.port, "hall", "attic") + "[report]\nhold_s = 7.5\n"
        daemon.config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        assert ready(client, "attic")
        assert client.last(f"{NODE}/hall/hold/state") == "7.5"
        assert json.loads(client.last(f"{NODE}/info") or "")["cameras"] == ["hall", "attic"]
        assert client.payloads(f"{NODE}/hall/status") == opened
        appeared = [event for event in events(client, "hall")[len(was) :] if event[0] == "face_appeared"]
        assert appeared == []  # no face was lost and found again
        # The porch's faces left, and none of its topics is still retained.
        assert events(client, "porch")[-1][0] == "face_left"
        assert client.last(f"{NODE}/porch/status") == ""
        assert not {topic for topic in retained(broker.port) if "porch" in topic}
        assert eventually(lambda: set(health(client)["cameras"]) == {"hall", "attic"})
        assert daemon.stop()[0] == 0
    assert "configuration reloaded: changed report, camera" in daemon.log


def test_invalid_file_changes_nothing_and_is_in_health_until_fixed(
    broker: Mosquitto,
    start: Start,
) -> None:
    with subscriber(broker.port) as client:
        good = configuration(broker.port, "hall")
        daemon = start(good)
        assert ready(client, "hall")
        assert health(client)["config"] == {"ok": True}

        daemon.config.write_text(good + "[report]\nhold = 1\nmargin = 7\n")
        answer = request(client, "reload", b'{"transaction":"bad"}')
        line = good.count("\n") + 2
        first = f"{daemon.config.name}:{line}: report.hold: unknown key; did you mean 'hold_s'?"
        second = f"{daemon.config.name}:{line + 1}: report.margin: found 7; expected a number from 0 to 0.5"
        assert answer == {"status": "error", "error": f"{first}\n{second}", "transaction": "bad"}
        assert eventually(lambda: health(client)["config"] == {"ok": False, "error": first})

        daemon.config.write_text("[mqtt\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert eventually(
            lambda: health(client)["config"].get("error", "").startswith(f"{daemon.config.name}:1: ")
        )
        daemon.config.unlink()
        daemon.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: "no such file" in health(client)["config"].get("error", "").lower())
        faces = len(client.payloads(f"{NODE}/hall/faces"))
        assert eventually(lambda: len(client.payloads(f"{NODE}/hall/faces")) > faces)

        daemon.config.write_text(good)
        assert request(client, "reload", b"{}") == {"status": "ok"}
        assert eventually(lambda: health(client)["config"] == {"ok": True})
        assert daemon.stop()[0] == 0
    assert "Traceback" not in daemon.log


def test_keys_that_need_a_restart_are_in_response_and_health(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as client:
        daemon = start(configuration(broker.port, "hall"))
        assert ready(client, "hall")
        changed = configuration(broker.port, "hall").replace('id = "pi"', 'id = "other"')
        daemon.config.write_text(changed.replace("[mqtt]\n", '[mqtt]\nprefix = "house"\n'))
        assert request(client, "reload", b"{}") == {"status": "ok", "restart": ["node.id", "mqtt.prefix"]}
        assert eventually(lambda: health(client)["config"].get("restart") == ["node.id", "mqtt.prefix"])
        assert not [topic for topic, _, _ in client.messages if topic.startswith("house")]


def test_network_with_other_labels_announces_them_both_ways(
    broker: Mosquitto, start: Start, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    eight = ("contempt", *LABELS)
    file = write_onnx_classifier(tmp_path, eight)
    seven = configuration(broker.port, "hall")

    def options(client: Subscriber) -> list[str]:
        topic = "homeassistant/device/pi/hall/config"
        found: Any = entities(topic, (client.last(topic) or "{}").encode())
        return list(found["emotion"]["options"])

    def labels(client: Subscriber) -> tuple[str, ...]:
        """Labels of the last published faces."""
        faces = json.loads(client.last(f"{NODE}/hall/faces") or "{}").get("faces")
        return tuple(faces[0]["scores"]) if faces else ()

    with subscriber(broker.port) as client:
        daemon = start(seven)
        assert ready(client, "hall")
        assert eventually(lambda: labels(client) == LABELS)
        assert options(client) == ["none", "uncertain", *LABELS]
        for text, those in ((f'{seven}[model]\nfile = "{file}"\n', eight), (seven, LABELS)):
            daemon.config.write_text(text)
            daemon.process.send_signal(signal.SIGHUP)
            assert eventually(lambda those=those: labels(client) == those)
            assert eventually(lambda those=those: options(client) == ["none", "uncertain", *those])
            assert json.loads(client.last(f"{NODE}/info") or "")["labels"] == list(those)
            for topic in ("state", "faces", "event"):
                assert breach(topic, client.payloads(f"{NODE}/hall/{topic}")[-1], those) is None
        assert daemon.stop()[0] == 0
    assert "Traceback" not in daemon.log


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    (mask,) = re.findall(r"SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_sighup_during_startup_does_not_end_the_daemon(
    broker: Mosquitto,
    start: Start,
) -> None:
    with subscriber(broker.port) as client:
        daemon = start(configuration(broker.port, "hall"))
        assert eventually(lambda: handles(daemon.process.pid, signal.SIGHUP))
        daemon.config.write_text(configuration(broker.port, "hall") + "[report]\nhold_s = 3\n")
        daemon.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: client.last(f"{NODE}/hall/hold/state") == "3")
        assert daemon.stop()[0] == 0
