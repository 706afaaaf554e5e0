"""From track to report: blending, hysteresis, dwell, uncertain."""

from dataclasses import replace

import pytest

from edge.analysis.report import Rules, blend, depart, settle, verdict
from edge.types import LABELS, Box, Event, Face, Track

RULES = Rules(min_confidence=0.5, margin=0.08, hold_s=0.6, appear_s=0.3, blend_s=0.5)


def scores(**given: float) -> tuple[float, ...]:
    """Probabilities; the remainder is spread over the labels not given."""
    rest = (1 - sum(given.values())) / (len(LABELS) - len(given))
    return tuple(given.get(label, rest) for label in LABELS)


def track(**fields: object) -> Track:
    plain = Track(7, Face(Box(0, 0, 50, 50), 1.0), since=0.0, seen=0.0, sightings=9)
    return replace(plain, **fields)  # type: ignore[arg-type]


def test_first_scores_are_used_unblended() -> None:
    assert blend(track(), scores(happy=0.9), 0.0, RULES).scores == scores(happy=0.9)


def test_blending_follows_its_time_constant_at_any_frame_rate() -> None:
    start = track(scores=scores(happy=1.0))
    at_once = blend(start, scores(sad=1.0), 0.5, RULES)
    in_steps = start
    for _ in range(50):
        in_steps = blend(in_steps, scores(sad=1.0), 0.01, RULES)
    sad = LABELS.index("sad")
    assert at_once.scores[sad] == pytest.approx(0.632, abs=0.001)
    assert in_steps.scores[sad] == pytest.approx(at_once.scores[sad], abs=1e-6)


def test_zero_time_constant_disables_blending() -> None:
    rules = replace(RULES, blend_s=0.0)
    assert blend(track(scores=scores(happy=1.0)), scores(sad=0.8), 0.1, rules).scores == scores(sad=0.8)


def test_verdict_below_the_floor_is_uncertain() -> None:
    assert verdict(track(scores=scores(happy=0.49)), RULES) == "uncertain"
    assert verdict(track(scores=scores(happy=0.50)), RULES) == "happy"


def test_label_is_kept_until_another_leads_by_the_margin() -> None:
    rules = replace(RULES, min_confidence=0.4)
    happy = track(emotion="happy", scores=scores(happy=0.44, neutral=0.51))
    assert verdict(happy, rules) == "happy"
    assert verdict(replace(happy, scores=scores(happy=0.42, neutral=0.51)), rules) == "neutral"


def test_label_becomes_uncertain_below_the_floor_with_hysteresis() -> None:
    happy = track(announced=True, emotion="happy", scores=scores(happy=0.50))
    assert verdict(happy, RULES) == "happy"
    assert verdict(replace(happy, scores=scores(happy=0.49)), RULES) == "uncertain"
    unsure = replace(happy, emotion="uncertain")
    assert verdict(replace(unsure, scores=scores(happy=0.57)), RULES) == "uncertain"
    assert verdict(replace(unsure, scores=scores(happy=0.58)), RULES) == "happy"


@pytest.mark.parametrize(("floor", "enough"), [(0.0, 0.15), (0.94, 0.97), (1.0, 1.0)])
def test_label_can_follow_uncertain_at_any_floor(floor: float, enough: float) -> None:
    unsure = track(announced=True, emotion="uncertain", scores=scores(sad=enough))
    assert verdict(unsure, replace(RULES, min_confidence=floor)) == "sad"


@pytest.mark.parametrize(("sightings", "now"), [(1, 5.0), (9, 0.29)])
def test_face_seen_once_or_too_briefly_is_not_reported(sightings: int, now: float) -> None:
    young = track(sightings=sightings, scores=scores(happy=0.9))
    assert settle(young, "hall", now, 0.0, RULES) == (young, None)


def test_face_appears_with_its_first_emotion() -> None:
    settled, event = settle(track(scores=scores(happy=0.9)), "hall", 0.3, 1700.0, RULES)
    assert event == Event("face_appeared", "hall", 7, "none", "happy", 0.9, 1700.0)
    assert (settled.announced, settled.emotion, settled.emotion_since) == (True, "happy", 0.3)


def test_new_emotion_is_reported_after_the_dwell() -> None:
    happy = track(announced=True, emotion="happy", rival="happy", scores=scores(sad=0.9))
    pending, nothing = settle(happy, "hall", 10.0, 0.0, RULES)
    assert (nothing, pending.emotion, pending.rival) == (None, "happy", "sad")
    assert settle(pending, "hall", 10.59, 0.0, RULES)[1] is None
    changed, event = settle(pending, "hall", 10.61, 1700.0, RULES)
    assert event == Event("emotion_changed", "hall", 7, "happy", "sad", 0.9, 1700.0)
    assert (changed.emotion, changed.emotion_since) == ("sad", 10.61)


def test_flicker_shorter_than_the_dwell_is_never_reported() -> None:
    current = track(announced=True, emotion="happy", rival="happy", scores=scores(happy=0.9))
    for n in range(100):  # half a second of sad, half a second of happy, and so on
        label = "sad" if n // 5 % 2 else "happy"
        current, event = settle(replace(current, scores=scores(**{label: 0.9})), "hall", n / 10, 0.0, RULES)
        assert event is None


@pytest.mark.parametrize("label", ["sad", "neutral"])
def test_zero_hold_changes_the_emotion_in_one_frame(label: str) -> None:
    happy = track(announced=True, emotion="happy", rival="happy", scores=scores(**{label: 0.9}))
    changed, event = settle(happy, "hall", 10.0, 1700.0, replace(RULES, hold_s=0.0))
    assert event == Event("emotion_changed", "hall", 7, "happy", label, 0.9, 1700.0)
    assert changed.shown == (label, 0.9)


@pytest.mark.parametrize(("floor", "own"), [(0.5, 0.12), (0.3, 0.29), (0.9, 0.89)])
def test_label_below_the_floor_is_never_shown(floor: float, own: float) -> None:
    rules = replace(RULES, min_confidence=floor)
    happy = track(announced=True, emotion="happy", rival="happy", scores=scores(happy=own))
    pending, event = settle(happy, "hall", 10.0, 0.0, rules)
    assert (event, pending.emotion, pending.shown) == (None, "happy", ("uncertain", max(pending.scores)))
    back, _ = settle(replace(pending, scores=scores(happy=floor)), "hall", 10.1, 0.0, rules)
    assert back.shown == ("happy", floor)


def test_another_rival_restarts_the_dwell() -> None:
    current = track(announced=True, emotion="happy", rival="happy")
    reported = []
    for now, label in [(0.0, "sad"), (0.5, "fear"), (1.0, "fear"), (1.1, "fear")]:
        current, event = settle(replace(current, scores=scores(**{label: 0.9})), "hall", now, 0.0, RULES)
        reported.append(event and event.after)
    assert reported == [None, None, None, "fear"]


def test_departure_is_reported_only_if_the_arrival_was() -> None:
    gone = track(announced=True, emotion="sad", scores=scores(sad=0.8))
    assert depart(gone, "hall", 5.0) == Event("face_left", "hall", 7, "sad", "none", 0.8, 5.0)
    assert depart(track(), "hall", 5.0) is None
