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


def request(client: Subscriber, command: str, payload: bytes) -> Any:
    """Send a request to the node; its response."""
    topic = f"{NODE}/response/{command}"
    before = len(client.payloads(topic))
    client.publish(f"{NODE}/request/{command}", payload)
    assert eventually(lambda: len(client.payloads(topic)) > before), f"no answer to {command}"
    assert len(client.payloads(topic)[-1].encode()) <= 2048
    return json.loads(client.payloads(topic)[-1])


def ready(client: Subscriber, *cameras: str) -> bool:
    def sees(camera: str) -> bool:
        # On connect, events follow the subscriptions: once an event arrives, so do commands.
        reported = client.last(f"{NODE}/{camera}/state") or ""
        return '"present":"ON"' in reported and bool(client.payloads(f"{NODE}/{camera}/event"))

    return eventually(lambda: all(sees(camera) for camera in cameras))


def health(client: Subscriber) -> Any:
    return json.loads(client.last(f"{NODE}/health") or "{}")


def test_switches_act_at_once_and_survive_a_kill(
    broker: Mosquitto,
    start: Start,
) -> None:
    with subscriber(broker.port) as client:
        daemon = start(configuration(broker.port, "hall", "porch"))
        assert ready(client, "hall", "porch")
        faces = json.loads(client.last(f"{HALL}/state") or "")["faces"]
        threads = psutil.Process(daemon.process.pid).num_threads()
        client.publish(f"{HALL}/enabled/set", b"off")
        assert eventually(lambda: client.last(f"{HALL}/enabled/state") == "OFF")
        assert client.last(f"{HALL}/status") == "disabled"
        assert eventually(lambda: '"emotion":"none"' in (client.last(f"{HALL}/state") or ""))
        events = [json.loads(payload) for payload in client.payloads(f"{HALL}/event")]
        assert len([event for event in events if event["event_type"] == "face_left"]) == faces
        assert json.loads(client.last(f"{HALL}/faces") or "")["faces"] == []
        # Its capture thread and that thread's supervisor have ended: nothing reads pictures.
        assert psutil.Process(daemon.process.pid).num_threads() == threads - 2

        reported = len(client.messages)
        pictures = len(client.payloads(f"{NODE}/porch/faces"))
        assert eventually(lambda: len(client.payloads(f"{NODE}/porch/faces")) > pictures + 3)
        assert {topic for topic, _, _ in client.messages[reported:] if topic.startswith(HALL)} == set()

        client.publish(f"{NODE}/porch/min_confidence/set", b"1")
        # No blended probability is that high: every emotion becomes uncertain.
        uncertain = '"emotion":"uncertain"'
        assert eventually(lambda: uncertain in (client.last(f"{NODE}/porch/state") or ""))
        client.publish(f"{HALL}/hold/set", b"2.5")
        assert eventually(lambda: client.last(f"{HALL}/hold/state") == "2.5")

        daemon.stop(signal.SIGKILL)
        client.messages.clear()
        start(configuration(broker.port, "hall", "porch"))
        assert eventually(lambda: client.last(f"{NODE}/porch/status") == "online")
        # If the camera opens before the broker connects, its status precedes the switches.
        assert eventually(lambda: client.last(f"{NODE}/porch/min_confidence/state") == "1")
        assert eventually(lambda: client.last(f"{HALL}/hold/state") == "2.5")
        assert eventually(lambda: client.last(f"{HALL}/status") == "disabled")
        assert client.last(f"{HALL}/enabled/state") == "OFF"
        assert ready(client, "porch")
        client.publish(f"{HALL}/enabled/set", b"ON")
        assert eventually(lambda: client.last(f"{HALL}/status") == "online")
        # A camera that opens at once is online before its switch is reported.
        assert eventually(lambda: client.last(f"{HALL}/enabled/state") == "ON")
        assert ready(client, "hall")


def test_responses_carry_the_transaction(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as client:
        start(configuration(broker.port, "hall"))
        assert ready(client, "hall")
        info = request(client, "info", b'{"transaction":"one"}')
        assert (info["status"], info["transaction"], info["info"]["cameras"]) == ("ok", "one", ["hall"])
        assert request(client, "clear_outbox", b'{"transaction":2}')["transaction"] == 2
        opened = client.payloads(f"{HALL}/status").count("online")
        assert request(client, "restart_camera", b'{"camera":"hall"}') == {"status": "ok"}
        assert eventually(lambda: client.payloads(f"{HALL}/status").count("online") > opened)
        assert request(client, "restart_camera", b'{"camera":"attic"}')["status"] == "error"
        assert request(client, "info", b"\xff") == {"status": "error", "error": "not UTF-8 text"}
        assert request(client, "reload", b'{"transaction":"t"}') == {"status": "ok", "transaction": "t"}
        assert eventually(lambda: health(client)["commands"] == {"accepted": 4, "refused": 2})
        retained = {topic for topic, _, old in client.messages if old}
        assert not {topic for topic in retained if "/response/" in topic}


def test_retained_commands_are_ignored_and_logged_once(broker: Mosquitto, start: Start) -> None:
    with subscriber(broker.port) as client:
        client.publish(f"{HALL}/enabled/set", b"OFF", retain=True)
        client.publish(f"{NODE}/request/reload", b"{}", retain=True)
        daemon = start(configuration(broker.port, "hall"))
        assert ready(client, "hall")
        assert client.last(f"{HALL}/enabled/state") == "ON"
        assert client.payloads(f"{NODE}/response/reload") == []
        daemon.stop()
        assert daemon.log.count("ignored, because it is retained; send commands without retain") == 2
