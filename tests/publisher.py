"""Publishes events with the real sink and outbox, in a process that a test may kill.

`python -m tests.publisher PORT FOLDER` publishes events until it is killed or stopped by SIGTERM.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from edge.contract import messages
from edge.contract.messages import Topics
from edge.mqtt.client import MqttSink
from edge.mqtt.outbox import Outbox
from edge.node.announce import EventIds
from edge.types import Event
from tests.sink import idle_sink

TOPICS = Topics("p", "n")
STATUS = TOPICS.of("status")
FILE = "outbox.sqlite3"
TEN_YEARS = 10 * 365 * 24 * 3600.0


class Feeder:
    """Publishes *rate* events a second (0: none) to *sink*, on event and on log, from start() to stop()."""

    def __init__(self, sink: MqttSink, rate: float) -> None:
        self.boot = EventIds().boot
        self.count = 0
        self.slowest_s = 0.0  # publish() call
        self._sink = sink
        self._interval = 1 / rate if rate else None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Feeder:
        if self._interval:
            self._thread.start()
        return self

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def publish_one(self) -> None:
        """Publish one event now."""
        self.count += 1
        change = Event("emotion_changed", "hall", 1, "neutral", "happy", 0.81, time.time())
        began = time.perf_counter()
        self._sink.publish(messages.event(TOPICS, change, self.boot, self.count))
        self._sink.publish(messages.log(TOPICS, change, self.boot, self.count))
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            self.publish_one()
            due += self._interval or 0.0


def start_publisher(port: int, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start the process, which writes only its boot id to stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.publisher", str(port), str(folder), *options],
        cwd=Path(__file__).resolve().parents[1], stdout=subprocess.PIPE,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=100.0, help="events a second")
    parser.add_argument("--jump", action="store_true", help="the clock is ten years off, either way, in turn")
    options = parser.parse_args()
    if options.jump:
        real, turns = time.time, itertools.cycle((0.0, TEN_YEARS, -TEN_YEARS))
        time.time = lambda: real() + next(turns)
    logging.basicConfig(level="ERROR")  # outages are intended
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    outbox = Outbox(options.folder / FILE)
    sink = idle_sink(options.port, keepalive_s=2, connect_timeout_s=2, retry_s=(0.1, 0.3), outbox=outbox)
    sink.start()
    feeder = Feeder(sink, options.rate)
    print(feeder.boot, flush=True)
    feeder.start()
    stopping.wait()
    feeder.stop()
    sink.stop()


if __name__ == "__main__":
    main()
