"""Brief movements in the daemon: needs a fast, regular frame rate, sees every frame, costs nothing if off."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from edge.analysis.micro.pace import FAILS, LOOK_S, WINDOW_S, Regularity
from edge.contract import messages
from edge.contract.messages import Topics
from edge.node.build import WATCHED_FPS, build_watch, capture_opener
from edge.node.micro import LEAST_EYES, MOST_FACES, RING, Watch, apart, eyes_of
from edge.settings import Settings
from edge.settings.tables import Camera as CameraSettings
from edge.sources.capture import Capture, Slots
from edge.types import Box, Face, Frame, Image, Movement, Track
from tests.captures import until
from tests.contract import breach
from training.micro.faces import built_in
from training.micro.render import Renderer
from training.micro.script import Movement as Truth
from training.micro.script import write_script

PERIOD = 1 / 60


def verdicts(times: Iterator[float] | np.ndarray, until: float) -> Regularity:
    regularity, looks = Regularity(), iter(np.arange(0, until, 0.2))
    look = next(looks)
    for taken in times:
        while look is not None and look <= taken:
            regularity.judge(look)
            look = next(looks, None)
        regularity.note(float(taken))
    while look is not None:
        regularity.judge(look)
        look = next(looks, None)
    return regularity


def track(number: int = 1, eyes_apart: float = 100.0, seen: float = 0.0, side: float = 300.0) -> Track:
    face = Face(Box(0, 0, side, side), 0.9, ((100.0, 100.0), (100.0 + eyes_apart, 100.0)))
    return Track(number, face, 0.0, seen, announced=True)


# Frame rate


@pytest.mark.parametrize(
    ("fps", "fit"), [(30, False), (50, False), (57, False), (59, True), (60, True), (200, True)]
)
def test_frame_rate_is_accepted_from_58_fps(fps: int, fit: bool) -> None:
    regularity = verdicts(np.arange(0, 4, 1 / fps), 4.0)
    assert regularity.fit is fit
    assert regularity.last is not None
    assert regularity.last.fps == pytest.approx(fps, abs=0.6)
    if not fit:
        assert "pictures a second; expected at least 58" in regularity.last.words


def test_frames_in_bursts_are_rejected() -> None:
    times = np.sort(np.concatenate([np.arange(0, 4, 2 / 60), np.arange(0, 4, 2 / 60) + 0.002]))
    regularity = verdicts(times, 4.0)
    assert not regularity.fit
    assert regularity.last is not None
    assert "jitter" in regularity.last.words


def test_slowed_source_is_unfit_within_5_s_and_recovers() -> None:
    regularity = Regularity()
    now, unfit = 0.0, None
    for _ in range(60 * 4):
        now += PERIOD
        regularity.note(now)
        regularity.judge(now)
    assert regularity.fit
    slowed = now
    while now < slowed + 5.0:
        now += 1 / 40
        regularity.note(now)
        regularity.judge(now)
        if not regularity.fit and unfit is None:
            unfit = now
    assert unfit is not None
    assert unfit - slowed <= 5.0
    for _ in range(60 * 4):
        now += PERIOD
        regularity.note(now)
        regularity.judge(now)
    assert regularity.fit


def test_stopped_source_is_unfit_without_a_frame() -> None:
    regularity = verdicts(np.arange(0, 4, PERIOD), 4.0 + WINDOW_S + (FAILS + 1) * LOOK_S)
    assert not regularity.fit


# Watch


def offer(watch: Watch, image: Image, taken: float, camera: str = "hall") -> None:
    watch.offer(Frame(image, taken, 1000.0 + taken, 1, camera))


def test_movement_of_a_watched_face_is_spotted() -> None:
    truth = Truth("brow_right", 6.4, 6.5, 6.65, 0.02, (0, -1))
    script = replace(write_script(7, seconds=8.4, moving=False), movements=(truth,), eye_distance=80.0)
    script = replace(script, speech=(), turns=(), nods=(), blinks=())
    renderer = Renderer(built_in(7), script)
    begun = 100.0
    now = begun
    watch = Watch("hall", lambda: now)
    try:
        for at, image in renderer.frames(60.0):
            # Feed as fast as they are consumed: timestamps come from the frames, not the clock.
            until(lambda: len(watch._ring) < RING // 2)
            if watch.state == "measuring":
                time.sleep(0.005)  # its thread needs to run to judge the frame rate
            eyes = renderer.eyes(at)
            face = Face(Box(0, 0, 200, 200), 0.9, eyes)
            watch.faces([Track(3, face, 0.0, begun + at, announced=True)])
            now = begun + at
            offer(watch, image, now)
        found: list[Movement] = []

        def found_some() -> bool:
            found.extend(watch.take())
            return bool(found)

        until(found_some)
    finally:
        watch.stop()
    (moved,) = found
    assert (moved.track, moved.region, moved.camera) == (3, "brow_right", "hall")
    onset, offset = moved.onset - 1000.0 - begun, moved.offset - 1000.0 - begun
    assert min(offset, truth.offset) - max(onset, truth.onset) > 0.5 * (truth.offset - truth.onset)
    assert moved.offset <= moved.wall <= moved.offset + 2.0
    message = messages.movement(Topics("emotion-edge", "pi"), moved)
    assert message.topic == "emotion-edge/pi/hall/movement"
    assert (message.qos, message.retain, message.max_age_s) == (0, False, 10.0)
    assert breach("movement", message.payload.decode()) is None
    assert not {"emotion", "label"} & json.loads(message.payload).keys()


def test_30_fps_are_rejected_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch("hall")
    with caplog.at_level(logging.INFO):
        deadline = time.monotonic() + 20
        while watch.state != "refused" and time.monotonic() < deadline:
            offer(watch, np.zeros((8, 8), np.uint8), time.monotonic())
            time.sleep(1 / 30)
    watch.stop()
    assert watch.health().state == "refused"
    assert watch.story.startswith("movements refused: ")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("camera hall: movements refused: ")
    assert line.endswith("pictures a second; expected at least 58")
    assert watch.take() == []


def test_slowed_source_is_rejected_within_5_s_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 100.0
    watch = Watch("hall", lambda: now)

    def pass_time(fps: float, seconds: float) -> None:
        """Offer frames for *seconds*, in steps that the thread keeps up with."""
        nonlocal now
        for _ in range(round(4 * seconds)):
            for _ in range(round(fps / 4)):
                now += 1 / fps
                offer(watch, np.zeros((8, 8), np.uint8), now)
            if now - 100 > WINDOW_S + LOOK_S:
                until(lambda now=now: watch._regularity._judged > now - LOOK_S)

    try:
        with caplog.at_level(logging.INFO):
            pass_time(60, 4)
            until(lambda: watch.state == "spotting")
            slowed = now
            while watch.state == "spotting" and now - slowed < 10:
                pass_time(40, 0.25)
            assert watch.state == "refused"
            assert now - slowed <= 5
    finally:
        watch.stop()
    assert watch.story.startswith("movements refused: ")
    assert caplog.records[-1].getMessage() == f"camera hall: {watch.story}"
    assert watch.story.endswith("pictures a second; expected at least 58")


def test_small_faces_are_skipped_and_counted() -> None:
    watch = Watch("hall")
    tracks = [track(1, 100), track(2, LEAST_EYES - 1), track(3, 80), track(4, 70)]
    watch.faces(tracks)
    assert list(watch._eyes) == [1, 3][:MOST_FACES]
    assert watch.health().left_out == 1


def test_eyes_are_estimated_if_the_detector_gives_none() -> None:
    bare = replace(track(), face=Face(Box(10, 20, 200, 200), 0.9))
    assert apart(eyes_of(bare)) == pytest.approx(0.38 * 200)
    assert apart(eyes_of(track(1, 77))) == 77


def test_spotting_pauses_under_cpu_pressure(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    watch = Watch("hall", lambda: now)
    watch.pressed = True
    with caplog.at_level(logging.INFO):
        for number in range(240):
            now = number * PERIOD
            offer(watch, np.zeros((8, 8), np.uint8), now)
        until(lambda: watch.state == "paused")
    watch.stop()
    assert watch.story == "movements paused: short of processor time"
    assert len(watch._ring) == 0
    assert next(record.getMessage() for record in caplog.records).endswith("short of processor time")


# Wiring


def test_every_frame_is_offered_and_slots_stay_thinned() -> None:
    offered: list[Frame] = []
    slots = Slots()
    taken = 0
    part = CameraSettings(source="portraits", width=320, height=240, fps=10.0)

    class Stub:
        def offer(self, frame: Frame) -> None:
            offered.append(frame)

    from edge.host.heartbeats import Heartbeats

    opener = capture_opener(part, slots, Heartbeats(), Stub())  # type: ignore[arg-type]
    capture: Capture = opener(lambda status, reason: None)
    capture.start()
    try:
        while len(offered) < 90:
            taken += slots.take(1.0) is not None
    finally:
        capture.stop()
    assert [frame.seq for frame in offered] == list(range(1, len(offered) + 1))
    seconds = offered[-1].taken - offered[0].taken
    assert taken <= 10 * seconds + 2
    assert len(offered) / seconds <= WATCHED_FPS + 2


def test_disabled_micro_has_no_watch_and_imports_nothing() -> None:
    assert build_watch("hall", Settings()) is None
    program = (
        "import sys, edge.commands.run, edge.commands.bench, edge.commands.analyze\n"
        "from edge.settings import Settings\n"
        "from edge.node.build import build_watch\n"
        "assert build_watch('hall', Settings()) is None\n"
        "sys.exit(any('micro' in name for name in sys.modules if name.startswith('edge.')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_reload_enables_and_disables_micro(tmp_path_factory: pytest.TempPathFactory) -> None:
    from edge.node.build import open_engine
    from tests.test_live import LiveNode, settings

    off, on = settings(), settings(micro={"enabled": True})
    home = LiveNode(open_engine(off), tmp_path_factory.mktemp("home"), off, {})
    try:
        assert home.live.watching == ()
        assert "micro" not in home.live.cameras["hall"].health(1.0).__repr__().replace("micro=None", "")
        home.reload(on)
        assert home.live.watching == ("measuring",)
        watch = home.live.cameras["hall"].watch
        assert watch is not None

        def measured() -> bool:
            home.live.tick()
            return watch.health().fps is not None

        until(measured)
        home.reload(off)
        assert home.live.watching == ()
        assert home.live.cameras["hall"].watch is None
    finally:
        home.live.close()
