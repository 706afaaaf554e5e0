"""A camera kept alive, with real threads and a real network stream."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from edge.sources import open_source
from edge.sources.capture import Capture, Slots
from edge.types import EdgeError, EndOfStreamError, Frame, Image
from tests.fakes import CuttingServer, StreamServer, frame


class Script:
    """A source that gives what *picture* gives, every *period* seconds, until it is interrupted."""

    still = False

    def __init__(self, picture: Callable[[int], Image], period: float = 0.01) -> None:
        self.picture = picture
        self.period = period
        self.count = 0
        self.interrupted = threading.Event()
        self.closed = threading.Event()
        self.closed_by: str | None = None

    def read(self) -> Image:
        if self.interrupted.wait(self.period):
            raise EdgeError("closed while it was read")
        self.count += 1
        return self.picture(self.count)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.interrupted.set()
        self.closed.set()
        self.closed_by = threading.current_thread().name


class Hanging(Script):
    """Hangs in its third read until the test is over, as a driver does: interrupt() does not wake it."""

    over = threading.Event()

    def read(self) -> Image:
        if self.count == 2:
            self.over.wait(60)
        return super().read()


class FailingAtThree(Script):
    """Fails in its third read, as a camera that is unplugged."""

    def read(self) -> Image:
        if self.count == 2:
            raise EdgeError("no picture came; unplugged?")
        return super().read()


class HangingInClose(FailingAtThree):
    """Fails, and then hangs in close() until the test is over."""

    def close(self) -> None:
        Hanging.over.wait(60)
        super().close()


class RaisingInClose(FailingAtThree):
    def close(self) -> None:
        super().close()
        raise RuntimeError("VIDIOC_STREAMOFF: no such device")


@pytest.fixture(autouse=True)
def no_reader_outlives_its_test() -> Iterator[None]:
    Hanging.over.clear()
    yield
    Hanging.over.set()
    for thread in threading.enumerate():
        if thread.name.startswith(("capture ", "watch ")):
            thread.join(10)
            assert not thread.is_alive()


class Story:
    """What a capture tells, with the times."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.told: list[tuple[str, str]] = []
        self.at: list[float] = []

    def __call__(self, status: str, reason: str) -> None:
        self.told.append((status, reason))
        self.at.append(time.monotonic() - self.began)

    @property
    def statuses(self) -> list[str]:
        return [status for status, _ in self.told]


def moving(n: int) -> Image:
    return np.full((48, 64), n % 256, np.uint8)


def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_slot_keeps_the_newest_picture_and_tells_what_it_displaced() -> None:
    slots = Slots()
    assert not slots.put(frame(1.0, seq=1))
    assert slots.put(frame(2.0, seq=2))
    taken = slots.take(0)
    assert taken is not None
    assert taken.seq == 2
    assert slots.take(0) is None


def test_cameras_are_served_in_turn_whoever_is_faster() -> None:
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
def test_whoever_waits_is_woken_by_a_picture_and_by_the_end() -> None:
    slots = Slots()
    threading.Timer(0.05, slots.put, [frame(1.0)]).start()
    assert slots.take(5.0) is not None
    threading.Timer(0.05, slots.close).start()
    began = time.monotonic()
    assert slots.take(5.0) is None
    assert time.monotonic() - began < 2.0


def test_a_picture_that_is_forgotten_is_not_served() -> None:
    slots = Slots()
    slots.put(frame(1.0, camera="hall"))
    slots.drop("hall")
    slots.drop("hall")
    assert slots.take(0) is None


def test_frames_carry_name_number_and_the_time_they_were_read() -> None:
    slots, story = Slots(), Story()
    capture = Capture("hall", lambda: Script(moving), slots, story)
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
    assert story.told == [("online", "")]


def test_a_slow_analysis_gets_the_newest_and_the_rest_is_counted() -> None:
    slots = Slots()
    capture = Capture("hall", lambda: Script(moving), slots, Story())
    capture.start()
    until(lambda: capture.frames >= 20)
    capture.stop()
    taken = slots.take(0)
    assert taken is not None
    assert taken.seq == capture.frames
    assert capture.dropped == capture.frames - 1


