"""Switches and requests against the daemon as a process: a real broker, real pictures."""

from __future__ import annotations

import json
import signal
from typing import Any

import psutil

from tests.broker import Mosquitto, Subscriber, broker, eventually, subscriber  # noqa: F401
from tests.process import Start, start  # noqa: F401

NODE = "emotion-edge/pi"
HALL = f"{NODE}/hall"


def configuration(port: int, *cameras: str) -> str:
    camera = '[[camera]]\nname = "{}"\nsource = "portraits"\nwidth = 320\nheight = 240\n'
    tables = "".join(map(camera.format, cameras))
    return f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{tables}'


def ask(heard: Subscriber, command: str, payload: bytes) -> Any:
    """What the node answers to a request."""
    topic = f"{NODE}/response/{command}"
    before = len(heard.payloads(topic))
    heard.publish(f"{NODE}/request/{command}", payload)
    assert eventually(lambda: len(heard.payloads(topic)) > before), f"no answer to {command}"
    assert len(heard.payloads(topic)[-1].encode()) <= 2048
    return json.loads(heard.payloads(topic)[-1])


def ready(heard: Subscriber, *cameras: str) -> bool:
    def sees(camera: str) -> bool:
        # On a connect events come after the subscriptions: only then is a command heard.
        reported = heard.last(f"{NODE}/{camera}/state") or ""
        return '"present":"ON"' in reported and bool(heard.payloads(f"{NODE}/{camera}/event"))

    return eventually(lambda: all(sees(camera) for camera in cameras))


def health(heard: Subscriber) -> Any:
    return json.loads(heard.last(f"{NODE}/health") or "{}")


def test_switches_act_at_once_and_hold_over_a_kill(
    broker: Mosquitto,
    start: Start,
) -> None:
    with subscriber(broker.port) as heard:
        daemon = start(configuration(broker.port, "hall", "porch"))
        assert ready(heard, "hall", "porch")
        faces = json.loads(heard.last(f"{HALL}/state") or "")["faces"]
        threads = psutil.Process(daemon.process.pid).num_threads()
        heard.publish(f"{HALL}/enabled/set", b"off")
        assert eventually(lambda: heard.last(f"{HALL}/enabled/state") == "OFF")
        assert heard.last(f"{HALL}/status") == "disabled"
        assert eventually(lambda: '"emotion":"none"' in (heard.last(f"{HALL}/state") or ""))
        events = [json.loads(payload) for payload in heard.payloads(f"{HALL}/event")]
        assert len([event for event in events if event["event_type"] == "face_left"]) == faces
        assert json.loads(heard.last(f"{HALL}/faces") or "")["faces"] == []
        # Its capture thread and that one's supervisor have ended: nobody is left to read a picture.
        assert psutil.Process(daemon.process.pid).num_threads() == threads - 2

        reported = len(heard.messages)
        pictures = len(heard.payloads(f"{NODE}/porch/faces"))
        assert eventually(lambda: len(heard.payloads(f"{NODE}/porch/faces")) > pictures + 3)
        assert {topic for topic, _, _ in heard.messages[reported:] if topic.startswith(HALL)} == set()

        heard.publish(f"{NODE}/porch/min_confidence/set", b"1")
        # No blended probability is that high: every emotion becomes uncertain.
        uncertain = '"emotion":"uncertain"'
        assert eventually(lambda: uncertain in (heard.last(f"{NODE}/porch/state") or ""))
        heard.publish(f"{HALL}/hold/set", b"2.5")
        assert eventually(lambda: heard.last(f"{HALL}/hold/state") == "2.5")

        daemon.stop(signal.SIGKILL)
        heard.messages.clear()
        start(configuration(broker.port, "hall", "porch"))
        assert eventually(lambda: heard.last(f"{NODE}/porch/status") == "online")
        # Where the camera was quicker than the broker, its status comes before the switches.
        assert eventually(lambda: heard.last(f"{NODE}/porch/min_confidence/state") == "1")
        assert eventually(lambda: heard.last(f"{HALL}/hold/state") == "2.5")
        assert eventually(lambda: heard.last(f"{HALL}/status") == "disabled")
        assert heard.last(f"{HALL}/enabled/state") == "OFF"
        assert ready(heard, "porch")
        heard.publish(f"{HALL}/enabled/set", b"ON")
        assert eventually(lambda: heard.last(f"{HALL}/status") == "online")
        # A camera that opens at once is online before its switch is reported.
        assert eventually(lambda: heard.last(f"{HALL}/enabled/state") == "ON")
        assert ready(heard, "hall")


def test_requests_are_answered_with_their_transaction(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as heard:
        start(configuration(broker.port, "hall"))
        assert ready(heard, "hall")
        info = ask(heard, "info", b'{"transaction":"one"}')
        assert (info["status"], info["transaction"], info["info"]["cameras"]) == ("ok", "one", ["hall"])
        assert ask(heard, "clear_outbox", b'{"transaction":2}')["transaction"] == 2
        opened = heard.payloads(f"{HALL}/status").count("online")
        assert ask(heard, "restart_camera", b'{"camera":"hall"}') == {"status": "ok"}
        assert eventually(lambda: heard.payloads(f"{HALL}/status").count("online") > opened)
        assert ask(heard, "restart_camera", b'{"camera":"attic"}')["status"] == "error"
        assert ask(heard, "info", b"\xff") == {"status": "error", "error": "not UTF-8 text"}
        assert ask(heard, "reload", b'{"transaction":"t"}') == {"status": "ok", "transaction": "t"}
        assert eventually(lambda: health(heard)["commands"] == {"accepted": 4, "refused": 2})
        retained = {topic for topic, _, old in heard.messages if old}
        assert not {topic for topic in retained if "/response/" in topic}


def test_retained_commands_are_ignored_and_logged_once(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as heard:
        heard.publish(f"{HALL}/enabled/set", b"OFF", retain=True)
        heard.publish(f"{NODE}/request/reload", b"{}", retain=True)
        daemon = start(configuration(broker.port, "hall"))
        assert ready(heard, "hall")
        assert heard.last(f"{HALL}/enabled/state") == "ON"
        assert heard.payloads(f"{NODE}/response/reload") == []
        daemon.stop()
        assert daemon.log.count("ignored, because it is retained; send commands without retain") == 2
