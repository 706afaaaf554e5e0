"""Network cameras as they come: a stream without an end, and an address that gives one picture at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import av

from edge.sources.leash import Leash
from edge.sources.opened import Opened, Playback
from edge.sources.pace import Pace, Silence, Timeline
from edge.types import EdgeError, Image

# HLS comes in segments, of which up to three wait with the server: a late one is no stall.
_SEGMENTS_S = 30.0
_LONGEST_GAP_S = 20.0  # of a spread stream; beyond, its stamps leap
# What falls silent before its interval is known may be slow, or dead: a camera that lives gives a new
# connection a picture within so many seconds. Tried twice at most: pictures may then lie half a minute apart.
PROBE_S, _PROBES = 3.0, 2
_SLOW_S = 15.0  # of patience, which is 2.5 times what lies between two pictures


class Live(Playback):
    """The pictures of *opened*, as they come or, with *spread*, at the distances of their time stamps.

    At most *fps* a second; *first_s* is what the second one may take; *begun* are those read before. It never
    ends regularly: when the sender stops, or is silent for longer than its own interval explains, read()
    raises EdgeError. While the interval is not known, *open_again* (limit in s) is tried before.
    """

    def __init__(
        self,
        opened: Opened,
        leash: Leash,
        open_again: Callable[[float], Opened] | None,
        *,
        fps: float | None,
        spread: bool,
        first_s: float,
        begun: Iterable[av.VideoFrame],
    ) -> None:
        super().__init__(opened, leash, fps)
        self._open_again = open_again
        self._probes = _PROBES if open_again else 0
        self._begun = deque(begun)
        least_s = _SEGMENTS_S if spread else Silence.LEAST_S
        self._silence = Silence(first_s=first_s, least_s=least_s)
        self._timeline = Timeline(_LONGEST_GAP_S) if spread else None

    @property
    def patience(self) -> float:
        return self._silence.patience + PROBE_S * self._may_probe

    @property
    def slow(self) -> bool:
        """Its pictures lie, or may lie, further apart than a new stream is given time for."""
        return not self._silence.known or self._silence.patience > _SLOW_S

    @property
    def _may_probe(self) -> bool:
        return self._probes > 0 and not self._silence.known

    def read(self) -> Image:
        while True:
            self._leash.check()
            frame = self._begun.popleft() if self._begun else self._next()
            if frame is None:
                raise EdgeError(f"{self._leash.name}: no picture came; the sender ended the stream")
            due = time.monotonic()
            self._silence.note(due)
            if self._timeline:
                due = self._timeline.place(frame.time, self._opened.period)
            if self._limit.passes(due):
                image = self._opened.picture(frame)
                if self._timeline:
                    self._pace.wait(due)
                return image

    def _next(self) -> av.VideoFrame | None:
        try:
            return self._opened.next(self._silence.patience)
        except EdgeError:
            if not (self._open_again and self._may_probe and self._leash.expired):
                raise
        self._probes -= 1
        silent_s = self._silence.patience + PROBE_S
        try:
            self._replace(partial(self._open_again, 0.8 * PROBE_S))
            self._silence.begin_again()
            return self._opened.next(0.2 * PROBE_S)
        except EdgeError as error:
            self._leash.check()
            if not self._leash.expired:
                raise
            raise EdgeError(f"{self._leash.name}: no picture came for {silent_s:.0f} s") from error


class Polled:
    """A picture at a time, *fps* a second, each by a call of *open_again*; *first* was read before."""

    still = True  # such an address often shows the same for minutes

    def __init__(self, first: Image, open_again: Callable[[], Opened], leash: Leash, *, fps: float) -> None:
        self.damaged = 0
        self.patience = 0.0
        self._first: Image | None = first
        self._open_again = open_again
        self._leash = leash
        self._fps = fps
        self._pace = Pace(interrupted=leash.interrupted)
        self._asked = 0

    def read(self) -> Image:
        self._leash.check()
        self._pace.wait(self._asked / self._fps)
        self._asked += 1
        image, self._first = self._first, None
        return self._ask() if image is None else image

    def interrupt(self) -> None:
        self._leash.interrupt()

    close = interrupt

    def _ask(self) -> Image:
        opened = self._open_again()
        try:
            frame = opened.next(Silence.LEAST_S)
            if frame is None:
                raise EdgeError(f"{self._leash.name}: no picture in the answer")
            return opened.picture(frame)
        finally:
            opened.close()