def test_a_camera_that_is_missing_is_told_once_and_tried_until_it_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "edge.sources.capture")
    tries = itertools.count(1)

    def open_fourth() -> Script:
        if next(tries) < 4:
            raise EdgeError("/dev/video0: no such device")
        return Script(moving)

    story = Story()
    capture = Capture("hall", open_fourth, Slots(), story, retry_s=(0.02, 0.1))
    capture.start()
    until(lambda: capture.status == "online")
    capture.stop()
    assert story.told == [("offline", "/dev/video0: no such device"), ("online", "")]
    assert [record.message for record in caplog.records] == [
        "camera hall: offline: /dev/video0: no such device",
        "camera hall: online 64x48",
    ]


def test_waits_between_tries_double_up_to_a_bound() -> None:
    tries: list[float] = []

    def fail() -> Script:
        tries.append(time.monotonic())
        raise EdgeError("gone")

    capture = Capture("hall", fail, Slots(), Story(), retry_s=(0.1, 0.4))
    capture.start()
    until(lambda: len(tries) >= 7)
    capture.stop()
    waits = np.diff(tries[:7])
    for wait, longest in zip(waits, [0.1, 0.2, 0.4, 0.4, 0.4, 0.4], strict=True):
        assert wait >= longest / 2
    # 1.9 s at the most, and what a busy machine adds. Without the bound they were 3.15 s at the least.
    assert sum(waits) < 3.1


def test_a_fault_in_a_driver_is_healed_like_any_other_and_its_traceback_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def odd_buffer(n: int) -> Image:
        if n == 3:
            raise ValueError("odd\nbuffer")
        return moving(n)

    story = Story()
    capture = Capture("hall", lambda: Script(odd_buffer), Slots(), story, retry_s=(0.01, 0.02))
    capture.start()
    until(lambda: len(story.told) >= 7)
    capture.stop()
    assert story.told[:3] == [("online", ""), ("offline", "ValueError: odd buffer"), ("online", "")]
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.levelname == "ERROR"
    assert "in odd_buffer" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_dies_of_our_own_error_is_replaced() -> None:
    raised = []

    def tell(status: str, reason: str) -> None:
        if len(raised) < 2:
            raised.append(status)
            raise RuntimeError("a mistake in the callback")

    slots = Slots()
    capture = Capture("hall", lambda: Script(moving), slots, tell, stall_s=0.2, retry_s=(0.01, 0.02))
    capture.start()
    until(lambda: len(raised) == 2)
    slots.take(0)
    assert slots.take(5.0) is not None
    capture.stop()
    assert raised == ["online", "offline"]


def test_a_file_that_ends_is_offline_and_not_opened_again() -> None:
    opened = itertools.count()

    def short(n: int) -> Image:
        if n > 3:
            raise EndOfStreamError("played to its end")
        return moving(n)

    def open_short() -> Script:
        next(opened)
        return Script(short)

    story = Story()
    threads = threading.active_count()
    capture = Capture("hall", open_short, Slots(), story, retry_s=(0.01, 0.02), stall_s=0.5)
    capture.start()
    until(lambda: capture.ended)
    until(lambda: threading.active_count() == threads)
    assert story.told == [("online", ""), ("offline", "ended")]
    assert capture.frames == 3
    assert next(opened) == 1
    capture.stop()


def test_a_read_that_hangs_is_stale_then_given_up_for_a_new_one() -> None:
    sources: list[Script] = []

    def open_next() -> Script:
        sources.append(Hanging(moving) if not sources else Script(moving))
        return sources[-1]

    slots, story = Slots(), Story()
    capture = Capture("hall", open_next, slots, story, stall_s=0.5, give_up_s=3.0)
    capture.start()
    until(lambda: len(story.told) == 4)
    capture.stop()
    assert story.statuses == ["online", "stale", "offline", "online"]
    assert story.told[1][1].startswith("no picture for ")
    assert 0.5 <= story.at[1] - story.at[0] < 3.0
    assert sources[0].interrupted.is_set()
    assert not sources[0].closed.is_set()  # its reader has it still
    Hanging.over.set()
    assert sources[0].closed.wait(5.0)
    assert sources[0].closed_by == "capture hall"


