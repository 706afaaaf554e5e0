"""The analysis of one camera with scripted detections and scores."""

import itertools

import pytest

from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.analysis.track import Tracker
from edge.types import LABELS, Face
from tests.fakes import ClassifierByPlace, ScriptedDetector, face, frame


def pipeline(detector: ScriptedDetector, classifier: ClassifierByPlace) -> Pipeline:
    ticks = itertools.count()
    return Pipeline(
        "hall", detector, classifier, Tracker(forget_s=1.0), Rules(), stopwatch=lambda: next(ticks) / 1000
    )


def test_face_appears_changes_emotion_and_leaves() -> None:
    here: list[Face] = [face()]
    classifier = ClassifierByPlace({0.0: "happy"})
    detector = ScriptedDetector(here)
    pipe = pipeline(detector, classifier)
    story = []
    for n in range(60):
        if n == 20:
            classifier.by_place = {0.0: "sad"}
        if n == 40:
            detector.script = [[]]
        analysis = pipe.step(frame(n / 8, seq=n))
        story += [(n, event.event_type, event.before, event.after) for event in analysis.events]
    assert story == [
        (3, "face_appeared", "none", "happy"),
        (28, "emotion_changed", "happy", "sad"),  # 0.4 s until sad leads, 0.6 s of dwell
        (48, "face_left", "sad", "none"),
    ]
    assert analysis.tracks == ()


def test_scores_of_two_faces_are_never_blended() -> None:
    pipe = pipeline(ScriptedDetector([face(0), face(40)]), ClassifierByPlace({0: "happy", 40: "angry"}))
    for n in range(20):
        analysis = pipe.step(frame(n / 10, seq=n))
    found = {track.face.box.x: (track.emotion, round(track.confidence, 3)) for track in analysis.tracks}
    assert found == {0: ("happy", 0.88), 40: ("angry", 0.88)}
    assert [round(score, 2) for score in analysis.tracks[0].scores] == [
        0.88 if label == analysis.tracks[0].emotion else 0.02 for label in LABELS
    ]


def test_largest_face_comes_first() -> None:
    pipe = pipeline(
        ScriptedDetector([face(0, side=20), face(40, side=24)]), ClassifierByPlace({0: "happy", 40: "angry"})
    )
    for n in range(5):
        analysis = pipe.step(frame(n / 10, seq=n))
    assert [track.emotion for track in analysis.tracks] == ["angry", "happy"]


@pytest.mark.parametrize(
    ("side", "led"),
    [
        (22.0, ["happy"] * 12),  # 1.21 times the area of 20 x 20
        (23.0, ["happy"] * 7 + ["angry"] * 5),  # 1.32 times
    ],
)
def test_only_a_clearly_larger_face_takes_the_lead(side: float, led: list[str]) -> None:
    script = [[face(0, side=20), face(40, side=now)] for now in (*[19.0] * 10, *[side] * 5)]
    pipe = pipeline(ScriptedDetector(*script), ClassifierByPlace({0: "happy", 40: "angry"}))
    leaders = []
    for n in range(15):
        analysis = pipe.step(frame(n / 10, seq=n))
        leaders += [track.emotion for track in analysis.tracks[:1]]
    assert leaders == led


def test_face_missed_for_under_a_second_stays_in_the_state() -> None:
    detector = ScriptedDetector([face()])
    pipe = pipeline(detector, ClassifierByPlace({0: "happy"}))
    for n in range(10):
        analysis = pipe.step(frame(n / 10, seq=n))
    detector.script = [[]]
    analysis = pipe.step(frame(1.8, seq=10))
    assert analysis.events == ()
    assert [track.number for track in analysis.tracks] == [1]


def test_faces_expire_without_frames() -> None:
    pipe = pipeline(ScriptedDetector([face()]), ClassifierByPlace({0: "happy"}))
    for n in range(5):
        analysis = pipe.step(frame(n / 10, seq=n))
    assert pipe.expire(1.3, 0.0).events == ()
    analysis = pipe.expire(1.5, 0.0)
    assert [event.event_type for event in analysis.events] == ["face_left"]
    assert analysis.tracks == ()


def test_each_stage_is_timed() -> None:
    pipe = pipeline(ScriptedDetector([]), ClassifierByPlace({}))
    analysis = pipe.step(frame(0.0))
    assert list(analysis.timings_ms) == ["detect", "track", "classify", "report"]
    assert all(0.9 < ms < 1.1 for ms in analysis.timings_ms.values())
