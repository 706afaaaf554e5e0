"""When to tell what of one camera; what the messages look like is edge/contract/messages.py."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence

from edge.contract import messages
from edge.contract.messages import Topics
from edge.types import Event, Frame, Message, Track

STATE_INTERVAL_S = 1.0  # between two state messages of one camera
CONFIDENCE_STEP = 0.1  # a change of confidence that is worth a state message of its own


class EventIds:
    """``<boot>:<seq>``, unique over restarts, so that a recorder can drop what it was told twice."""

    def __init__(self) -> None:
        self.boot = uuid.uuid4().hex
        self._numbers: Iterator[int] = itertools.count(1)

    def next(self) -> int:
        return next(self._numbers)


class Announcer:
    """Turns one camera's tracks and events into messages, no more often than the contract says.

    Events at once, each also for the log; the state when it changed, at most once a second, the last
    change never lost; the faces at most *faces_hz* times a second (0: never), and one empty list when
    the last has left.
    *now* (monotonic s) and *wall* (Unix s) come with each call; *started* is when the camera was first
    known to be empty, monotonic s.
    """

    def __init__(self, camera: str, topics: Topics, faces_hz: float, ids: EventIds, started: float) -> None:
        self._camera = camera
        self._topics = topics
        self.faces_hz = faces_hz
        self._ids = ids
        self._told: tuple[Track, ...] | None = None  # None before the first state
        self._state_due = self._faces_due = started
        self._empty_since = started
        self._present = False
        self._shown: tuple[int, tuple[int, int]] | None = None  # seq and size of the list that shows faces

    def frame(self, frame: Frame, tracks: Sequence[Track], events: Sequence[Event]) -> list[Message]:
        """What to send after *frame* was analysed; *tracks* largest first."""
        told = self._transitions(tracks, events, frame.taken, frame.wall)
        showing = tracks if self.faces_hz > 0 else ()
        # The empty list is not held back: whoever draws boxes is to wipe them at once.
        if frame.taken < self._faces_due if showing else self._shown is None:
            return told
        if self.faces_hz > 0:
            # From when it was due where the frame is a little late, or the rate would fall; after a pause
            # from now, or two would follow each other at once.
            period = 1 / self.faces_hz
            late = frame.taken - self._faces_due
            self._faces_due = (self._faces_due if late < period / 2 else frame.taken) + period
        self._shown = (frame.seq, frame.size) if showing else None
        return [*told, messages.faces(self._topics, frame, showing)]

    def state(
        self, tracks: Sequence[Track], events: Sequence[Event], now: float, wall: float
    ) -> list[Message]:
        """What is due without a frame: a state held back, faces that left while the camera gives none."""
        told = self._transitions(tracks, events, now, wall)
        if self._shown is not None and not tracks:
            told.append(messages.no_faces(self._topics, self._camera, *self._shown, wall))
            self._shown = None
        return told

    def _transitions(
        self, tracks: Sequence[Track], events: Sequence[Event], now: float, wall: float
    ) -> list[Message]:
        """Events and, when it is due, the state."""
        told = []
        for event in events:
            about = self._topics, event, self._ids.boot, self._ids.next()
            told += [messages.event(*about), messages.log(*about)]
        if self._present and not tracks:
            self._empty_since = now
        self._present = bool(tracks)
        if now >= self._state_due and self._worth_telling(tracks):
            self._told = tuple(tracks)
            self._state_due = now + STATE_INTERVAL_S
            told.append(
                messages.state(
                    self._topics, self._camera, tracks, now=now, wall=wall, empty_since=self._empty_since
                )
            )
        return told

    def _worth_telling(self, tracks: Sequence[Track]) -> bool:
        if self._told is None or len(self._told) != len(tracks):
            return True
        if not tracks:
            return False
        old, new = self._told[0], tracks[0]
        if old.number != new.number:
            return True
        if new.doubted:  # what becomes of it is known within hold_s
            return False
        (before, was), (after, now) = old.shown, new.shown
        return before != after or abs(was - now) >= CONFIDENCE_STEP
