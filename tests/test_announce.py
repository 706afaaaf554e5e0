"""When messages are published: rates, changes, silence without change."""

import json
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from edge.analysis.report import Rules, blend, settle
from edge.contract.messages import Topics
from edge.node.announce import Announcer, EventIds
from edge.types import LABELS, Event, Message, Track
from tests.fakes import face, frame


def make_announcer(faces_hz: float = 2.0) -> Announcer:
    return Announcer("hall", Topics("emotion-edge", "pi"), faces_hz, EventIds(), started=0.0)


def track(number: int = 1, emotion: str = "happy", confidence: float = 0.9) -> Track:
    scores = tuple(confidence if label == 3 else (1 - confidence) / 6 for label in range(7))
    return Track(number, face(), 0.0, 0.0, 5, announced=True, scores=scores, emotion=emotion)


def reported(messages: list[Message]) -> list[tuple[str, Any]]:
    return [(message.topic.rpartition("/")[2], json.loads(message.payload)) for message in messages]


def states(messages: list[Message]) -> list[tuple[str, str]]:
    return [(body["present"], body["emotion"]) for topic, body in reported(messages) if topic == "state"]


def test_empty_camera_is_reported_once() -> None:
    announcer = make_announcer()
    assert states(announcer.frame(frame(0.0), [], [])) == [("OFF", "none")]
    assert [announcer.frame(frame(n / 10), [], []) for n in range(1, 50)] == [[]] * 49


def test_state_is_published_on_change_at_most_once_a_second() -> None:
    announcer = make_announcer(faces_hz=0)
    story = []
    for n in range(40):
        now = n / 10
        emotion = "happy" if now < 1.5 or now >= 1.8 else "sad"
        for state in states(announcer.frame(frame(now), [track(emotion=emotion)], [])):
            story.append((now, state))
    assert story == [(0.0, ("ON", "happy")), (1.5, ("ON", "sad")), (2.5, ("ON", "happy"))]


def test_delayed_state_change_is_published_without_a_new_frame() -> None:
    announcer = make_announcer(faces_hz=0)
    announcer.frame(frame(0.0), [track()], [])
    assert announcer.frame(frame(0.5), [], []) == []
    assert states(announcer.state([], [], 0.9, 0.0)) == []
    assert states(announcer.state([], [], 1.0, 0.0)) == [("OFF", "none")]


def test_state_is_published_when_confidence_moves_a_tenth() -> None:
    announcer = make_announcer(faces_hz=0)
    announcer.frame(frame(0.0), [track(confidence=0.9)], [])
    assert announcer.frame(frame(2.0), [track(confidence=0.81)], []) == []
    assert len(announcer.frame(frame(4.0), [track(confidence=0.79)], [])) == 1


def test_since_is_when_the_last_face_left() -> None:
    announcer = make_announcer(faces_hz=0)
    announcer.frame(frame(0.0), [track()], [])
    announcer.frame(frame(5.0), [], [])
    announcer.frame(frame(9.0), [track()], [])
    assert announcer.frame(frame(9.5), [], []) == []  # within a second of the last
    ((_, body),) = reported(announcer.state([], [], 10.5, 1_700_000_010.5))
    assert (body["ts"], body["since"]) == ("2023-11-14T22:13:30.500+00:00", "2023-11-14T22:13:29.500+00:00")


def test_faces_keep_their_rate_and_end_with_one_empty_list() -> None:
    announcer = make_announcer(faces_hz=2.0)
    times = []
    for n in range(40):
        shown = [track()] if n < 20 else []
        for topic, body in reported(announcer.frame(frame(n / 8, seq=n), shown, [])):
            if topic == "faces":
                times.append((n / 8, len(body["faces"])))
    assert times == [(0.0, 1), (0.5, 1), (1.0, 1), (1.5, 1), (2.0, 1), (2.5, 0)]


@pytest.mark.parametrize(
    ("hz", "fps", "pause_s"), [(2.0, 10, 5.0), (2.0, 25, 0.8), (1.0, 10, 60.0), (5.0, 30, 0.3)]
)
def test_faces_do_not_exceed_their_rate_after_a_pause(hz: float, fps: int, pause_s: float) -> None:
    announcer, times = make_announcer(faces_hz=hz), []
    for n in range(4 * fps):
        now = n / fps + (pause_s if n >= fps else 0.0)
        for topic, body in reported(
            announcer.frame(frame(now, seq=n), [track()] if n != fps - 1 else [], [])
        ):
            if topic == "faces" and body["faces"]:
                times.append(now)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert min(gaps) >= 0.5 / hz - 1e-9  # half a period early at most, after a frame that came late
    for start in times:
        assert sum(start <= now < start + 3 for now in times) <= 3 * hz + 1


