"""Short fault-injection tests of the daemon; `make soak` runs the same faults with full counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import chaos, chaos_cameras, chaos_daemon, chaos_outbox, damaged_models, quota


def test_killed_broker_loses_no_event(tmp_path: Path) -> None:
    chaos.check(chaos.broker_killed(tmp_path, outage_s=2.0, retry_s=(0.2, 0.5)))


def test_frozen_broker_is_noticed_and_loses_no_event(tmp_path: Path) -> None:
    chaos.check(chaos.broker_frozen(tmp_path, keepalive_s=2))


def test_slow_network_with_resets_loses_no_event(tmp_path: Path) -> None:
    chaos.check(chaos.bad_network(tmp_path, bad_s=3.0))


def test_repeatedly_killed_daemon_loses_no_committed_event(tmp_path: Path) -> None:
    chaos.check(chaos_outbox.killed(tmp_path, kills=6))


def test_backlog_drops_oldest_and_drains_alongside_live_events(tmp_path: Path) -> None:
    chaos.check(chaos_outbox.backlog(tmp_path, rows=700))


def test_ten_year_clock_jump_loses_no_event(tmp_path: Path) -> None:
    chaos.check(chaos_outbox.clock_jumps(tmp_path, events_s=0.5))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # paho leaves closing a failed handshake to Python
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_unresponsive_broker_costs_no_frame() -> None:
    chaos.check(chaos_daemon.silent_broker(seconds=1.5, limit=60))


def test_full_disk_loses_no_event_and_health_reports_it(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.disk_full(tmp_path))


def test_hung_disk_blocks_nothing_and_health_reports_it(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.disk_silent(tmp_path))


def test_damaged_outbox_is_set_aside_and_daemon_starts(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.corrupt_file(tmp_path))


def test_broker_and_camera_restarts_leak_no_thread_or_file(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.soak(tmp_path, 300, 1, 1))


def test_quarter_of_a_cpu_gives_few_but_fresh_frames(tmp_path: Path) -> None:
    chaos.check(quota.cpu_limited(tmp_path, seconds=5))


def test_camera_that_stops_sending_is_back_within_10_s(tmp_path: Path) -> None:
    chaos.check(chaos_cameras.http_frozen(tmp_path))


def test_damaged_model_never_reaches_an_interpreter(tmp_path: Path) -> None:
    chaos.check(damaged_models.damaged(tmp_path, mutants=30))
