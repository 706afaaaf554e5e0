"""Rows 5, 6, 7 and 16: the daemon is killed, a backlog drains, the clock jumps."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import psutil

from edge.mqtt.outbox import Outbox
from tests.broker import eventually, free_port, subscriber
from tests.chaos import (
    EVENT,
    LOG,
    Figure,
    Id,
    drained,
    duplicates,
    id_of,
    ids,
    inversions,
    lost,
    publishing,
    replay,
    running,
)
from tests.outbox import payloads_in
from tests.proxy import Proxy
from tests.publisher import FILE, start_publisher

# Row 5: the daemon


def killed(folder: Path, kills: int, seed: int = 1) -> list[Figure]:
    """Row 5: SIGKILL at random moments, on a network that is cut or black-holed half the time."""
    chance = random.Random(seed)
    missing = total = committed = most_again = 0
    with (
        running(folder) as mosquitto,
        Proxy(mosquitto.port) as network,
        subscriber(mosquitto.port, LOG) as listening,
    ):
        received_before: set[Id] = set()
        boots: dict[str, int] = {}  # boot -> last number committed when killed
        for _ in range(kills):
            mark = len(listening.messages)
            publisher = start_publisher(network.port, folder)
            assert publisher.stdout is not None
            boot = publisher.stdout.readline().decode().strip()
            for _ in range(chance.randint(1, 3)):
                match chance.choice(("flow", "swallow", "cut")):
                    case "swallow":
                        network.swallow()
                    case "cut":
                        network.flow()
                        network.cut(reset=True)
                    case _:
                        network.flow()
                time.sleep(chance.uniform(0.05, 0.8))
            publisher.kill()
            publisher.wait()
            publisher.stdout.close()
            kept = committed_in(folder)
            committed = max(committed, len(kept))
            boots[boot] = max((number for it, number in kept if it == boot), default=0)
            network.flow()
            time.sleep(0.05)
            received = ids(listening)
            most_again = max(most_again, sum(it in received_before for it in received[mark:]))
            received_before |= set(received)
        mark = len(listening.messages)
        replay(mosquitto.port, folder)
        received = ids(listening)
        most_again = max(most_again, sum(it in received_before for it in received[mark:]))
        for boot, last in boots.items():
            reported = {number for it, number in received if it == boot}
            last = max(last, *reported, 0)
            missing += last - len(reported)
            total += last
    print(f"{kills} kills, {total} events, up to {committed} waiting, {duplicates(received)} sent twice")
    return [
        Figure("5", f"lost of {total} events up to the last committed", missing, 0),
        Figure("5", "most sent again after a kill", most_again, 20),
        Figure("5", "order inversions", inversions(received), 0),
    ]


def committed_in(folder: Path) -> list[Id]:
    """The committed messages of a killed daemon."""
    return [id_of(payload) for payload in payloads_in(folder)]


# Rows 6 and 7: a backlog


def backlog(folder: Path, rows: int, extra: int = 500) -> list[Figure]:
    """Rows 6 and 7: *extra* events over the limit offline; then the backlog drains alongside live ones."""
    port = free_port()
    outbox = Outbox(folder / FILE, max_rows=rows)
    with publishing(port, folder, 0, outbox=outbox, retry_s=(0.2, 0.5)) as (_, earlier):
        for _ in range(rows + extra):
            earlier.publish_one()
    after_restart = Outbox(folder / FILE, max_rows=rows + 1000)  # so that live events drop nothing
    dropped = after_restart.health().dropped
    with (
        running(folder) as mosquitto,
        subscriber(mosquitto.port, "p/n/hall/+") as listening,
        publishing(mosquitto.port, folder, 10, outbox=after_restart) as (sink, live),
    ):
        drained_by = time.monotonic() + 30 + rows / 100
        assert eventually(lambda: len(set(ids(listening))) >= rows, drained_by - time.monotonic())
        live.stop()
        drained(sink, 30)
        assert eventually(lambda: lost(ids(listening), live.boot, live.count) == 0)
        received, events = ids(listening), ids(listening, EVENT)
        reported = list(zip(listening.messages, listening.times, strict=False))
        counted = sink.health().outbox.dropped
    oldest = [number for boot, number in received if boot == earlier.boot]
    log_times = [when for (topic, _, _), when in reported if topic == LOG]
    ages = sorted(
        when - datetime.fromisoformat(json.loads(payload)["ts"]).timestamp()
        for (topic, payload, _), when in reported
        if topic == EVENT
    )
    replayed = [json.loads(payload)["replayed"] for (topic, payload, _), _ in reported if topic == LOG][:rows]
    return [
        Figure("6", f"messages dropped besides the {extra} oldest", abs(dropped - extra), 0),
        Figure("6", "of the count, lost by a restart", abs(counted - extra), 0),
        Figure("6", "first one sent is not the oldest kept", abs(oldest[0] - (extra + 1)), 0),
        Figure("6", f"lost of the {rows} kept", rows - len(set(oldest)), 0),
        Figure("7", "most sent a second, of any three", busiest(log_times, 3.0), 200),
        Figure("7", "p95 of a live event's age in s", ages[int(0.95 * len(ages))], 2),
        Figure("7", "of the backlog on event", sum(boot == earlier.boot for boot, _ in events), 0),
        Figure("7", "of the backlog not marked as replayed", replayed.count(False), 0),
        Figure("7", "order inversions", inversions(received), 0),
        Figure("7", "sent twice", duplicates(received), 0),
    ]


def busiest(times: Sequence[float], seconds: float) -> float:
    """Highest rate of *times* (sorted) per second over any window of *seconds*."""
    start = most = 0
    for end, when in enumerate(times):
        while when - times[start] > seconds:
            start += 1
        most = max(most, end - start + 1)
    return most / seconds


# Row 16: the clock


def clock_jumps(folder: Path, events_s: float) -> list[Figure]:
    """Row 16: the wall clock alternates 0, +10 and -10 years off: offline, across a restart and online."""
    rate = 50
    with running(folder) as mosquitto, subscriber(mosquitto.port, LOG) as listening:
        busy = 0.0
        count: dict[str, int] = {}
        for port in (free_port(), free_port(), mosquitto.port):
            publisher = start_publisher(port, folder, "--jump", "--rate", str(rate))
            assert publisher.stdout is not None
            boot = publisher.stdout.readline().decode().strip()
            try:
                process = psutil.Process(publisher.pid)
                began, before = time.monotonic(), process.cpu_times()
                time.sleep(events_s)
                after = process.cpu_times()
                used = after.user + after.system - before.user - before.system
                busy = max(busy, used / (time.monotonic() - began))
                publisher.terminate()
                publisher.wait(10)
            finally:
                publisher.kill()
                publisher.wait()
                publisher.stdout.close()
            count[boot] = max((number for it, number in committed_in(folder) if it == boot), default=0)
        replay(mosquitto.port, folder)
        received = ids(listening)
        with closing(sqlite3.connect(folder / FILE)) as file:
            ((dropped,),) = file.execute("SELECT value FROM facts WHERE name = 'dropped'").fetchall()
    for boot, number in received:
        count[boot] = max(count[boot], number)
    return [
        Figure("16", "expired", dropped, 0),
        Figure("16", f"lost of {sum(count.values())} events",
               sum(lost(received, boot, last) for boot, last in count.items()), 0),
        Figure("16", "order inversions", inversions(received), 0),
        Figure("16", "boots out of order", [*dict.fromkeys(boot for boot, _ in received)] != [*count], 0),
        Figure("16", "share of a core", busy, 0.6),
    ]  # fmt: skip
