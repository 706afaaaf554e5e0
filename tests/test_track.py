"""The tracker: stable face numbers, with time limits in seconds, not frames."""

import pytest

from edge.analysis.track import Tracker
from edge.types import Box, Face


def face(x: float, y: float = 100.0, side: float = 100.0) -> Face:
    return Face(Box(x, y, side, side), 0.9)


def numbers(tracker: Tracker, faces: list[Face], now: float) -> list[int]:
    return [track.number for track in tracker.update(faces, now)]


def test_new_faces_are_numbered_in_detection_order() -> None:
    assert numbers(Tracker(), [face(0), face(300)], 0.0) == [1, 2]


def test_slightly_moved_face_keeps_its_number_and_counts_sightings() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    (track,) = tracker.update([face(110)], 0.1)
    assert (track.number, track.sightings, track.since, track.seen) == (1, 2, 0.0, 0.1)


def test_detection_order_does_not_swap_numbers() -> None:
    tracker = Tracker()
    tracker.update([face(0), face(300)], 0.0)
    assert numbers(tracker, [face(302), face(1)], 0.1) == [2, 1]


def test_face_back_within_a_second_keeps_its_number() -> None:
    tracker = Tracker(forget_s=1.0)
    tracker.update([face(100)], 0.0)
    tracker.update([], 0.5)
    assert tracker.forget(0.99) == []
    assert numbers(tracker, [face(130)], 0.99) == [1]


def test_face_away_longer_is_forgotten_and_gets_a_new_number() -> None:
    tracker = Tracker(forget_s=1.0)
    tracker.update([face(100)], 0.0)
    assert [track.number for track in tracker.forget(1.01)] == [1]
    assert tracker.tracks == []
    assert numbers(tracker, [face(100)], 1.02) == [2]


@pytest.mark.parametrize("rate", [3.0, 5.0, 15.0, 60.0])
def test_walking_face_keeps_its_number_at_any_frame_rate(rate: float) -> None:
    """A 100 px face that accelerates gently and crosses 1000 px in 4 s."""
    tracker = Tracker()
    seen = set()
    for n in range(int(4 * rate) + 1):
        t = n / rate
        seen.update(numbers(tracker, [face(125 * t * t if t < 2 else 500 + 250 * (t - 2))], t))
    assert seen == {1}


def test_two_people_passing_each_other_keep_their_numbers() -> None:
    tracker = Tracker()
    for n in range(41):
        t = n / 10
        # Two people differ in height and size.
        tracker.update([face(100 + 100 * t, 100, 90), face(500 - 100 * t, 140, 110)], t)
    places = {track.number: track.face.box.x for track in tracker.tracks}
    assert places == {1: pytest.approx(500), 2: pytest.approx(100)}


def test_face_of_very_different_size_is_another_face() -> None:
    tracker = Tracker()
    tracker.update([face(100, 100, 50)], 0.0)
    assert numbers(tracker, [face(50, 50, 150)], 0.1) == [2]


def test_new_face_does_not_take_the_number_of_a_visible_one() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 0.0)
    assert numbers(tracker, [face(160), face(102)], 0.1) == [2, 1]


def test_frames_with_equal_times_do_not_divide_by_zero() -> None:
    tracker = Tracker()
    tracker.update([face(100)], 1.0)
    assert numbers(tracker, [face(101)], 1.0) == [1]