def test_a_driver_that_hangs_in_close_is_offline_with_the_cause_and_the_camera_is_opened_anew() -> None:
    sources: list[Script] = []

    def open_next() -> Script:
        sources.append(HangingInClose(moving) if not sources else Script(moving))
        return sources[-1]

    story = Story()
    capture = Capture("hall", open_next, Slots(), story, stall_s=0.2, give_up_s=0.5)
    capture.start()
    until(lambda: len(story.told) == 3)
    capture.stop()
    assert story.told == [("online", ""), ("offline", "no picture came; unplugged?"), ("online", "")]
    assert len(sources) == 2
    assert not sources[0].closed.is_set()


@pytest.mark.quiet_clock
def test_a_dismissed_reader_that_hangs_in_close_does_not_hold_up_who_stops_the_camera() -> None:
    class Slow(Script):
        def close(self) -> None:
            Hanging.over.wait(60)

    capture = Capture("hall", lambda: Slow(moving), Slots(), Story())
    capture.start()
    until(lambda: capture.frames >= 2)
    began = time.monotonic()
    capture.stop(0.2)
    assert 0.15 < time.monotonic() - began < 1.0


def test_a_driver_that_raises_in_close_is_reported_once_and_the_camera_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "edge.sources.capture")
    story = Story()
    retry_s = 0.01, 0.02
    capture = Capture("hall", lambda: RaisingInClose(moving), Slots(), story, retry_s=retry_s)
    capture.start()
    until(lambda: len(story.told) >= 6)
    capture.stop()
    assert story.statuses[:6] == ["online", "offline"] * 3
    told = [record for record in caplog.records if "failed to close" in record.message]
    assert [record.message for record in told] == ["camera hall: the driver failed to close it"]
    assert told[0].exc_info is not None


def test_the_watch_outlives_a_reader_that_hangs_and_raises_in_close_when_it_wakes() -> None:
    class Both(Hanging):
        def close(self) -> None:
            raise RuntimeError("VIDIOC_STREAMOFF: no such device")

    sources: list[Script] = []

    def open_next() -> Script:
        sources.append(Both(moving) if len(sources) < 2 else Script(moving))
        return sources[-1]

    story = Story()
    capture = Capture("hall", open_next, Slots(), story, stall_s=0.2, give_up_s=0.5)
    capture.start()
    until(lambda: len(sources) == 3 and capture.status == "online")
    capture.stop()
    assert story.statuses.count("offline") == 2


@pytest.mark.quiet_clock
def test_cameras_that_hang_for_ever_do_not_pile_up_threads() -> None:
    threads = threading.active_count()
    capture = Capture("hall", lambda: Hanging(moving), Slots(), Story(), stall_s=0.1, give_up_s=0.2)
    capture.start()
    time.sleep(1.5)
    assert threading.active_count() <= threads + 4  # three that hang, and the watch
    began = time.monotonic()
    capture.stop(0.2)
    assert time.monotonic() - began < 1.0


def test_a_picture_that_stands_still_is_stale_and_is_not_analysed() -> None:
    still = threading.Event()
    last = [0]

    def picture(n: int) -> Image:
        if not still.is_set():
            last[0] = n
        return 100 + moving(last[0] % 100)

    slots, story = Slots(), Story()
    capture = Capture("hall", lambda: Script(picture), slots, story, freeze_s=0.3)
    capture.start()
    until(lambda: capture.frames > 5)
    still.set()
    until(lambda: capture.status == "stale")
    assert slots.take(0.1) is None
    frames = capture.frames
    until(lambda: capture.frames > frames + 3)  # it is read on
    still.clear()
    until(lambda: capture.status == "online")
    assert slots.take(1.0) is not None
    capture.stop()
    assert story.told == [("online", ""), ("stale", "the picture stands still for 0.3 s"), ("online", "")]


def test_a_covered_lens_is_dark_and_stays_online_and_a_lamp_in_the_night_is_not() -> None:
    random = np.random.default_rng(0)
    black = random.integers(14, 24, (48, 64)).astype(np.uint8)
    lamp = black.copy()
    lamp[10:30, 20:44] = 200
    shown = [black]

    def picture(n: int) -> Image:
        return np.roll(shown[0], n, 1)

    story = Story()
    capture = Capture("hall", lambda: Script(picture), Slots(), story, dark_s=0.1, freeze_s=0.2)
    capture.start()
    until(lambda: capture.picture == "dark")
    shown[0] = lamp
    until(lambda: capture.picture == "ok")
    shown[0] = np.repeat(black[..., None], 3, 2)  # in colour
    until(lambda: capture.picture == "dark")
    shown[0] = np.zeros_like(black)  # rolled, it is the same picture again and again
    frames = capture.frames
    until(lambda: capture.frames > frames + 30)
    assert (capture.status, capture.picture) == ("online", "dark")
    capture.stop()
    assert story.told == [("online", "")]


