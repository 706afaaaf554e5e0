"""When to publish what of one camera; edge/contract/messages.py makes the messages."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence

from edge.contract import messages
from edge.contract.messages import Topics
from edge.types import Event, Frame, Message, Track

STATE_INTERVAL_S = 1.0  # between two state messages of one camera
CONFIDENCE_STEP = 0.1  # a smaller change of confidence is not published


class EventIds:
    """``<boot>:<seq>``, unique over restarts, so that a recorder can drop duplicates."""

    def __init__(self) -> None:
        self.boot = uuid.uuid4().hex
        self._numbers: Iterator[int] = itertools.count(1)

    def next(self) -> int:
        return next(self._numbers)


class Announcer:
    """Turns one camera's tracks and events into messages, at the rates of docs/mqtt.md.

    Events at once, each also for the log; the state when it changed, at most once a second, the last change
    never lost; the faces at most *faces_hz* times a second (0: never), and one empty list when the last left.
    *now* and *started*, when the camera was first known to be empty, are monotonic s, *wall* is Unix s.
    """

    def __init__(self, camera: str, topics: Topics, faces_hz: float, ids: EventIds, started: float) -> None:
        self._camera = camera
        self._topics = topics
        self.faces_hz = faces_hz
        self._ids = ids
        self._published: tuple[Track, ...] | None = None  # None before the first state
        self._state_due = self._faces_due = started
        self._empty_since = started
        self._present = False
        self._shown: tuple[int, tuple[int, int]] | None = None  # seq and size of the list that shows faces

    def frame(self, frame: Frame, tracks: Sequence[Track], events: Sequence[Event]) -> list[Message]:
        """What to send after *frame* was analyzed; *tracks* largest first."""
        due = self._transitions(tracks, events, frame.taken, frame.wall)
        showing = tracks if self.faces_hz > 0 else ()
        # The empty list is not held back: boxes must be wiped at once.
        if frame.taken < self._faces_due if showing else self._shown is None:
            return due
        if self.faces_hz > 0:
            # From when it was due where the frame is a little late, or the rate would fall; after a pause
            # from now, or two would follow each other at once.
            period = 1 / self.faces_hz
            late = frame.taken - self._faces_due
            self._faces_due = (self._faces_due if late < period / 2 else frame.taken) + period
        self._shown = (frame.seq, frame.size) if showing else None
        return [*due, messages.faces(self._topics, frame, showing)]

    def state(
        self, tracks: Sequence[Track], events: Sequence[Event], now: float, wall: float
    ) -> list[Message]:
        """What is due without a frame: a state held back, faces that left while the camera gives none."""
        due = self._transitions(tracks, events, now, wall)
        if self._shown is not None and not tracks:
            due.append(messages.face_list(self._topics, self._camera, *self._shown, wall))
            self._shown = None
        return due

    def _transitions(
        self, tracks: Sequence[Track], events: Sequence[Event], now: float, wall: float
    ) -> list[Message]:
        """Events and, when it is due, the state."""
        due = []
        for event in events:
            about = self._topics, event, self._ids.boot, self._ids.next()
            due += [messages.event(*about), messages.log(*about)]
        if self._present and not tracks:
            self._empty_since = now
        self._present = bool(tracks)
        if now >= self._state_due and self._changed(tracks):
            self._published = tuple(tracks)
            self._state_due = now + STATE_INTERVAL_S
            due.append(
                messages.state(
                    self._topics, self._camera, tracks, now=now, wall=wall, empty_since=self._empty_since
                )
            )
        return due

    def _changed(self, tracks: Sequence[Track]) -> bool:
        if self._published is None or len(self._published) != len(tracks):
            return True
        if not tracks:
            return False
        old, new = self._published[0], tracks[0]
        if old.number != new.number:
            return True
        if new.doubted:  # what becomes of it is known within hold_s
            return False
        (before, was), (after, now) = old.shown, new.shown
        return before != after or abs(was - now) >= CONFIDENCE_STEP
