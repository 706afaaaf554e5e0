"""Short fault-injection tests of the daemon; `make soak` runs the same faults with full counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import chaos, chaos_cameras, chaos_daemon, chaos_outbox, damaged_models, quota


def test_a_broker_that_is_killed_costs_no_event(tmp_path: Path) -> None:
    chaos.check(chaos.broker_killed(tmp_path, outage_s=2.0, retry_s=(0.2, 0.5)))


def test_a_broker_that_freezes_is_noticed_and_costs_no_event(tmp_path: Path) -> None:
    chaos.check(chaos.broker_frozen(tmp_path, keepalive_s=2))


def test_a_slow_network_that_resets_connections_costs_no_event(tmp_path: Path) -> None:
    chaos.check(chaos.bad_network(tmp_path, bad_s=3.0))


def test_a_daemon_that_is_killed_again_and_again_loses_nothing_it_committed(tmp_path: Path) -> None:
    chaos.check(chaos_outbox.killed(tmp_path, kills=6))


def test_a_backlog_drops_its_oldest_and_is_sent_along_with_live_events(tmp_path: Path) -> None:
    chaos.check(chaos_outbox.backlog(tmp_path, rows=700))


def test_a_clock_that_jumps_ten_years_costs_no_event(tmp_path: Path) -> None:
    chaos.check(chaos_outbox.clock_jumps(tmp_path, events_s=0.5))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # paho leaves closing a failed handshake to Python
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_never_answers_costs_no_frame() -> None:
    chaos.check(chaos_daemon.silent_broker(seconds=1.5, limit=60))


def test_a_full_disk_costs_no_event_and_health_reports_it(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.disk_full(tmp_path))


def test_a_disk_that_hangs_stops_nothing_and_health_reports_it(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.disk_silent(tmp_path))


def test_a_damaged_outbox_is_set_aside_and_the_daemon_starts(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.corrupt_file(tmp_path))


def test_restarts_of_broker_and_camera_leave_no_thread_and_no_file_open(tmp_path: Path) -> None:
    chaos.check(chaos_daemon.soak(tmp_path, 300, 1, 1))


def test_with_a_quarter_of_a_cpu_frames_are_rare_but_fresh(tmp_path: Path) -> None:
    chaos.check(quota.little_processor(tmp_path, seconds=5))


def test_a_camera_that_stops_sending_is_offline_and_back_within_ten_seconds(tmp_path: Path) -> None:
    chaos.check(chaos_cameras.http_frozen(tmp_path))


def test_no_damaged_model_reaches_an_interpreter(tmp_path: Path) -> None:
    chaos.check(damaged_models.damaged(tmp_path, mutants=30))
