"""Camera control between two frames: enable, disable, restart, remove."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.analysis.track import Tracker
from edge.contract.messages import Topics
from edge.contract.switches import Switches
from edge.node import camera
from edge.node.announce import Announcer, EventIds
from edge.node.camera import Camera, retained_topics
from edge.sources.capture import Capture, Slots
from edge.types import Analysis, Frame, Image
from tests.broker import eventually
from tests.fakes import ClassifierByPlace, ScriptedDetector, TwoWaySink, face, picture

HALL = "emotion-edge/pi/hall"


class CountingSource:
    """A source that records whether it is open and how often it was read."""

    still = True

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._interrupted = threading.Event()
        self._closed = threading.Event()
        rig.open += 1
        rig.opened += 1

    def read(self) -> Image:
        self._interrupted.wait(0.01)
        self._rig.read += 1
        return picture()

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._rig.open -= 1


class Rig:
    """Cameras with one happy face each, and the messages they published."""

    def __init__(self) -> None:
        self.open = self.opened = self.read = 0
        self.sink = TwoWaySink()
        self.slots = Slots()
        self.topics = Topics("emotion-edge", "pi")
        self.cameras: dict[str, Camera] = {}
        self.ids = EventIds()

    def add(self, name: str, switches: Switches) -> None:
        self.cameras[name] = Camera(
            name, self.sink, self.topics, self.slots,
            lambda _: Capture(name, lambda: CountingSource(self), self.slots, lambda status, reason: None),
            Pipeline(
                name, ScriptedDetector([face()]), ClassifierByPlace({0.0: "happy"}), Tracker(), Rules(),
                time.perf_counter,
            ),
            Announcer(name, self.topics, 2.0, self.ids, time.monotonic()),
            Rules(),
            switches,
        )  # fmt: skip
        self.cameras[name].start()

    def turn(self, switch: str, value: bool | float) -> None:
        """Set a switch of the hall, as a command does."""
        hall = self.cameras["hall"]
        hall.turn(switch, hall.switches.turned(switch, value, hall.configured))

    def run_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (frame := self.slots.take(0.05)) is not None:
                self.cameras[frame.camera].analyze(frame)
            for served in self.cameras.values():
                served.tick()

    def until(self, topic: str, part: str) -> None:
        for _ in range(100):
            if any(part in payload for payload in self.sink.payloads(topic)[-1:]):
                return
            self.run_for(0.05)
        pytest.fail(f"{topic} does not say {part}: {self.sink.payloads(topic)[-1:]}")

    def close(self) -> None:
        for served in self.cameras.values():
            served.close()

    def events(self) -> list[str]:
        return [json.loads(payload)["event_type"] for payload in self.sink.payloads(f"{HALL}/event")]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(camera, "REOPEN_S", 0.0)
    rig = Rig()
    yield rig
    rig.close()


def test_disabled_camera_is_closed_and_its_faces_leave(rig: Rig) -> None:
    rig.add("hall", Switches())
    rig.until(f"{HALL}/state", '"present":"ON"')
    rig.turn("enabled", False)
    assert rig.open == 0
    assert rig.sink.payloads(f"{HALL}/status")[-1] == "disabled"
    assert rig.sink.payloads(f"{HALL}/enabled/state") == ["ON", "OFF"]
    assert rig.events() == ["face_appeared", "face_left"]
    assert json.loads(rig.sink.payloads(f"{HALL}/faces")[-1])["faces"] == []
    rig.until(f"{HALL}/state", '"emotion":"none"')

    read, reported = rig.read, len(rig.sink.messages)
    rig.run_for(0.5)
    assert (rig.read, len(rig.sink.messages)) == (read, reported)  # no picture, no message


def test_camera_resumes_when_enabled(rig: Rig) -> None:
    rig.add("hall", Switches(enabled=False))
    assert (rig.opened, rig.sink.payloads(f"{HALL}/status")) == (0, ["disabled"])
    rig.run_for(0.1)
    assert '"emotion":"none"' in rig.sink.payloads(f"{HALL}/state")[-1]
    rig.turn("enabled", True)
    rig.until(f"{HALL}/state", '"present":"ON"')
    assert rig.opened == 1
    assert rig.sink.payloads(f"{HALL}/status")[-1] == "offline"  # until its first picture says otherwise
    assert rig.sink.payloads(f"{HALL}/enabled/state") == ["OFF", "ON"]


def test_switch_states_are_published_once_and_on_each_set(rig: Rig) -> None:
    rig.add("hall", Switches(hold=2.0))
    states = {switch: f"{HALL}/{switch}/state" for switch in ("enabled", "min_confidence", "hold")}
    assert {name: rig.sink.payloads(topic) for name, topic in states.items()} == {
        "enabled": ["ON"], "min_confidence": ["0.5"], "hold": ["2"],
    }  # fmt: skip
    rig.turn("hold", 2.0)
    assert rig.sink.payloads(states["hold"]) == ["2", "2"]  # set again, reported again
    assert rig.sink.payloads(states["enabled"]) == ["ON"]


def test_rules_follow_configuration_unless_a_switch_overrides(rig: Rig) -> None:
    rig.add("hall", Switches(hold=2.0))
    rig.cameras["hall"].configure(Rules(min_confidence=0.7, hold_s=1.0, margin=0.1))
    assert rig.cameras["hall"].pipeline.rules == Rules(min_confidence=0.7, hold_s=2.0, margin=0.1)
    assert rig.sink.payloads(f"{HALL}/min_confidence/state") == ["0.5", "0.7"]
    rig.turn("hold", 1.0)
    rig.cameras["hall"].configure(Rules(hold_s=3.0))
    assert rig.cameras["hall"].pipeline.rules == Rules(hold_s=3.0)
    assert rig.sink.payloads(f"{HALL}/hold/state") == ["2", "1", "3"]


def test_switches_that_override_configuration_are_logged(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edge.node.camera")
    rig.add("porch", Switches())
    rig.add("hall", Switches(enabled=False, hold=2.0))
    rig.cameras["hall"].configure(Rules(hold_s=1.0))
    rig.cameras["hall"].configure(Rules(hold_s=2.0))
    rig.cameras["hall"].configure(Rules(hold_s=2.0))
    reported = ("enabled OFF, hold 2", "enabled OFF, hold 2", "enabled OFF")
    assert [text for name, _, text in caplog.record_tuples if name == "edge.node.camera"] == [
        f"camera hall: {what}, by switches that were set over MQTT" for what in reported
    ]


def test_restarted_camera_is_reopened_and_keeps_its_faces(rig: Rig) -> None:
    rig.add("hall", Switches())
    rig.until(f"{HALL}/state", '"present":"ON"')
    rig.cameras["hall"].restart()
    assert eventually(lambda: (rig.run_for(0.05), rig.opened)[1] == 2)
    assert rig.open == 1
    assert rig.events() == ["face_appeared"]


def test_camera_restarts_are_rate_limited(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.add("hall", Switches())
    rig.until(f"{HALL}/status", "offline")
    assert eventually(lambda: rig.opened == 1)
    monkeypatch.setattr(camera, "REOPEN_S", 5.0)
    for _ in range(10):
        rig.cameras["hall"].restart()
        rig.turn("enabled", False)
        rig.turn("enabled", True)
    rig.run_for(0.2)
    assert rig.opened == 1
    monkeypatch.setattr(camera, "REOPEN_S", 0.0)
    assert eventually(lambda: (rig.run_for(0.05), rig.opened)[1] == 2)
    rig.run_for(0.2)
    assert (rig.open, rig.opened) == (1, 2)


def test_restart_does_not_open_a_disabled_camera(rig: Rig) -> None:
    rig.add("hall", Switches(enabled=False))
    rig.cameras["hall"].restart()
    assert rig.opened == 0


def test_removed_camera_leaves_no_thread_and_no_retained_topic(rig: Rig) -> None:
    rig.add("hall", Switches())
    rig.add("porch", Switches())
    rig.until(f"{HALL}/state", '"present":"ON"')
    threads = threading.active_count()
    rig.cameras.pop("hall").remove()
    assert eventually(lambda: threading.active_count() <= threads - 2)
    assert rig.open == 1
    assert rig.events()[-1] == "face_left"
    assert rig.sink.forgotten == retained_topics(rig.topics, "hall")
    reported = [message.topic for message in rig.sink.messages if message.retain]
    retained = {topic for topic in reported if topic.startswith(HALL)}
    assert retained == set(rig.sink.forgotten)
    assert list(rig.cameras) == ["porch"]
    rig.run_for(0.3)


def test_close_marks_only_enabled_cameras_offline(rig: Rig) -> None:
    rig.add("hall", Switches(enabled=False))
    rig.add("porch", Switches())
    rig.close()
    assert rig.sink.payloads(f"{HALL}/status") == ["disabled"]
    assert rig.sink.payloads("emotion-edge/pi/porch/status")[-1] == "offline"
    assert rig.open == 0


def test_frame_that_fails_analysis_is_skipped_and_logged_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.add("hall", Switches())
    rig.until(f"{HALL}/state", '"present":"ON"')
    hall = rig.cameras["hall"]
    step = hall.pipeline.step
    bad = iter([True] * 3)

    def failing(frame: Frame) -> Analysis:
        if next(bad, False):
            raise ZeroDivisionError("no width")
        return step(frame)

    hall.pipeline.step = failing  # type: ignore[method-assign]
    rig.run_for(0.5)
    assert rig.cameras["hall"].health(1.0).failed == 3
    (logged,) = [record for record in caplog.records if record.exc_info]
    assert "could not be analyzed, and is skipped" in logged.getMessage()
    assert "ZeroDivisionError" in caplog.text
    assert rig.opened == 1
    assert hall.failures == 0
    assert json.loads(rig.sink.payloads(f"{HALL}/state")[-1])["present"] == "ON"


def test_ten_failures_in_a_row_close_only_that_camera(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera, "FAILED_S", (0.4, 0.4))
    rig.add("hall", Switches())
    rig.add("porch", Switches())
    hall = rig.cameras["hall"]
    hall.pause_s = 0.4
    step, failing = hall.pipeline.step, [True]

    def fail_for_a_while(frame: Frame) -> Analysis:
        if failing[0]:
            raise RuntimeError("the detector's memory is gone")
        return step(frame)

    hall.pipeline.step = fail_for_a_while  # type: ignore[method-assign]
    rig.until(f"{HALL}/status", "offline")
    for _ in range(100):
        rig.run_for(0.02)
        if hall.failure:
            break
    assert hall.failed == 10
    assert "camera hall offline: 10 frames in a row" in hall.story
    assert "RuntimeError: the detector's memory is gone" in hall.story
    assert rig.open == 1  # the porch's
    rig.until("emotion-edge/pi/porch/state", '"present":"ON"')
    failing[0] = False
    rig.until(f"{HALL}/state", '"present":"ON"')
    assert hall.failure == ""
    assert rig.open == 2


def test_health_omits_picture_without_frames(rig: Rig) -> None:
    rig.add("hall", Switches())
    rig.add("porch", Switches(enabled=False))
    rig.until(f"{HALL}/state", '"present":"ON"')
    health = {name: served.health(1.0) for name, served in rig.cameras.items()}
    assert (health["hall"].picture, health["porch"].picture) == ("ok", None)
    rig.turn("enabled", False)
    assert rig.cameras["hall"].health(1.0).picture is None


@pytest.mark.parametrize(
    ("values", "p50", "p95"),
    [([7.0], 7.0, 7.0), ([1.0, 2.0], 1.5, 1.95), (range(1, 11), 5.5, 9.55), (range(20), 9.5, 18.05)],
)
def test_percentile_95_of_few_values_is_below_the_maximum(
    rig: Rig, values: Sequence[float], p50: float, p95: float
) -> None:
    rig.add("porch", Switches(enabled=False))
    porch = rig.cameras["porch"]
    porch.latencies.extend(values)
    porch.stages["detect"] = deque(values)
    health = rig.cameras["porch"].health(1.0)
    assert health.latency_ms == pytest.approx((p50, p95))
    assert health.stage_ms["detect"] == pytest.approx((p50, p95))
