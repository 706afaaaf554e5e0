"""Captures with drivers that hang, raise or freeze, and what they leave behind."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time

import cv2
import numpy as np
import pytest

from edge.sources import open_source
from edge.sources.capture import Capture, Slots
from edge.types import EdgeError, Image
from tests.captures import (
    FailingAtThree,
    Hanging,
    HangingInClose,
    RaisingInClose,
    ScriptedSource,
    StatusLog,
    descriptors,
    moving,
    no_reader_outlives_its_test,
    until,
)
from tests.fakes import CuttingServer, StreamServer

__all__ = ["no_reader_outlives_its_test"]  # a fixture


def test_hung_read_is_stale_then_replaced() -> None:
    sources: list[ScriptedSource] = []

    def open_next() -> ScriptedSource:
        sources.append(Hanging(moving) if not sources else ScriptedSource(moving))
        return sources[-1]

    slots, story = Slots(), StatusLog()
    capture = Capture("hall", open_next, slots, story, stall_s=0.5, give_up_s=3.0)
    capture.start()
    until(lambda: len(story.reported) == 4)
    capture.stop()
    assert story.statuses == ["online", "stale", "offline", "online"]
    assert story.reported[1][1].startswith("no picture for ")
    assert 0.5 <= story.at[1] - story.at[0] < 3.0
    assert sources[0].interrupted.is_set()
    assert not sources[0].closed.is_set()  # its reader still holds it
    Hanging.over.set()
    assert sources[0].closed.wait(5.0)
    assert sources[0].closed_by == "capture hall"


def test_driver_hung_in_close_is_offline_and_camera_is_reopened() -> None:
    sources: list[ScriptedSource] = []

    def open_next() -> ScriptedSource:
        sources.append(HangingInClose(moving) if not sources else ScriptedSource(moving))
        return sources[-1]

    story = StatusLog()
    capture = Capture("hall", open_next, Slots(), story, stall_s=0.2, give_up_s=0.5)
    capture.start()
    until(lambda: len(story.reported) == 3)
    capture.stop()
    assert story.reported == [("online", ""), ("offline", "no picture came; unplugged?"), ("online", "")]
    assert len(sources) == 2
    assert not sources[0].closed.is_set()


@pytest.mark.quiet_clock
def test_replaced_reader_hung_in_close_does_not_delay_stop() -> None:
    class Slow(ScriptedSource):
        def close(self) -> None:
            Hanging.over.wait(60)

    capture = Capture("hall", lambda: Slow(moving), Slots(), StatusLog())
    capture.start()
    until(lambda: capture.frames >= 2)
    began = time.monotonic()
    capture.stop(0.2)
    assert 0.15 < time.monotonic() - began < 1.0


def test_driver_error_in_close_is_logged_once_and_camera_runs_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "edge.sources.capture")
    story = StatusLog()
    retry_s = 0.01, 0.02
    capture = Capture("hall", lambda: RaisingInClose(moving), Slots(), story, retry_s=retry_s)
    capture.start()
    until(lambda: len(story.reported) >= 6)
    capture.stop()
    assert story.statuses[:6] == ["online", "offline"] * 3
    reported = [record for record in caplog.records if "failed to close" in record.message]
    assert [record.message for record in reported] == ["camera hall: the driver failed to close it"]
    assert reported[0].exc_info is not None


def test_watch_survives_reader_that_hangs_then_raises_in_close() -> None:
    class Both(Hanging):
        def close(self) -> None:
            raise RuntimeError("VIDIOC_STREAMOFF: no such device")

    sources: list[ScriptedSource] = []

    def open_next() -> ScriptedSource:
        sources.append(Both(moving) if len(sources) < 2 else ScriptedSource(moving))
        return sources[-1]

    story = StatusLog()
    capture = Capture("hall", open_next, Slots(), story, stall_s=0.2, give_up_s=0.5)
    capture.start()
    until(lambda: len(sources) == 3 and capture.status == "online")
    capture.stop()
    assert story.statuses.count("offline") == 2


@pytest.mark.quiet_clock
def test_hung_cameras_do_not_pile_up_threads() -> None:
    threads = threading.active_count()
    capture = Capture("hall", lambda: Hanging(moving), Slots(), StatusLog(), stall_s=0.1, give_up_s=0.2)
    capture.start()
    time.sleep(1.5)
    assert threading.active_count() <= threads + 4  # three hung readers and the watch
    began = time.monotonic()
    capture.stop(0.2)
    assert time.monotonic() - began < 1.0


def test_frozen_picture_is_stale_and_not_analyzed() -> None:
    still = threading.Event()
    last = [0]

    def picture(n: int) -> Image:
        if not still.is_set():
            last[0] = n
        return 100 + moving(last[0] % 100)

    slots, story = Slots(), StatusLog()
    capture = Capture("hall", lambda: ScriptedSource(picture), slots, story, freeze_s=0.3)
    capture.start()
    until(lambda: capture.frames > 5)
    still.set()
    until(lambda: capture.status == "stale")
    assert slots.take(0.1) is None
    frames = capture.frames
    until(lambda: capture.frames > frames + 3)  # reading continues
    still.clear()
    until(lambda: capture.status == "online")
    assert slots.take(1.0) is not None
    capture.stop()
    assert story.reported == [("online", ""), ("stale", "the picture is frozen for 0.3 s"), ("online", "")]


def test_covered_lens_is_dark_but_online_unlike_a_lamp_at_night() -> None:
    random = np.random.default_rng(0)
    black = random.integers(14, 24, (48, 64)).astype(np.uint8)
    lamp = black.copy()
    lamp[10:30, 20:44] = 200
    shown = [black]

    def picture(n: int) -> Image:
        return np.roll(shown[0], n, 1)

    story = StatusLog()
    capture = Capture("hall", lambda: ScriptedSource(picture), Slots(), story, dark_s=0.1, freeze_s=0.2)
    capture.start()
    until(lambda: capture.picture == "dark")
    shown[0] = lamp
    until(lambda: capture.picture == "ok")
    shown[0] = np.repeat(black[..., None], 3, 2)  # in color
    until(lambda: capture.picture == "dark")
    shown[0] = np.zeros_like(black)  # black rolled is still black: a frozen picture
    frames = capture.frames
    until(lambda: capture.frames > frames + 30)
    assert (capture.status, capture.picture) == ("online", "dark")
    capture.stop()
    assert story.reported == [("online", "")]


def test_silent_camera_has_no_picture_rating() -> None:
    camera = FailingAtThree(moving, 0.02)
    reported: list[tuple[str, str | None]] = []

    def on_status(status: str, reason: str) -> None:
        reported.append((status, capture.picture))

    capture = Capture("hall", lambda: camera, Slots(), on_status, retry_s=(60, 60))
    assert capture.picture is None
    capture.start()
    until(lambda: capture.picture == "ok")
    until(lambda: capture.status == "offline")
    assert capture.picture is None
    capture.stop()
    assert reported == [("online", None), ("offline", None)]


def test_image_folder_is_never_frozen() -> None:
    source = ScriptedSource(lambda n: moving(1))
    source.still = True
    story = StatusLog()
    capture = Capture("hall", lambda: source, Slots(), story, freeze_s=0.1, stall_s=0.1, give_up_s=0.2)
    source.period = 0.3
    capture.start()
    until(lambda: capture.frames == 4)
    capture.stop()
    assert story.reported == [("online", "")]


def test_frame_size_change_is_followed() -> None:
    slots = Slots()
    capture = Capture(
        "hall", lambda: ScriptedSource(lambda n: np.full((40 + n, 64), n, np.uint8)), slots, StatusLog()
    )
    capture.start()
    until(lambda: capture.frames > 3)
    taken = slots.take(1.0)
    capture.stop()
    assert taken is not None
    assert taken.size == (64, 40 + taken.seq)
    assert capture.status == "online"


@pytest.mark.parametrize("source", [ScriptedSource, Hanging])
@pytest.mark.quiet_clock
def test_stop_keeps_its_time_limit_while_a_read_hangs(source: type[ScriptedSource]) -> None:
    capture = Capture("hall", lambda: source(moving, 0.005), Slots(), StatusLog())
    capture.start()
    until(lambda: capture.frames >= 2)
    time.sleep(0.05)
    began = time.monotonic()
    capture.stop(0.2)
    assert time.monotonic() - began < 1.0
    frames = capture.frames
    time.sleep(0.05)
    assert capture.frames == frames


def test_hundred_failed_reopens_leak_no_thread_or_descriptor() -> None:
    opened = itertools.count()

    class Holding(ScriptedSource):
        """Holds a descriptor while it is open, and fails in the middle of a picture."""

        def __init__(self) -> None:
            super().__init__(moving, 0.0)
            next(opened)
            self.descriptor = os.open(os.devnull, os.O_RDONLY)

        def read(self) -> Image:
            if self.count == 2:
                raise EdgeError("killed in the middle of a picture")
            return super().read()

        def close(self) -> None:
            if not self.closed.is_set():
                os.close(self.descriptor)
            super().close()

    before = threading.active_count(), descriptors()
    capture = Capture("hall", Holding, Slots(), StatusLog(), retry_s=(0.001, 0.002))
    capture.start()
    until(lambda: capture.frames >= 200)
    capture.stop()
    assert next(opened) >= 100
    assert threading.active_count() <= before[0]
    assert descriptors() <= before[1]


@pytest.mark.quiet_clock
def test_stream_with_frozen_sender_is_back_within_10_s() -> None:
    with StreamServer() as server:
        story = StatusLog()
        capture = Capture("door", lambda: open_source(server.address), Slots(), story)
        capture.start()
        until(lambda: story.statuses == ["online"])
        server.freeze()
        frozen = time.monotonic()
        until(lambda: capture.status == "offline")
        assert time.monotonic() - frozen < 10
        server.thaw()  # finds its client gone, and exits
        server.kill()
        server.start()
        back = time.monotonic()
        until(lambda: capture.status == "online")
        assert time.monotonic() - back < 10
        capture.stop()


def test_hundred_cut_streams_leak_no_thread_or_descriptor() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", noise)
    with CuttingServer(jpeg.tobytes(), whole=30) as server:
        retry_s = 0.001, 0.002
        capture = Capture("door", lambda: open_source(server.address), Slots(), StatusLog(), retry_s=retry_s)
        capture.start()
        until(lambda: server.served >= 10)
        before = threading.active_count(), descriptors()
        until(lambda: server.served >= 110)
        assert capture.frames > 100
        assert abs(threading.active_count() - before[0]) <= 1
        assert abs(descriptors() - before[1]) <= 3
        capture.stop()
