"""Seconds per label over the last ten minutes and the last day."""

import itertools
import sys

from edge.web.timeline import SPANS, Timeline


def event(track: int, shown: str) -> dict[str, object]:
    return {"track": track, "to": shown}


def test_seconds_are_summed_over_faces_until_they_leave() -> None:
    timeline = Timeline(1000.0)
    timeline.record(event(1, "happy"), 1001.0)
    timeline.record(event(2, "sad"), 1002.0)
    timeline.record(event(1, "sad"), 1003.0)
    timeline.record(event(2, "none"), 1004.5)
    timeline.advance(1012.0)
    assert timeline.shown("10min") == [
        {"happy": 2.0, "sad": 4.5},  # until 1005
        {"sad": 5.0},
        {"sad": 2.0},
    ]
    assert timeline.shown("24h") == [{"happy": 2.0, "sad": 11.5}]


def test_bucket_without_faces_is_empty_and_kept() -> None:
    timeline = Timeline(0.0)
    timeline.record(event(1, "fear"), 1.0)
    timeline.record(event(1, "none"), 2.0)
    timeline.record(event(7, "fear"), 21.0)
    timeline.advance(22.0)
    assert timeline.shown("10min") == [{"fear": 1.0}, {}, {}, {}, {"fear": 1.0}]


def test_entries_older_than_the_span_are_dropped() -> None:
    timeline = Timeline(0.0)
    timeline.record(event(1, "happy"), 0.0)
    timeline.record(event(1, "angry"), 4.0)
    timeline.advance(600.0)
    assert timeline.shown("10min")[0] == {"angry": 5.0}  # the first bucket, with happy, was dropped
    assert len(timeline.shown("10min")) == 120
    assert timeline.shown("24h")[0] == {"happy": 4.0, "angry": 296.0}


def test_long_gap_is_skipped_at_once() -> None:
    timeline = Timeline(0.0)
    timeline.record(event(1, "happy"), 0.0)
    timeline.advance(1e9)  # 200 million buckets later
    assert timeline.shown("10min") == [{"happy": 5.0}] * 119 + [{}]
    assert timeline.shown("24h")[0] == {"happy": 300.0}


def test_stopped_or_backward_clock_adds_nothing() -> None:
    timeline = Timeline(50.0)
    timeline.record(event(1, "happy"), 52.0)
    timeline.advance(53.0)
    timeline.advance(53.0)
    timeline.advance(51.0)
    timeline.advance(54.0)
    assert timeline.shown("10min") == [{"happy": 2.0}]


def test_year_of_events_takes_no_more_memory_than_a_day() -> None:
    timeline = Timeline(0.0)
    labels = itertools.cycle(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "uncertain"))
    for number in range(20_000):
        timeline.record(event(number, next(labels)), number * 1500.0)
        timeline.record(event(number, "none"), number * 1500.0 + 700)
    assert [len(timeline.shown(name)) for name in SPANS] == [120, 288]
    assert sum(sys.getsizeof(bucket) for name in SPANS for bucket in timeline.shown(name)) < 120_000
