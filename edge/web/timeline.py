"""How long a camera's faces showed which label, over the last minutes and the last day."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from edge.types import NONE


class Span(NamedTuple):
    bucket_s: float
    buckets: int


SPANS = {"10min": Span(5.0, 120), "24h": Span(300.0, 288)}

Bucket = dict[str, float]  # label -> seconds, summed over the faces


class Timeline:
    """One camera's, from its log's events; *now* is monotonic s. For one thread at a time."""

    def __init__(self, now: float) -> None:
        self._start = self._until = now
        self._faces: dict[int, str] = {}  # track -> label
        self._buckets = {name: deque([Bucket()], span.buckets) for name, span in SPANS.items()}
        self._first = dict.fromkeys(SPANS, 0)  # number of the newest bucket

    def record(self, event: Mapping[str, Any], now: float) -> None:
        """Take in one of the log's events."""
        self.advance(now)
        if event["to"] == NONE:
            self._faces.pop(event["track"], None)
        else:
            self._faces[event["track"]] = event["to"]

    def advance(self, now: float) -> None:
        """Count what the faces show up to *now*."""
        for name, span in SPANS.items():
            self._advance(name, span, now)
        self._until = max(self._until, now)

    def shown(self, name: str) -> list[Bucket]:
        """The buckets of span *name*, the newest last; seconds to 1 decimal."""
        return [
            {label: round(seconds, 1) for label, seconds in bucket.items()} for bucket in self._buckets[name]
        ]

    def _advance(self, name: str, span: Span, now: float) -> None:
        buckets = self._buckets[name]
        at = max(self._until, now - span.bucket_s * span.buckets)  # further back nothing is kept
        while True:
            number = int((at - self._start) // span.bucket_s)
            for _ in range(min(number - self._first[name], span.buckets)):
                buckets.append(Bucket())
            self._first[name] = max(number, self._first[name])
            if at >= now:
                return
            end = min(now, self._start + (number + 1) * span.bucket_s)
            for label in self._faces.values():
                buckets[-1][label] = buckets[-1].get(label, 0.0) + end - at
            at = end
