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

from edge.commands.demo_broker import demo_broker, subscribed
from edge.types import EdgeError

RUNS = 5
TIMEOUT_S = 30.0
# Message -> the topic that brings it.
MILESTONES = {"first_message_s": "status", "first_state_s": "bench/state", "first_event_s": "bench/event"}


def measure() -> dict[str, Any]:
    """Medians over RUNS starts on the built-in camera, towards a broker in this process."""
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
    heard: dict[str, float] = {}
    complete = threading.Event()
    names = {place + topic: name for name, topic in MILESTONES.items()}

    def hear(topic: str, payload: bytes) -> None:
        heard.setdefault(names[topic], time.monotonic())
        if len(heard) == len(names):
            complete.set()

    with subscribed(port, names, hear):
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
                late = f"within {TIMEOUT_S:.0f} s of starting the daemon"
                raise EdgeError(f"bench: nothing of {missing} {late}")
        finally:
            daemon.terminate()
            daemon.wait()
    return {name: when - began for name, when in heard.items()}
