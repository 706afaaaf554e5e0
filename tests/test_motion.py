"""Skipping detection on a still scene: never a face lost, never a copy taken for a confirmation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.detectors import open_detector
from edge.motion import MotionGate
from edge.pipeline import Pipeline
from edge.report import Rules
from edge.sources.portraits import Portraits
from edge.track import Tracker
from edge.types import Detector, Event, Face, Floats, Image
from tests.fakes import ClassifierByPlace, ScriptedDetector, face, frame

VIDEO = "videos/intel/one-by-one-person-detection.mp4"
FIRST = 300  # frame: half a minute in, somebody comes near


def scene() -> npt.NDArray[np.float64]:
    """A room of edges and shades, 640x480 luma, far from black and white."""
    draw = np.random.default_rng(1)
    coarse = draw.uniform(60, 180, (12, 16))
    return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.float64).clip(40, 200)


def noisy(picture: npt.NDArray[np.float64], seed: int, sigma: float = 6.0) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


def analysed(pictures: Sequence[Image], fps: float = 10.0) -> list[int]:
    gate = MotionGate()
    return [n for n, picture in enumerate(pictures) if gate.moved(picture, n / fps)]


def test_noise_is_no_movement_and_each_second_is_looked_at_once() -> None:
    picture = scene()
    assert analysed([noisy(picture, n) for n in range(60)]) == [0, 11, 22, 33, 44, 55]


def test_light_that_drifts_or_flickers_by_rows_is_no_movement() -> None:
    picture, rows = scene(), np.arange(480)[:, None]
    pictures = [noisy(picture + 2 * n + 8 * np.sin(rows / 40 + n), n) for n in range(11)]
    assert analysed(pictures) == [0]


@pytest.mark.parametrize("move", [5, 20])
def test_a_dim_face_that_comes_is_seen_in_its_first_frame(move: int) -> None:
    empty, there = scene(), scene()
    there[200:251, 300:351] += 15  # the smallest face that is looked for
    pictures = [noisy(there if n >= move else empty, n) for n in range(move + 1)]
    assert move in analysed(pictures)


def test_a_camera_that_pans_is_movement_however_alike_its_cells_change() -> None:
    wide = np.hstack([scene(), scene()[:, ::-1]])
    assert analysed([noisy(wide[:, 40 * n : 40 * n + 640], n) for n in range(10)]) == list(range(10))


def test_another_size_is_movement() -> None:
    small, large = np.full((240, 320), 90, np.uint8), np.full((480, 480), 90, np.uint8)
    assert analysed([small, small, large, large[:40, :48], large[:1, :1]]) == [0, 2, 3, 4]


class Counting:
    """A detector that counts its calls."""

    def __init__(self, inner: Detector) -> None:
        self.inner = inner
        self.calls = 0

    def detect(self, image: Image) -> list[Face]:
        self.calls += 1
        return self.inner.detect(image)


class Calm(ClassifierByPlace):
    """One label for every face; counts its calls."""

    calls = 0

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        self.calls += 1
        self.labels = {found.box.x: "happy" for found in faces}
        return super().classify(image, faces)


def pipeline(detector: Detector, *, gated: bool = True) -> tuple[Pipeline, Counting, Calm]:
    counting, classifier = Counting(detector), Calm({})
    ticks = itertools.count()
    line = Pipeline(
        "hall", counting, classifier, Tracker(forget_s=1.0), Rules(), lambda: next(ticks) / 1000,
        MotionGate() if gated else None,
    )  # fmt: skip
    return line, counting, classifier


def story(events: Sequence[Event]) -> list[tuple[str, int, str]]:
    return [(event.event_type, event.track, event.after) for event in events]


def test_on_a_still_scene_with_noise_nine_calls_of_ten_go_and_the_face_stays() -> None:
    picture = np.asarray(cv2.cvtColor(Portraits(faces=2, paced=False).read(), cv2.COLOR_BGR2GRAY), np.float64)
    line, detector, classifier = pipeline(open_detector("haar", file=None, long_side=320, min_face=0.08))
    events: list[Event] = []
    pictures = [noisy(picture, n, sigma=4.0) for n in range(40)]
    for n in range(1200):
        events += line.step(frame(n / 10, seq=n, image=pictures[n % 40]))
        assert n < 4 or len(line.state.tracks) == 2
    assert story(events) == [("face_appeared", 1, "happy"), ("face_appeared", 2, "happy")]
    assert detector.calls == classifier.calls == 1200 - line.skipped <= 120
    assert [track.seen for track in line.state.tracks] == [119.9, 119.9]
    assert list(line.state.timings_ms) == ["track", "report"]


def test_a_face_found_once_on_a_still_scene_is_not_confirmed_by_its_copy() -> None:
    line, detector, _ = pipeline(ScriptedDetector([face()], []))
    events = [event for n in range(30) for event in line.step(frame(n / 10, seq=n))]
    assert events == []
    assert detector.calls >= 10  # looked at in earnest until it was forgotten


def test_a_face_missed_once_on_a_still_scene_is_looked_for_at_once() -> None:
    seen, missed = [face()], list[Face]()
    # Analysed: five until it is announced, one a refresh later, which misses, and then it is there again.
    line, _, _ = pipeline(ScriptedDetector(seen, seen, seen, seen, seen, missed, seen))
    events = [event for n in range(60) for event in line.step(frame(n / 10, seq=n))]
    assert story(events) == [("face_appeared", 1, "happy")]
    assert line.skipped >= 40


class Failing(Calm):
    """Raises at each call while told to."""

    fails = False

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        if self.fails:
            raise RuntimeError("no answer")
        return super().classify(image, faces)


def test_an_analysis_that_failed_is_never_repeated_as_if_it_had_succeeded() -> None:
    line, _, _ = pipeline(ScriptedDetector([face()]))
    line.classifier = classifier = Failing({})
    for n in range(10):
        line.step(frame(n / 10, seq=n))
    classifier.fails = True
    failed = 0
    for n in range(10, 40):
        try:
            line.step(frame(n / 10, seq=n))
        except RuntimeError:
            failed += 1
    assert failed >= 25  # from the next refresh on each frame fails, and says so
    classifier.fails = False
    line.step(frame(4.0, seq=40))
    assert len(line.state.tracks) <= 1


@pytest.mark.parametrize("kind", ["haar", "yunet"])
def test_on_a_real_video_no_face_is_missed_for_more_than_a_second(kind: str, shared_data: Path) -> None:
    file = shared_data / "models/detectors/face_detection_yunet_2023mar.onnx" if kind == "yunet" else None
    # People are far away: at the default size neither detector finds anybody.
    detector = open_detector("haar" if kind == "haar" else "yunet", file=file, long_side=768, min_face=0.02)
    (full, _, _), (gated, counted, _) = pipeline(detector, gated=False), pipeline(detector)
    video = cv2.VideoCapture(str(shared_data / VIDEO))
    missed_since: dict[int, float] = {}
    found = frames = 0
    for _ in range(FIRST):
        video.grab()
    while frames < 110:
        there, image = video.read()
        if not there:
            break
        taken = frames / video.get(cv2.CAP_PROP_FPS)
        frames += 1
        for line in (full, gated):
            line.step(frame(taken, seq=frames, image=np.asarray(image, np.uint8)))
        for track in full.state.tracks:
            found += 1
            if any(track.face.box.iou(other.face.box) > 0.3 for other in gated.state.tracks):
                missed_since.pop(track.number, None)
            assert taken - missed_since.setdefault(track.number, taken) <= 1.0
    video.release()
    assert frames == 110
    assert found
    assert counted.calls < frames
