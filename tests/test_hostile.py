"""A flood of commands as nobody should send them, at the daemon as a process (RELIABILITY.md, row 19)."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import paho.mqtt.client as paho
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from edge.requests import COMMANDS
from tests.broker import Mosquitto, Subscriber, eventually, subscriber
from tests.hostile import payloads
from tests.process import Start, start  # noqa: F401
from tests.test_commands import HALL, NODE, configuration, health, ready


def flood(port: int, topics: list[str], count: int) -> None:
    """Send *count* hostile payloads to *topics*, as fast as the broker takes them."""
    random_ = random.Random(19)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for payload in payloads(random_, count):
        last = client.publish(random_.choice(topics), payload, qos=1)
        while not last.is_published() and last.mid % 20 == 0:
            time.sleep(0.001)
    last.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def calm(heard: Subscriber, name: str) -> None:
    """Wait until the node has worked off what it was sent, with its camera on and its health told."""

    def answered(transaction: str) -> bool:
        heard.publish(f"{NODE}/request/reload", b'{"transaction":"%s"}' % transaction.encode())
        responses = f"{NODE}/response/reload"
        return eventually(lambda: any(f'"{transaction}"' in text for text in heard.payloads(responses)), 1)

    # While too much waits, a command is refused without an answer; they are answered in their order.
    assert any(answered(f"{name} {number}") for number in range(30))
    heard.publish(f"{HALL}/enabled/set", b"ON")
    assert eventually(lambda: heard.last(f"{HALL}/status") == "online", 10)
    assert answered(f"{name} end")


def test_hostile_commands_cost_neither_threads_nor_memory_nor_the_log(
    tmp_path: Path, start: Start  # noqa: F811
) -> None:
    count = 10_000 if os.environ.get("SOAK") else 2_000
    switches = [f"{HALL}/{switch}/set" for switch in ("enabled", "min_confidence", "hold")]
    topics = [*switches, *(f"{NODE}/request/{command}" for command in COMMANDS)]
    mosquitto = Mosquitto(tmp_path, "allow_anonymous true\nmax_queued_messages 0")  # it loses none itself
    mosquitto.start()
    try:
        with subscriber(mosquitto.port, f"{NODE}/#") as heard:
            daemon = start(configuration(mosquitto.port, "hall"))
            assert ready(heard, "hall")
            flood(mosquitto.port, topics, 200)  # what is made once is made now
            calm(heard, "before")
            process = psutil.Process(daemon.process.pid)
            threads, memory = process.num_threads(), process.memory_info().rss
            lines, began = daemon.log_so_far().splitlines(), time.monotonic()
            counted = sum(health(heard)["commands"].values())
            flood(mosquitto.port, topics, count)
            calm(heard, "after")
            seconds = time.monotonic() - began
            grown = (process.memory_info().rss - memory) / 2**20
            commands = health(heard)["commands"]
            said = [line for line in daemon.log_so_far().splitlines()[len(lines) :] if "online" not in line]
            print(f"{count} payloads, {seconds:.1f} s: {commands}, RSS {grown:+.1f} MiB, {len(said)} lines")
            assert process.num_threads() == threads
            assert grown <= 10
            assert len(said) <= seconds + 2
            assert sum(commands.values()) - counted >= count
            assert commands["refused"] > 0.8 * count
            assert daemon.stop()[0] == 0
        assert "Traceback" not in daemon.log
    finally:
        mosquitto.kill()
