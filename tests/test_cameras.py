"""What may be done to a camera between two frames: on, off, restarted, removed."""

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


class Lamp:
    """A source that shows whether it is open and counts what is read of it."""

    still = True

    def __init__(self, house: House) -> None:
        self._house = house
        self._interrupted = threading.Event()
        self._closed = threading.Event()
        house.open += 1
        house.opened += 1

    def read(self) -> Image:
        self._interrupted.wait(0.01)
        self._house.read += 1
        return picture()

    def interrupt(self) -> None:
        self._interrupted.set()

    def close(self) -> None:
        if not self._closed.is_set():
            self._closed.set()
            self._house.open -= 1


class House:
    """Cameras with one happy face each, and what was published of them."""

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
            lambda: Capture(name, lambda: Lamp(self), self.slots, lambda status, reason: None),
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
        """As a command does."""
        hall = self.cameras["hall"]
        hall.turn(switch, hall.switches.turned(switch, value, hall.configured))

    def look(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (frame := self.slots.take(0.05)) is not None:
                self.cameras[frame.camera].analyse(frame)
            for served in self.cameras.values():
                served.tick()

    def until(self, topic: str, part: str) -> None:
        for _ in range(100):
            if any(part in payload for payload in self.sink.payloads(topic)[-1:]):
                return
            self.look(0.05)
        pytest.fail(f"{topic} does not say {part}: {self.sink.payloads(topic)[-1:]}")

    def close(self) -> None:
        for served in self.cameras.values():
            served.close()

    def events(self) -> list[str]:
        return [json.loads(payload)["event_type"] for payload in self.sink.payloads(f"{HALL}/event")]


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(camera, "REOPEN_S", 0.0)
    house = House()
    yield house
    house.close()


def test_a_camera_switched_off_is_closed_and_its_faces_leave(house: House) -> None:
    house.add("hall", Switches())
    house.until(f"{HALL}/state", '"present":"ON"')
    house.turn("enabled", False)
    assert house.open == 0
    assert house.sink.payloads(f"{HALL}/status")[-1] == "disabled"
    assert house.sink.payloads(f"{HALL}/enabled/state") == ["ON", "OFF"]
    assert house.events() == ["face_appeared", "face_left"]
    assert json.loads(house.sink.payloads(f"{HALL}/faces")[-1])["faces"] == []
    house.until(f"{HALL}/state", '"emotion":"none"')

    read, reported = house.read, len(house.sink.messages)
    house.look(0.5)
    assert (house.read, len(house.sink.messages)) == (read, reported)  # no picture, no message


def test_a_camera_resumes_when_switched_on_again(house: House) -> None:
    house.add("hall", Switches(enabled=False))
    assert (house.opened, house.sink.payloads(f"{HALL}/status")) == (0, ["disabled"])
    house.look(0.1)
    assert '"emotion":"none"' in house.sink.payloads(f"{HALL}/state")[-1]
    house.turn("enabled", True)
    house.until(f"{HALL}/state", '"present":"ON"')
    assert house.opened == 1
    assert house.sink.payloads(f"{HALL}/status")[-1] == "offline"  # until its first picture says otherwise
    assert house.sink.payloads(f"{HALL}/enabled/state") == ["OFF", "ON"]


def test_every_switch_s_state_is_reported_once_and_when_it_is_set(house: House) -> None:
    house.add("hall", Switches(hold=2.0))
    states = {switch: f"{HALL}/{switch}/state" for switch in ("enabled", "min_confidence", "hold")}
    assert {name: house.sink.payloads(topic) for name, topic in states.items()} == {
        "enabled": ["ON"], "min_confidence": ["0.5"], "hold": ["2"],
    }  # fmt: skip
    house.turn("hold", 2.0)
    assert house.sink.payloads(states["hold"]) == ["2", "2"]  # whoever asked gets an answer
    assert house.sink.payloads(states["enabled"]) == ["ON"]


def test_rules_follow_the_configuration_unless_a_switch_overrides_them(house: House) -> None:
    house.add("hall", Switches(hold=2.0))
    house.cameras["hall"].configure(Rules(min_confidence=0.7, hold_s=1.0, margin=0.1))
    assert house.cameras["hall"].pipeline.rules == Rules(min_confidence=0.7, hold_s=2.0, margin=0.1)
    assert house.sink.payloads(f"{HALL}/min_confidence/state") == ["0.5", "0.7"]
    house.turn("hold", 1.0)
    house.cameras["hall"].configure(Rules(hold_s=3.0))
    assert house.cameras["hall"].pipeline.rules == Rules(hold_s=3.0)
    assert house.sink.payloads(f"{HALL}/hold/state") == ["2", "1", "3"]


def test_the_log_says_where_a_camera_is_not_as_configured(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "edge.node.camera")
    house.add("porch", Switches())
    house.add("hall", Switches(enabled=False, hold=2.0))
    house.cameras["hall"].configure(Rules(hold_s=1.0))
    house.cameras["hall"].configure(Rules(hold_s=2.0))
    house.cameras["hall"].configure(Rules(hold_s=2.0))
    reported = ("enabled OFF, hold 2", "enabled OFF, hold 2", "enabled OFF")
    assert [text for name, _, text in caplog.record_tuples if name == "edge.node.camera"] == [
        f"camera hall: {what}, by switches that were set over MQTT" for what in reported
    ]


def test_a_restarted_camera_is_opened_again_and_keeps_its_faces(house: House) -> None:
    house.add("hall", Switches())
    house.until(f"{HALL}/state", '"present":"ON"')
    house.cameras["hall"].restart()
    assert eventually(lambda: (house.look(0.05), house.opened)[1] == 2)
    assert house.open == 1
    assert house.events() == ["face_appeared"]


def test_restarts_of_a_camera_are_rate_limited(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add("hall", Switches())
    house.until(f"{HALL}/status", "offline")
    assert eventually(lambda: house.opened == 1)
    monkeypatch.setattr(camera, "REOPEN_S", 5.0)
    for _ in range(10):
        house.cameras["hall"].restart()
        house.turn("enabled", False)
        house.turn("enabled", True)
    house.look(0.2)
    assert house.opened == 1
    monkeypatch.setattr(camera, "REOPEN_S", 0.0)
    assert eventually(lambda: (house.look(0.05), house.opened)[1] == 2)
    house.look(0.2)
    assert (house.open, house.opened) == (1, 2)


def test_a_camera_switched_off_is_not_opened_by_a_restart(house: House) -> None:
    house.add("hall", Switches(enabled=False))
    house.cameras["hall"].restart()
    assert house.opened == 0


def test_a_removed_camera_leaves_nothing_behind(house: House) -> None:
    house.add("hall", Switches())
    house.add("porch", Switches())
    house.until(f"{HALL}/state", '"present":"ON"')
    threads = threading.active_count()
    house.cameras.pop("hall").remove()
    assert eventually(lambda: threading.active_count() <= threads - 2)
    assert house.open == 1
    assert house.events()[-1] == "face_left"
    assert house.sink.forgotten == retained_topics(house.topics, "hall")
    reported = [message.topic for message in house.sink.messages if message.retain]
    retained = {topic for topic in reported if topic.startswith(HALL)}
    assert retained == set(house.sink.forgotten)
    assert list(house.cameras) == ["porch"]
    house.look(0.3)


def test_at_the_end_only_what_was_on_goes_offline(house: House) -> None:
    house.add("hall", Switches(enabled=False))
    house.add("porch", Switches())
    house.close()
    assert house.sink.payloads(f"{HALL}/status") == ["disabled"]
    assert house.sink.payloads("emotion-edge/pi/porch/status")[-1] == "offline"
    assert house.open == 0


def test_a_frame_whose_analysis_fails_is_skipped_and_logged_once_with_its_traceback(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.add("hall", Switches())
    house.until(f"{HALL}/state", '"present":"ON"')
    hall = house.cameras["hall"]
    step = hall.pipeline.step
    bad = iter([True] * 3)

    def failing(frame: Frame) -> Analysis:
        if next(bad, False):
            raise ZeroDivisionError("no width")
        return step(frame)

    hall.pipeline.step = failing  # type: ignore[method-assign]
    house.look(0.5)
    assert house.cameras["hall"].health(1.0).failed == 3
    (logged,) = [record for record in caplog.records if record.exc_info]
    assert "could not be analysed, and is skipped" in logged.getMessage()
    assert "ZeroDivisionError" in caplog.text
    assert house.opened == 1
    assert hall.failures == 0
    assert json.loads(house.sink.payloads(f"{HALL}/state")[-1])["present"] == "ON"


def test_ten_failures_in_a_row_close_that_camera_alone_until_it_is_opened_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera, "FAILED_S", (0.4, 0.4))
    house.add("hall", Switches())
    house.add("porch", Switches())
    hall = house.cameras["hall"]
    hall.pause_s = 0.4
    step, failing = hall.pipeline.step, [True]

    def fail_for_a_while(frame: Frame) -> Analysis:
        if failing[0]:
            raise RuntimeError("the detector's memory is gone")
        return step(frame)

    hall.pipeline.step = fail_for_a_while  # type: ignore[method-assign]
    house.until(f"{HALL}/status", "offline")
    for _ in range(100):
        house.look(0.02)
        if hall.failure:
            break
    assert hall.failed == 10
    assert "camera hall offline: 10 frames in a row" in hall.story
    assert "RuntimeError: the detector's memory is gone" in hall.story
    assert house.open == 1  # the porch's
    house.until("emotion-edge/pi/porch/state", '"present":"ON"')
    failing[0] = False
    house.until(f"{HALL}/state", '"present":"ON"')
    assert hall.failure == ""
    assert house.open == 2


def test_health_rates_the_picture_only_if_there_is_one(house: House) -> None:
    house.add("hall", Switches())
    house.add("porch", Switches(enabled=False))
    house.until(f"{HALL}/state", '"present":"ON"')
    health = {name: served.health(1.0) for name, served in house.cameras.items()}
    assert (health["hall"].picture, health["porch"].picture) == ("ok", None)
    house.turn("enabled", False)
    assert house.cameras["hall"].health(1.0).picture is None


@pytest.mark.parametrize(
    ("values", "p50", "p95"),
    [([7.0], 7.0, 7.0), ([1.0, 2.0], 1.5, 1.95), (range(1, 11), 5.5, 9.55), (range(20), 9.5, 18.05)],
)
def test_the_95th_percentile_of_few_values_is_not_their_largest(
    house: House, values: Sequence[float], p50: float, p95: float
) -> None:
    house.add("porch", Switches(enabled=False))
    porch = house.cameras["porch"]
    porch.latencies.extend(values)
    porch.stages["detect"] = deque(values)
    health = house.cameras["porch"].health(1.0)
    assert health.latency_ms == pytest.approx((p50, p95))
    assert health.stage_ms["detect"] == pytest.approx((p50, p95))
