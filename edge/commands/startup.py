"""Time from starting the daemon to its first messages (`bench --startup`)."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from edge.types import EdgeError

RUNS = 5
TIMEOUT_S = 30.0
# Message -> the topic that brings it.
MILESTONES = {"first_message_s": "status", "first_state_s": "bench/state", "first_event_s": "bench/event"}


def measure() -> dict[str, Any]:
    """Medians over RUNS starts on the built-in camera, towards a broker in this process."""
    from edge.commands.demo_broker import demo_broker

    runs: list[dict[str, float]] = []
    with demo_broker() as port, tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.toml")
        for run in range(RUNS):
            # A new node each time, so that no retained message of the last run counts.
            node = f"startup-{run}"
            config.write_text(
                f'[node]\nid = "{node}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\nversion = "3.1.1"\n'
                '[[camera]]\nname = "bench"\nsource = "portraits"\n[log]\nlevel = "warning"\n'
            )
            runs.append(_start(config, port, f"emotion-edge/{node}/"))
    return {
        "runs": RUNS,
        **{name: round(statistics.median(run[name] for run in runs), 2) for name in MILESTONES},
    }


def _start(config: Path, port: int, place: str) -> dict[str, float]:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    heard: dict[str, float] = {}
    subscribed, complete = threading.Event(), threading.Event()
    names = {place + topic: name for name, topic in MILESTONES.items()}

    def on_message(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        name = names.get(message.topic)
        if name is not None:
            heard.setdefault(name, time.monotonic())
        if len(heard) == len(names):
            complete.set()

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = on_message
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.subscribe([(topic, 1) for topic in names])
    client.loop_start()
    if not subscribed.wait(TIMEOUT_S):
        raise EdgeError("bench: the embedded broker does not answer")
    began = time.monotonic()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "edge", "run", "--config", str(config)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("EMOTION_EDGE_")},
            "STATE_DIRECTORY": str(config.parent),
        },
    )
    try:
        if not complete.wait(TIMEOUT_S):
            missing = ", ".join(sorted(set(names.values()) - set(heard)))
            raise EdgeError(f"bench: nothing of {missing} within {TIMEOUT_S:.0f} s of starting the daemon")
    finally:
        daemon.terminate()
        daemon.wait()
        client.disconnect()
        client.loop_stop()
    return {name: when - began for name, when in heard.items()}