def test_nothing_is_said_of_the_picture_of_a_camera_that_gives_none() -> None:
    camera = FailingAtThree(moving, 0.02)
    told: list[tuple[str, str | None]] = []

    def tell(status: str, reason: str) -> None:
        told.append((status, capture.picture))

    capture = Capture("hall", lambda: camera, Slots(), tell, retry_s=(60, 60))
    assert capture.picture is None
    capture.start()
    until(lambda: capture.picture == "ok")
    until(lambda: capture.status == "offline")
    assert capture.picture is None
    capture.stop()
    assert told == [("online", None), ("offline", None)]


def test_a_folder_of_images_may_stand_still() -> None:
    source = Script(lambda n: moving(1))
    source.still = True
    story = Story()
    capture = Capture("hall", lambda: source, Slots(), story, freeze_s=0.1, stall_s=0.1, give_up_s=0.2)
    source.period = 0.3
    capture.start()
    until(lambda: capture.frames == 4)
    capture.stop()
    assert story.told == [("online", "")]


def test_a_change_of_size_is_followed() -> None:
    slots = Slots()
    capture = Capture("hall", lambda: Script(lambda n: np.full((40 + n, 64), n, np.uint8)), slots, Story())
    capture.start()
    until(lambda: capture.frames > 3)
    taken = slots.take(1.0)
    capture.stop()
    assert taken is not None
    assert taken.size == (64, 40 + taken.seq)
    assert capture.status == "online"


@pytest.mark.parametrize("source", [Script, Hanging])
@pytest.mark.quiet_clock
def test_stopping_takes_no_longer_than_it_may_even_while_a_read_hangs(source: type[Script]) -> None:
    capture = Capture("hall", lambda: source(moving, 0.005), Slots(), Story())
    capture.start()
    until(lambda: capture.frames >= 2)
    time.sleep(0.05)
    began = time.monotonic()
    capture.stop(0.2)
    assert time.monotonic() - began < 1.0
    frames = capture.frames
    time.sleep(0.05)
    assert capture.frames == frames


def test_a_hundred_cycles_of_failure_leave_no_thread_and_no_descriptor_behind() -> None:
    opened = itertools.count()

    class Holding(Script):
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
    capture = Capture("hall", Holding, Slots(), Story(), retry_s=(0.001, 0.002))
    capture.start()
    until(lambda: capture.frames >= 200)
    capture.stop()
    assert next(opened) >= 100
    assert threading.active_count() <= before[0]
    assert descriptors() <= before[1]


@pytest.mark.quiet_clock
def test_a_stream_whose_sender_freezes_is_offline_and_back_within_ten_seconds() -> None:
    with StreamServer() as server:
        story = Story()
        capture = Capture("door", lambda: open_source(server.address), Slots(), story)
        capture.start()
        until(lambda: story.statuses == ["online"])
        server.freeze()
        frozen = time.monotonic()
        until(lambda: capture.status == "offline")
        assert time.monotonic() - frozen < 10
        server.thaw()  # it finds its client gone, and ends
        server.kill()
        server.start()
        back = time.monotonic()
        until(lambda: capture.status == "online")
        assert time.monotonic() - back < 10
        capture.stop()


def test_a_hundred_streams_cut_in_the_middle_of_a_picture_leave_nothing_behind() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    _, jpeg = cv2.imencode(".jpg", noise)
    with CuttingServer(jpeg.tobytes(), whole=30) as server:
        retry_s = 0.001, 0.002
        capture = Capture("door", lambda: open_source(server.address), Slots(), Story(), retry_s=retry_s)
        capture.start()
        until(lambda: server.served >= 10)
        before = threading.active_count(), descriptors()
        until(lambda: server.served >= 110)
        assert capture.frames > 100
        assert abs(threading.active_count() - before[0]) <= 1
        assert abs(descriptors() - before[1]) <= 3
        capture.stop()
