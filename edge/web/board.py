"""Where the analysis thread leaves what it knows, and the page's thread finds it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, deque
from typing import Any, NamedTuple

from edge.types import Message
from edge.web.preview import Preview
from edge.web.snapshot import Snapshot, body
from edge.web.timeline import SPANS, Timeline

FAULTS = 20  # the last ones are kept
MAX_FAULT = 300  # characters of one


class Fault(NamedTuple):
    when: float  # monotonic s
    level: str
    words: str


class Board:
    """The newest snapshot, a timeline per camera, the last faults and the preview; bounded in every way.

    show() and hear() are for the analysis thread, the rest for the page's.
    """

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None  # None before the first
        self.preview = Preview(time.monotonic)
        self._lock = threading.Lock()  # guards the three below
        self._timelines: dict[str, Timeline] = {}
        self._events: Counter[tuple[str, str, str]] = Counter()  # (camera, event, label)
        self._faults: deque[Fault] = deque(maxlen=FAULTS)

    def show(self, snapshot: Snapshot) -> None:
        """Make *snapshot* the newest."""
        names = {camera.name for camera in snapshot.cameras}
        with self._lock:
            for gone in self._timelines.keys() - names:
                del self._timelines[gone]
        self.snapshot = snapshot

    def hear(self, message: Message) -> None:
        """Record a camera's log message in its timeline, and count it."""
        camera = message.topic.split("/")[-2]
        event = json.loads(message.payload)
        now = time.monotonic()
        with self._lock:
            self._timelines.setdefault(camera, Timeline(now)).record(event, now)
            self._events[camera, event["event_type"], event["to"]] += 1

    def fault(self, level: str, words: str) -> None:
        """Remember what went wrong."""
        with self._lock:
            self._faults.append(Fault(time.monotonic(), level, " ".join(words.split())[:MAX_FAULT]))

    def state(self) -> dict[str, Any]:
        """All that the page shows now."""
        snapshot, now = self.snapshot, time.monotonic()
        with self._lock:
            faults = list(self._faults)
        return {
            **(body(snapshot) if snapshot else {"cameras": [], "health": [], "labels": []}),
            "preview": {"on": self.preview.on, "left_s": round(self.preview.left_s)},
            "faults": [
                {"age_s": round(now - fault.when), "level": fault.level, "words": fault.words}
                for fault in reversed(faults)
            ],
        }

    def timelines(self, span: str) -> dict[str, Any]:
        """The buckets of each camera's timeline; *span* is one of SPANS."""
        now = time.monotonic()
        with self._lock:
            for timeline in self._timelines.values():
                timeline.advance(now)
            shown = {camera: timeline.shown(span) for camera, timeline in self._timelines.items()}
        return {"bucket_s": SPANS[span].bucket_s, "buckets": SPANS[span].buckets, "cameras": shown}

    def events(self) -> dict[tuple[str, str, str], int]:
        """How many of each (camera, event, label) there were."""
        with self._lock:
            return dict(self._events)


class FaultHandler(logging.Handler):
    """Records warnings and errors of the log on *board*."""

    def __init__(self, board: Board) -> None:
        super().__init__(logging.WARNING)
        self._board = board

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._board.fault(record.levelname.lower(), record.getMessage())
        except Exception:
            self.handleError(record)
