"""The outbox alone: contents, order, limits and disk faults."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edge.mqtt import store
from edge.mqtt.health import OutboxHealth
from edge.mqtt.outbox import Outbox
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.fakes import Clock
from tests.outbox import FILE, append, message, outbox, send, stored
from tests.sink import sink

REPOSITORY = Path(__file__).resolve().parents[1]
HOUR = 3600.0
YEAR = 365 * 24 * HOUR


# Order, identity, replays


def test_messages_are_sent_at_once_while_connected_and_are_not_replays(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        box.begin()
        append(box, 1, 2, 3)
        assert send(box) == [(1, False), (2, False), (3, False)]


def test_messages_acknowledged_before_the_group_commit_are_never_written(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        box.begin()
        wal = tmp_path / f"{FILE}-wal"
        before = (wal.stat().st_size, wal.stat().st_mtime_ns)
        for number in range(10):  # a burst: nothing is held back
            append(box, number)
            send(box)
        time.sleep(0.4)  # longer than a group
        assert (wal.stat().st_size, wal.stat().st_mtime_ns) == before


def test_at_most_20_messages_go_out_during_a_slow_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    write = store.Store.write

    def slow(self: store.Store, *what: Any) -> list[int]:
        writing.set()
        assert go_on.wait(60)
        return write(self, *what)

    with outbox(tmp_path) as box:
        box.begin()
        monkeypatch.setattr(store.Store, "write", slow)
        append(box, *range(40))
        assert writing.wait(60)
        assert len(send(box, 20)) == 20
        time.sleep(0.1)  # the rate would allow more
        assert box.next(10) is None
        go_on.set()
        assert len(send(box)) == 20


def test_messages_that_waited_for_a_connection_are_replays(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, 1)
        box.begin()
        append(box, 2)
        assert send(box) == [(1, True), (2, False)]


def test_unacknowledged_messages_are_resent_first_as_replays(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        box.begin()
        append(box, 1, 2, 3)
        for number in (1, 2):
            found = box.next(10)
            assert found is not None
            box.sent(number, found[0])
        box.begin()
        append(box, 4)
        assert send(box) == [(1, True), (2, True), (3, True), (4, False)]


def test_messages_sent_over_10_s_late_are_replays(tmp_path: Path) -> None:
    clock = Clock()
    with outbox(tmp_path, clock=clock) as box:
        box.begin()
        append(box, 1, 2)
        assert send(box, 1) == [(1, False)]
        clock.now += 10.1
        assert send(box) == [(2, True)]


def test_restart_sends_old_messages_before_new_ones(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, *range(50))
    with outbox(tmp_path) as box:
        assert box.health().depth == 50
        box.begin()
        append(box, 50)
        assert send(box) == [*((number, True) for number in range(50)), (50, False)]
    with outbox(tmp_path) as box:
        assert box.health() == OutboxHealth(0, 0, 0, 0, "ok")


@pytest.mark.quiet_clock
def test_message_is_committed_within_a_quarter_of_a_second(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, 1)
        began = time.monotonic()
        assert eventually(lambda: stored(tmp_path) == [1])
        print(f"committed after {time.monotonic() - began:.3f} s")
        assert time.monotonic() - began < 2.0  # 0.25 s on an idle machine


def test_append_takes_microseconds(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        times = []
        for number in range(5000):
            began = time.perf_counter()
            box.append(message(number))
            times.append(time.perf_counter() - began)
        median = sorted(times)[2500]
        print(f"append: median {median * 1e6:.1f} us, p99 {sorted(times)[4950] * 1e6:.1f} us")
        assert median < 100e-6


@pytest.mark.quiet_clock
def test_backlog_is_sent_at_no_more_than_200_per_second(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, *range(400))
        box.begin()
        began = time.monotonic()
        assert len(send(box, 300)) == 300
        assert 300 / (time.monotonic() - began) <= 210  # the first ten are a burst


def test_at_most_20_messages_could_be_repeated_after_a_kill(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, *range(100))
        assert eventually(lambda: len(stored(tmp_path)) == 100)
        box.begin()
        most = 0
        reported = []
        while len(reported) < 100:
            reported += send(box, 1)
            most = max(most, reported[-1][0] + 1 - (100 - len(stored(tmp_path))))
        assert 0 < most <= 20


def test_unsendable_message_is_dropped_and_counted(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        box.begin()
        append(box, 1, 2)
        found = box.next(10)
        assert found is not None
        box.discard(found[0])
        assert send(box) == [(2, False)]
        assert box.health().dropped == 1


def test_clear_drops_waiting_messages_but_not_those_in_flight(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        box.begin()
        append(box, *range(10))
        found = box.next(10)
        assert found is not None
        box.sent(1, found[0])
        assert box.clear() == 9
        assert box.acknowledged(1) == "p/n/hall/log"
        assert box.health() == OutboxHealth(0, 0, 0, 0, "ok")
    assert stored(tmp_path) == []


# Bounds


def test_overflow_drops_the_oldest_and_the_count_survives_a_restart(tmp_path: Path) -> None:
    with outbox(tmp_path, max_rows=1000) as box:
        append(box, *range(1050))
        assert box.health().dropped == 50
    with outbox(tmp_path, max_rows=1000) as box:
        assert box.health().dropped == 50
        assert box.health().depth == 1000
        append(box, 1050)
        assert box.health().dropped == 51
    assert stored(tmp_path) == list(range(51, 1051))
    with outbox(tmp_path) as box:
        assert box.health().dropped == 51


def test_lowered_limit_drops_the_oldest_at_startup(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, *range(300))
    with outbox(tmp_path, max_rows=100) as box:
        assert (box.health().depth, box.health().dropped) == (100, 200)
    assert stored(tmp_path) == list(range(200, 300))


def test_too_many_bytes_drop_the_oldest(tmp_path: Path) -> None:
    with outbox(tmp_path, max_bytes=100_000) as box:
        for number in range(30):
            box.append(message(number, padding=10_000))
        assert box.health().depth == 9
        assert box.health().bytes <= 100_000
        assert box.health().dropped == 21
        box.append(message(30, padding=200_000))  # larger than the whole outbox
        assert box.health() == OutboxHealth(0, 0, 31, 0, "ok")


def test_messages_older_than_a_day_are_dropped_and_counted(tmp_path: Path) -> None:
    clock = Clock()
    with outbox(tmp_path, clock=clock) as box:
        append(box, 1)
        clock.now += 23 * HOUR
        append(box, 2)
        assert box.health().depth == 2
        clock.now += 1.1 * HOUR
        assert (box.health().depth, box.health().dropped) == (1, 1)
        box.begin()
        assert send(box) == [(2, True)]


def test_message_ages_continue_across_a_daemon_restart(tmp_path: Path) -> None:
    clock = Clock()
    with outbox(tmp_path, clock=clock) as box:
        append(box, 1)
    clock.now += 25 * HOUR
    with outbox(tmp_path, clock=clock) as box:
        assert (box.health().depth, box.health().dropped) == (0, 1)


@pytest.mark.parametrize("clock_after", [5.0, 20 * YEAR])
def test_reboot_expires_nothing_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock_after: float
) -> None:
    clock = Clock(10 * YEAR)
    with outbox(tmp_path, clock=clock) as box:
        append(box, 1)
        clock.now += 20 * HOUR
        append(box, 2)
    boot = tmp_path / "boot_id"
    boot.write_text("another\n")
    monkeypatch.setattr(store, "BOOT_ID", boot)
    clock.now = clock_after
    with outbox(tmp_path, clock=clock) as box:
        assert box.health().depth == 2
        clock.now += 5 * HOUR  # the 20 hours before the reboot count
        assert box.health().depth == 1
        box.begin()
        assert send(box) == [(2, True)]


@pytest.mark.quiet_clock
def test_ten_year_wall_clock_jumps_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with outbox(tmp_path) as box:
        for number, jump in enumerate((0, 10 * YEAR, -10 * YEAR, 0)):
            monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
            append(box, number)
        busy = time.process_time()
        time.sleep(1)
        busy = time.process_time() - busy
        print(f"CPU in a second of jumped clock: {busy:.3f} s")
        assert busy < 0.3
        assert box.health().depth == 4
        box.begin()
        assert send(box) == [(number, True) for number in range(4)]


def test_outbox_without_a_path_is_in_memory() -> None:
    box = Outbox(None, max_rows=3)
    box.start(lambda: None)
    append(box, 1, 2, 3, 4)
    box.begin()
    assert send(box) == [(2, True), (3, True), (4, True)]
    assert box.health() == OutboxHealth(0, 0, 1, 0, "memory only")
    box.close()


# Through the sink


def entries(payloads: list[str]) -> list[tuple[int, bool]]:
    """(number, replayed) of *payloads*."""
    return [(int(body["id"]), body["replayed"]) for body in map(json.loads, payloads)]


def test_replayed_separates_live_from_late_messages(tmp_path: Path, broker: Mosquitto) -> None:
    with outbox(tmp_path) as box:
        append(box, 1)
    with subscriber(broker.port, "p/n/hall/log") as recorder:
        with sink(broker.port, outbox=Outbox(tmp_path / FILE)) as publishing:
            assert eventually(lambda: publishing.connected)
            publishing.publish(message(2))
            assert eventually(lambda: len(recorder.messages) == 2)
        assert sorted(entries(recorder.payloads("p/n/hall/log"))) == [(1, True), (2, False)]
        assert not any(retained for _, _, retained in recorder.messages)


def test_messages_just_before_a_clean_stop_are_still_sent(tmp_path: Path, broker: Mosquitto) -> None:
    with subscriber(broker.port, "p/n/hall/log") as recorder:
        with sink(broker.port, outbox=Outbox(tmp_path / FILE)) as publishing:
            assert eventually(lambda: publishing.connected)
            publishing.publish(message(1))
        assert eventually(lambda: entries(recorder.payloads("p/n/hall/log")) == [(1, False)])
    assert stored(tmp_path) == []


@pytest.mark.quiet_clock
def test_clean_stop_keeps_the_backlog_and_does_not_wait_for_it(tmp_path: Path, broker: Mosquitto) -> None:
    with outbox(tmp_path) as box:
        append(box, *range(1000))
    with subscriber(broker.port, "p/n/#") as recorder:
        with sink(broker.port, outbox=Outbox(tmp_path / FILE)) as publishing:
            assert eventually(lambda: len(recorder.messages) > 50)
            began = time.monotonic()
            publishing.stop()
            assert time.monotonic() - began < 4.0  # 950 messages take more than 5
        assert eventually(lambda: recorder.last("p/n/status") == "offline")
        sent = [number for number, _ in entries(recorder.payloads("p/n/hall/log"))]
    assert sent + stored(tmp_path) == list(range(1000))


def test_refused_log_is_counted_and_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic write p/n/status\ntopic read #\n")
    strict = Mosquitto(tmp_path, f"allow_anonymous true\nacl_file {rules}")
    strict.start()
    with sink(strict.port, outbox=Outbox(tmp_path / FILE)) as publishing:
        for number in range(5):
            publishing.publish(message(number))
        assert eventually(lambda: publishing.health().outbox.dropped == 5)
        assert publishing.health().outbox.depth == 0
    strict.kill()
    assert len([record for record in caplog.records if "p/n/hall/log" in record.getMessage()]) == 1


def test_full_outbox_takes_less_than_20_mib() -> None:
    # In a separate process, with fresh memory.
    program = """
from pathlib import Path
from edge.mqtt.outbox import Outbox
from edge.types import Message
rss = lambda: int(Path("/proc/self/statm").read_text().split()[1]) / 256
before = rss()
box = Outbox(None)
for number in range(11_000):
    box.append(Message("p/n/hall/log", b"%d" % number + b" " * 800, qos=1, durable=True))
print(box.health().depth, box.health().bytes / 2**20, rss() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, check=True)
    depth, held, grown = map(float, done.stdout.split())
    print(f"{depth:.0f} messages, {held:.1f} MiB: RSS + {grown:.1f} MiB")
    assert depth == 10_000
    assert grown <= 20