@pytest.mark.parametrize(("hz", "fps"), [(2.0, 7), (3.0, 10), (1.5, 25), (10.0, 15), (6.0, 10)])
def test_late_frames_do_not_lower_the_face_rate(hz: float, fps: int) -> None:
    announcer = make_announcer(faces_hz=hz)
    lists = [reported(announcer.frame(frame(n / fps, seq=n), [track()], [])) for n in range(20 * fps)]
    assert sum(topic == "faces" for messages in lists for topic, _ in messages) >= 0.9 * 20 * hz


@pytest.mark.parametrize("floor", [0.5, 0.8])
def test_state_never_shows_emotion_below_floor(floor: float) -> None:
    """Random emotion changes while people come and go."""
    rules, random_ = Rules(min_confidence=floor), Random(7)
    announcer, people, goal = make_announcer(faces_hz=2.0), {}, {}
    seen = set()
    for n in range(6000):
        now = n / 10
        if random_.random() < 0.05:
            people[2] = None if people.get(2) else track(2, "uncertain", 0.3)
        people.setdefault(1, track(1, "uncertain", 0.3))
        shown = []
        for number, person in people.items():
            if person is None:
                continue
            if random_.random() < 0.03 or number not in goal:
                label, top = random_.randrange(7), random_.uniform(0.2, 1.0)
                goal[number] = [top if k == label else (1 - top) / 6 for k in range(7)]
            people[number], _ = settle(blend(person, goal[number], 0.1, rules), "hall", now, now, rules)
            shown.append(people[number])
        for topic, body in reported(announcer.frame(frame(now, seq=n), shown, [])):
            bodies = [body] if topic == "state" else body["faces"]
            seen |= {body["emotion"] for body in bodies}
            for body in bodies:
                assert body["emotion"] in ("none", "uncertain") or body["confidence"] >= floor
    assert "uncertain" in seen
    assert len(seen & set(LABELS)) == 7


def test_state_holds_while_one_emotion_replaces_another() -> None:
    announcer, rules = make_announcer(faces_hz=0), Rules()
    person, story = track(confidence=0.9), []
    for n in range(60):
        scores = [0.9 if label == (3 if n < 20 else 4) else 0.1 / 6 for label in range(7)]
        person, _ = settle(blend(person, scores, 0.1, rules), "hall", n / 10, 0.0, rules)
        story += states(announcer.frame(frame(n / 10), [person], []))
    assert [emotion for _, emotion in story] == ["happy", "happy", "sad"]  # the second one less sure


def test_state_is_uncertain_when_second_face_joins_during_a_change() -> None:
    announcer = make_announcer(faces_hz=0)
    announcer.frame(frame(0.0), [track()], [])
    doubted = replace(track(confidence=0.12), doubted=True)
    assert announcer.frame(frame(1.5), [doubted], []) == []
    assert states(announcer.frame(frame(1.6), [doubted, track(2)], [])) == [("ON", "uncertain")]


def test_events_are_published_at_once_with_increasing_ids() -> None:
    announcer = make_announcer(faces_hz=0)
    happened = Event("emotion_changed", "hall", 1, "happy", "sad", 0.7, 1_700_000_000.0)
    first = reported(announcer.frame(frame(0.0), [track()], [happened, replace(happened, after="fear")]))
    (boot, one), (again, two) = (body["id"].split(":") for topic, body in first if topic == "event")
    assert [body["id"] for topic, body in first if topic == "log"] == [f"{boot}:1", f"{boot}:2"]
    assert (boot, one, two) == (again, "1", "2")
    assert len(boot) == 32


def test_faces_are_cleared_once_when_they_leave_without_frames() -> None:
    announcer = make_announcer()
    announcer.frame(frame(0.0, seq=7), [track()], [])
    (wipe,) = [body for topic, body in reported(announcer.state([], [], 0.5, 0.0)) if topic == "faces"]
    assert (wipe["seq"], wipe["size"], wipe["faces"]) == (7, [64, 48], [])
    assert [topic for topic, _ in reported(announcer.state([], [], 2.0, 0.0))] == ["state"]


def test_faces_are_cleared_when_their_rate_becomes_0() -> None:
    announcer = make_announcer()
    announcer.frame(frame(0.0), [track()], [])
    announcer.faces_hz = 0
    bodies = [
        body for topic, body in reported(announcer.frame(frame(0.1), [track()], [])) if topic == "faces"
    ]
    assert [body["faces"] for body in bodies] == [[]]
    assert announcer.frame(frame(0.2), [track()], []) == []
