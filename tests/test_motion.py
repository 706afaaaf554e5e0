"""Skipping detection on a still scene: no face is lost, no skipped frame counts as a confirmation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge.analysis import motion
from edge.analysis.detectors import Kind, open_detector
from edge.analysis.motion import MotionGate
from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.analysis.track import Tracker
from edge.sources.portraits import Portraits
from edge.types import Detector, Event, Face, Floats, Image
from tests.fakes import ClassifierByPlace, ScriptedDetector, face, frame

VIDEO = "videos/intel/one-by-one-person-detection.mp4"


def scene() -> npt.NDArray[np.float64]:
    """A room of edges and shades, 640x480 luma, far from black and white."""
    draw = np.random.default_rng(1)
    coarse = draw.uniform(60, 180, (12, 16))
    return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.float64).clip(40, 200)


def noisy(picture: npt.NDArray[np.float64], seed: int, sigma: float = 6.0) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, picture.shape)
    return (picture + noise).round().clip(0, 255).astype(np.uint8)


def analyzed(pictures: Sequence[Image], fps: float = 10.0) -> list[int]:
    gate = MotionGate()
    return [n for n, picture in enumerate(pictures) if gate.moved(picture, n / fps)]


def test_noise_is_not_motion_and_detection_runs_once_a_second() -> None:
    picture = scene()
    assert analyzed([noisy(picture, n) for n in range(60)]) == [0, 11, 22, 33, 44, 55]


def test_drifting_or_flickering_light_is_not_motion() -> None:
    picture, rows = scene(), np.arange(480)[:, None]
    pictures = [noisy(picture + 2 * n + 8 * np.sin(rows / 40 + n), n) for n in range(11)]
    assert analyzed(pictures) == [0]


@pytest.mark.parametrize("move", [5, 20])
def test_dim_new_face_is_seen_in_its_first_frame(move: int) -> None:
    empty, there = scene(), scene()
    there[200:251, 300:351] += 15  # the smallest detectable face
    pictures = [noisy(there if n >= move else empty, n) for n in range(move + 1)]
    assert move in analyzed(pictures)


def test_panning_camera_is_motion() -> None:
    wide = np.hstack([scene(), scene()[:, ::-1]])
    assert analyzed([noisy(wide[:, 40 * n : 40 * n + 640], n) for n in range(10)]) == list(range(10))


def test_size_change_is_motion() -> None:
    small, large = np.full((240, 320), 90, np.uint8), np.full((480, 480), 90, np.uint8)
    assert analyzed([small, small, large, large[:40, :48], large[:1, :1]]) == [0, 2, 3, 4]


def count_thumbnails(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one for each thumbnail computed from now on."""
    looks: list[int] = []
    whole = motion.thumbnail

    def thumbnail(image: Image) -> Floats:
        looks.append(0)
        return whole(image)

    monkeypatch.setattr("edge.analysis.motion.thumbnail", thumbnail)
    return looks


def test_endless_motion_is_rarely_compared_and_its_end_seen_in_20_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = count_thumbnails(monkeypatch)
    gate = MotionGate()
    wide = np.hstack([scene(), scene()[:, ::-1]])
    moving = [noisy(wide[:, 80 * n : 80 * n + 640], n) for n in range(8)]
    assert all(gate.moved(moving[n % 8], n / 10) for n in range(1200))
    assert len(looks) <= 0.02 * 1200
    still = [gate.moved(noisy(scene(), n), 120 + n / 10) for n in range(400)]
    assert sum(still) <= 201 + 20  # afterwards one frame in eleven


