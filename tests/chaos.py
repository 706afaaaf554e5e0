"""Fault injection: each function causes a fault and returns figures measured during it.

Faults are numbered by row. tests/test_chaos.py runs them in short, tests/soak.py with the full counts;
the figures and their limits are the same. Brokers, sockets, processes and disks are real."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from edge.mqtt.client import MqttSink
from edge.mqtt.outbox import Outbox
from tests.broker import Mosquitto, Subscriber, eventually, free_port, subscriber
from tests.proxy import Proxy
from tests.publisher import FILE, Feeder, start_publisher
from tests.sink import idle_sink

LOG, EVENT = "p/n/hall/log", "p/n/hall/event"


MIB = 2**20


Id = tuple[str, int]  # boot, sequence


class Figure(NamedTuple):
    row: str
    what: str
    value: float
    limit: float  # largest acceptable value

    @property
    def held(self) -> bool:
        return self.value <= self.limit

    def __str__(self) -> str:
        return f"row {self.row}: {self.what}: {self.value:.4g} (<= {self.limit:g})"


def check(figures: Sequence[Figure]) -> None:
    """Print them and fail if one exceeds its limit."""
    for figure in figures:
        print(figure)
    assert [str(figure) for figure in figures if not figure.held] == []


# Received messages


def ids(listening: Subscriber, topic: str = LOG) -> list[Id]:
    """Boot and sequence of every message on *topic* so far, in order of arrival."""
    return [id_of(payload) for payload in listening.payloads(topic)]


def id_of(payload: str | bytes) -> Id:
    boot, _, number = json.loads(payload)["id"].partition(":")
    return boot, int(number)


def lost(received: Sequence[Id], boot: str, count: int) -> int:
    """Count of the numbers 1 to *count* of *boot* missing from *received*."""
    return len({(boot, number) for number in range(1, count + 1)} - set(received))


def inversions(received: Sequence[Id]) -> int:
    """Count of messages that first arrived after a later one of the same boot."""
    seen: dict[str, int] = {}
    found = 0
    for boot, number in dict.fromkeys(received):
        found += number < seen.get(boot, 0)
        seen[boot] = max(number, seen.get(boot, 0))
    return found


def duplicates(received: Sequence[Id]) -> int:
    return len(received) - len(set(received))


def common(row: str, received: Sequence[Id], feeder: Feeder) -> list[Figure]:
    return [
        Figure(row, f"lost of {feeder.count} events", lost(received, feeder.boot, feeder.count), 0),
        Figure(row, "order inversions", inversions(received), 0),
    ]


@contextmanager
def publishing(port: int, folder: Path, rate: float, **keywords: Any) -> Iterator[tuple[MqttSink, Feeder]]:
    """A sink with an outbox in *folder*, connected to *port*, and a running feeder."""
    outbox = keywords.pop("outbox", None) or Outbox(folder / FILE)
    sink = idle_sink(port, outbox=outbox, **{"retry_s": None, **keywords})
    sink.start()
    feeder = Feeder(sink, rate)
    try:
        yield sink, feeder.start()
    finally:
        feeder.stop()
        sink.stop()


@contextmanager
def running(folder: Path) -> Iterator[Mosquitto]:
    # No queue limits for a slow recorder: messages queued in a killed broker are lost.
    mosquitto = Mosquitto(folder, "allow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0")
    mosquitto.start()
    try:
        yield mosquitto
    finally:
        mosquitto.kill()


def drained(sink: MqttSink, timeout_s: float) -> None:
    assert eventually(lambda: sink.health().outbox.depth == 0, timeout_s), sink.health()


# Rows 1 and 2: the broker


def broker_killed(folder: Path, outage_s: float, retry_s: tuple[float, float] | None = None) -> list[Figure]:
    """Row 1: the broker is killed for *outage_s* while events come at 10/s."""
    with (
        running(folder) as mosquitto,
        Proxy(free_port()) as network,  # no target until the recorder is connected
        publishing(network.port, folder, 10, retry_s=retry_s) as (sink, feeder),
    ):
        with subscriber(mosquitto.port, LOG) as listening:
            network.target = mosquitto.port
            assert eventually(lambda: len(listening.messages) >= 10)
            network.target = free_port()
            mosquitto.kill()
            network.cut()
            time.sleep(outage_s)
            before = ids(listening)
        mosquitto.start()
        with subscriber(mosquitto.port, LOG) as listening:
            back = time.monotonic()
            network.target = mosquitto.port
            assert eventually(lambda: listening.messages)
            back = time.monotonic() - back
            feeder.stop()
            drained(sink, 30)
            assert eventually(lambda: lost(before + ids(listening), feeder.boot, feeder.count) == 0)
            received = before + ids(listening)
    return [
        *common("1", received, feeder),
        Figure("1", "s until it publishes again", back, 35),
        Figure("1", "slowest publish() in ms", feeder.slowest_s * 1000, 100),
    ]


def broker_frozen(folder: Path, keepalive_s: int) -> list[Figure]:
    """Row 2: the broker stops answering, without hanging up."""
    patience = {"keepalive_s": keepalive_s, "retry_s": (0.2, 1)}
    with (
        running(folder) as mosquitto,
        subscriber(mosquitto.port, LOG) as listening,
        publishing(mosquitto.port, folder, 20, **patience) as (sink, feeder),
    ):
        assert eventually(lambda: len(listening.messages) >= 10)
        mosquitto.freeze()
        began = time.monotonic()
        try:
            assert eventually(lambda: not sink.connected, 3 * keepalive_s)
            noticed = time.monotonic() - began
            time.sleep(1)
        finally:
            mosquitto.thaw()
        assert eventually(lambda: sink.connected)
        feeder.stop()
        drained(sink, 60)
        assert eventually(lambda: lost(ids(listening), feeder.boot, feeder.count) == 0)
        received = ids(listening)
    return [
        *common("2", received, feeder),
        Figure("2", f"s until it is noticed (keepalive {keepalive_s})", noticed, 2 * keepalive_s),
        Figure("2", "sent twice", duplicates(received), 20),
    ]


# Row 4: the network


def bad_network(folder: Path, bad_s: float) -> list[Figure]:
    """Row 4: each slice resets its connection with probability 0.3, at 1 kB/s; then the network recovers."""
    with (
        running(folder) as mosquitto,
        Proxy(mosquitto.port) as network,
        subscriber(mosquitto.port, LOG) as listening,
    ):
        publisher = start_publisher(network.port, folder, "--rate", "20")
        assert publisher.stdout is not None
        boot = publisher.stdout.readline().decode().strip()
        try:
            assert eventually(lambda: len(listening.messages) >= 20)
            process = psutil.Process(publisher.pid)
            began = most = process.memory_info().rss
            network.resets, network.rate, network.slice_bytes = 0.3, 1000.0, 500
            until = time.monotonic() + bad_s
            while time.monotonic() < until:
                most = max(most, process.memory_info().rss)
                time.sleep(0.1)
            connections = network.accepted
            network.resets, network.rate = 0.0, None
            network.cut(reset=True)
            expected = round(20 * bad_s)
            assert eventually(lambda: len(set(ids(listening))) >= expected, 10 + expected / 100)
            most = max(most, process.memory_info().rss)
            publisher.terminate()
            publisher.wait(10)
        finally:
            publisher.kill()
            publisher.wait()
            publisher.stdout.close()
        replay(mosquitto.port, folder)
        received = ids(listening)
    count = max(number for _, number in received)
    print(f"{connections} connections in {bad_s:g} s, {count} events, {duplicates(received)} sent twice")
    return [
        Figure("4", f"lost of {count} events", lost(received, boot, count), 0),
        Figure("4", "order inversions", inversions(received), 0),
        Figure("4", "RSS grown by MiB", (most - began) / MIB, 20),
    ]


def replay(port: int, folder: Path) -> None:
    """Send everything an earlier run left."""
    with publishing(port, folder, 0, retry_s=(0.1, 0.3)) as (sink, _):
        drained(sink, 120)
    time.sleep(1.0)  # from the broker to the recorder
