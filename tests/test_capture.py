"""A camera kept alive, with real threads and a real network stream."""

from __future__ import annotations

import itertools
import logging
import threading
import time

import numpy as np
import pytest

from edge.sources.capture import Capture, Slots
from edge.types import EdgeError, EndOfStreamError, Frame, Image
from tests.captures import ScriptedSource, StatusLog, moving, no_reader_outlives_its_test, until
from tests.fakes import frame

__all__ = ["no_reader_outlives_its_test"]  # a fixture


def test_slot_keeps_newest_picture_and_reports_displacement() -> None:
    slots = Slots()
    assert not slots.put(frame(1.0, seq=1))
    assert slots.put(frame(2.0, seq=2))
    taken = slots.take(0)
    assert taken is not None
    assert taken.seq == 2
    assert slots.take(0) is None


def test_cameras_are_served_in_turn_whatever_their_rate() -> None:
    slots = Slots()
    served = []
    for n in range(6):
        slots.put(frame(n, camera="fast"))
        slots.put(frame(n, camera="fast"))
        slots.put(frame(n, camera="slow"))
        taken = slots.take(0)
        assert taken is not None
        served.append(taken.camera)
    assert served == ["fast", "slow", "fast", "slow", "fast", "slow"]


@pytest.mark.quiet_clock
def test_waiting_consumer_wakes_on_a_picture() -> None:
    slots = Slots()
    threading.Timer(0.05, slots.put, [frame(1.0)]).start()
    began = time.monotonic()
    assert slots.take(5.0) is not None
    assert time.monotonic() - began < 2.0


def test_dropped_picture_is_not_served() -> None:
    slots = Slots()
    slots.put(frame(1.0, camera="hall"))
    slots.drop("hall")
    slots.drop("hall")
    assert slots.take(0) is None


def test_frames_carry_camera_number_and_time() -> None:
    slots, story = Slots(), StatusLog()
    capture = Capture("hall", lambda: ScriptedSource(moving), slots, story)
    began = time.monotonic()
    capture.start()
    taken: list[Frame] = []
    while len(taken) < 3:
        if (next_frame := slots.take(2.0)) is not None:
            taken.append(next_frame)
    capture.stop()
    assert [each.camera for each in taken] == ["hall"] * 3
    assert [each.seq for each in taken] == sorted({each.seq for each in taken})
    assert began < taken[0].taken < taken[1].taken < time.monotonic()
    assert taken[0].wall == pytest.approx(time.time(), abs=5)
    assert int(taken[2].image[0, 0]) == taken[2].seq
    assert story.reported == [("online", "")]


def test_slow_analysis_gets_newest_frame_and_counts_dropped() -> None:
    slots = Slots()
    capture = Capture("hall", lambda: ScriptedSource(moving), slots, StatusLog())
    capture.start()
    until(lambda: capture.frames >= 20)
    capture.stop()
    taken = slots.take(0)
    assert taken is not None
    assert taken.seq == capture.frames
    assert capture.dropped == capture.frames - 1


def test_missing_camera_is_reported_once_and_retried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "edge.sources.capture")
    tries = itertools.count(1)

    def open_fourth() -> ScriptedSource:
        if next(tries) < 4:
            raise EdgeError("/dev/video0: no such device")
        return ScriptedSource(moving)

    story = StatusLog()
    capture = Capture("hall", open_fourth, Slots(), story, retry_s=(0.02, 0.1))
    capture.start()
    until(lambda: capture.status == "online")
    capture.stop()
    assert story.reported == [("offline", "/dev/video0: no such device"), ("online", "")]
    assert [record.message for record in caplog.records] == [
        "camera hall: offline: /dev/video0: no such device",
        "camera hall: online 64x48",
    ]


def test_retry_delay_doubles_up_to_a_limit() -> None:
    tries: list[float] = []

    def fail() -> ScriptedSource:
        tries.append(time.monotonic())
        raise EdgeError("gone")

    capture = Capture("hall", fail, Slots(), StatusLog(), retry_s=(0.1, 0.4))
    capture.start()
    until(lambda: len(tries) >= 7)
    capture.stop()
    waits = np.diff(tries[:7])
    for wait, longest in zip(waits, [0.1, 0.2, 0.4, 0.4, 0.4, 0.4], strict=True):
        assert wait >= longest / 2
    # At most 1.9 s, plus load. Without the bound it would be at least 3.15 s.
    assert sum(waits) < 3.1


def test_driver_error_is_retried_and_its_traceback_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def odd_buffer(n: int) -> Image:
        if n == 3:
            raise ValueError("odd\nbuffer")
        return moving(n)

    story = StatusLog()
    capture = Capture("hall", lambda: ScriptedSource(odd_buffer), Slots(), story, retry_s=(0.01, 0.02))
    capture.start()
    until(lambda: len(story.reported) >= 7)
    capture.stop()
    assert story.reported[:3] == [("online", ""), ("offline", "ValueError: odd buffer"), ("online", "")]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.levelname == "ERROR"
    assert "in odd_buffer" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_reader_killed_by_our_own_bug_is_replaced() -> None:
    raised = []

    def on_status(status: str, reason: str) -> None:
        if len(raised) < 2:
            raised.append(status)
            raise RuntimeError("a mistake in the callback")

    slots = Slots()
    capture = Capture(
        "hall", lambda: ScriptedSource(moving), slots, on_status, stall_s=0.2, retry_s=(0.01, 0.02)
    )
    capture.start()
    until(lambda: len(raised) == 2)
    slots.take(0)
    assert slots.take(5.0) is not None
    capture.stop()
    assert raised == ["online", "offline"]


def test_ended_file_is_offline_and_not_reopened() -> None:
    opened = itertools.count()

    def short(n: int) -> Image:
        if n > 3:
            raise EndOfStreamError("played to its end")
        return moving(n)

    def open_short() -> ScriptedSource:
        next(opened)
        return ScriptedSource(short)

    story = StatusLog()
    threads = threading.active_count()
    capture = Capture("hall", open_short, Slots(), story, retry_s=(0.01, 0.02), stall_s=0.5)
    capture.start()
    until(lambda: capture.ended)
    until(lambda: threading.active_count() == threads)
    assert story.reported == [("online", ""), ("offline", "ended")]
    assert capture.frames == 3
    assert next(opened) == 1
    capture.stop()