@pytest.mark.parametrize("seldom", [False, True])
def test_frames_are_rarely_compared_if_that_saves_nothing(
    seldom: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_thumbnails(monkeypatch)
    gate = MotionGate()
    pictures = [noisy(scene(), n) for n in range(20)]
    for n in range(1200):  # still, but frames are slow or every other one is unsettled
        taken, unsettled = (2.0 * n, False) if seldom else (n / 10, bool(n % 2))
        assert gate.moved(pictures[n % 20], taken, unsettled=unsettled)
    assert len(looks) <= 0.02 * 1200


def test_frames_are_compared_with_the_last_analysed_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty, there = np.full((480, 640), 90, np.uint8), np.full((480, 640), 90, np.uint8)
    there[200:300, 300:400] = 160
    gate = MotionGate()
    assert gate.moved(empty, 0.0)
    assert not gate.moved(empty, 0.1)
    assert gate.moved(there, 0.2, unsettled=True)
    assert gate.moved(empty, 0.3)  # same as the first, but the last analyzed one differs
    assert not gate.moved(empty, 0.4)
    monkeypatch.setattr("edge.analysis.motion.thumbnail", pytest.fail)
    assert all(gate.moved(there, n / 10, unsettled=True) for n in range(5, 20))


class CountingDetector:
    """A detector that counts its calls."""

    def __init__(self, inner: Detector) -> None:
        self.inner = inner
        self.calls = 0

    def detect(self, image: Image) -> list[Face]:
        self.calls += 1
        return self.inner.detect(image)


class SingleLabelClassifier(ClassifierByPlace):
    """One label for every face; counts its calls."""

    calls = 0

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        self.calls += 1
        self.by_place = {found.box.x: "happy" for found in faces}
        return super().classify(image, faces)


def pipeline(
    detector: Detector, *, gated: bool = True
) -> tuple[Pipeline, CountingDetector, SingleLabelClassifier]:
    counting, classifier = CountingDetector(detector), SingleLabelClassifier({})
    ticks = itertools.count()
    line = Pipeline(
        "hall", counting, classifier, Tracker(forget_s=1.0), Rules(), lambda: next(ticks) / 1000,
        MotionGate() if gated else None,
    )  # fmt: skip
    return line, counting, classifier


def summary(events: Sequence[Event]) -> list[tuple[str, int, str]]:
    return [(event.event_type, event.track, event.after) for event in events]


@pytest.mark.parametrize("kind", ["ssd", "haar"])
def test_still_noisy_scene_skips_90_percent_and_keeps_the_face(kind: Kind) -> None:
    picture = np.asarray(cv2.cvtColor(Portraits(faces=2, paced=False).read(), cv2.COLOR_BGR2GRAY), np.float64)
    line, detector, classifier = pipeline(open_detector(kind))
    events: list[Event] = []
    pictures = [noisy(picture, n, sigma=4.0) for n in range(40)]
    for n in range(1200):
        analysis = line.step(frame(n / 10, seq=n, image=pictures[n % 40]))
        events += analysis.events
        assert n < 4 or len(analysis.tracks) == 2
    assert summary(events) == [("face_appeared", 1, "happy"), ("face_appeared", 2, "happy")]
    assert detector.calls == classifier.calls == 1200 - line.skipped <= 120
    assert [track.seen for track in analysis.tracks] == [119.9, 119.9]
    assert list(analysis.timings_ms) == ["track", "report"]


def test_skipped_frames_do_not_confirm_a_face_found_once() -> None:
    line, detector, _ = pipeline(ScriptedDetector([face()], []))
    events = [event for n in range(30) for event in line.step(frame(n / 10, seq=n)).events]
    assert events == []
    assert detector.calls >= 10  # analyzed until the face was forgotten


def test_face_missed_once_on_a_still_scene_is_searched_at_once() -> None:
    seen, missed = [face()], list[Face]()
    # Analyzed: five until announced, one at the refresh, which misses, then one that finds it again.
    line, _, _ = pipeline(ScriptedDetector(seen, seen, seen, seen, seen, missed, seen))
    events = [event for n in range(60) for event in line.step(frame(n / 10, seq=n)).events]
    assert summary(events) == [("face_appeared", 1, "happy")]
    assert line.skipped >= 40


class Failing(SingleLabelClassifier):
    """Raises at each call while ``fails`` is set."""

    fails = False

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        if self.fails:
            raise RuntimeError("no answer")
        return super().classify(image, faces)


def test_failed_analysis_is_not_reused() -> None:
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
    assert failed >= 25  # from the next refresh on every frame fails and raises
    classifier.fails = False
    assert len(line.step(frame(4.0, seq=40)).tracks) <= 1


@pytest.mark.parametrize(
    ("kind", "first", "count"), [("ssd", 0, 1394), ("haar", 300, 30), ("yunet", 300, 60)]
)
def test_no_face_on_real_video_is_missed_for_over_a_second(
    kind: Kind, first: int, count: int, shared_data: Path
) -> None:
    file = shared_data / "models/detectors/face_detection_yunet_2023mar.onnx" if kind == "yunet" else None
    # People are far away: at their default size Haar and YuNet find no face.
    size: dict[str, Any] = {} if kind == "ssd" else {"long_side": 768, "min_face": 0.02}
    detector = open_detector(kind, file=file, **size)
    (full, _, _), (gated, counted, _) = pipeline(detector, gated=False), pipeline(detector)
    video = cv2.VideoCapture(str(shared_data / VIDEO))
    missed_since: dict[int, float] = {}
    found = 0
    for _ in range(first):
        video.grab()
    for n in range(count):
        there, image = video.read()
        assert there
        taken = n / video.get(cv2.CAP_PROP_FPS)
        shown = frame(taken, seq=n, image=np.asarray(image, np.uint8))
        gated_tracks = gated.step(shown).tracks
        for track in full.step(shown).tracks:
            found += 1
            if any(track.face.box.iou(other.face.box) > 0.3 for other in gated_tracks):
                missed_since.pop(track.number, None)
            assert taken - missed_since.setdefault(track.number, taken) <= 1.0
    video.release()
    assert found
    assert kind != "ssd" or counted.calls < 0.97 * count  # 1,327 of 1,394: there is motion most of the time
