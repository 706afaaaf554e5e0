"""When the next picture is due, in sources that are no real cameras."""

from __future__ import annotations

import threading
import time

from edge.types import EdgeError

_LATE_S = 1.0  # behind by more than this, the schedule restarts instead of catching up


class Pace:
    """Makes pictures come at their own times, by the monotonic clock; with *paced* false at once."""

    def __init__(self, *, paced: bool = True, interrupted: threading.Event | None = None) -> None:
        self._paced = paced
        self._start: float | None = None
        self._interrupted = interrupted or threading.Event()

    def wait(self, stamp: float) -> None:
        """Block until *stamp* seconds after the first call's stamp; EdgeError once interrupted.

        To a late reader the missed pictures are due at once; after a long halt (a suspended machine) the
        schedule starts from now.
        """
        if self._interrupted.is_set():
            raise EdgeError("closed while it was read")
        if not self._paced:
            return
        now = time.monotonic()
        if self._start is None or now - (self._start + stamp) > _LATE_S:
            self._start = now - stamp
        if self._interrupted.wait(max(0.0, self._start + stamp - now)):
            raise EdgeError("closed while it was read")

    def interrupt(self) -> None:
        """Wake whoever waits."""
        self._interrupted.set()


class RateLimit:
    """Chooses which pictures are handed on, at most *fps* a second (None: all)."""

    def __init__(self, fps: float | None) -> None:
        self._period = 1 / fps if fps else 0.0
        self._due: float | None = None

    def passes(self, stamp: float) -> bool:
        """Whether the picture at *stamp* (seconds, not falling) is to be handed on.

        Counted against a fixed grid: 10 of 24 a second are 10, not each third (8). A gap in the stream is not
        made up for by a burst.
        """
        if self._period == 0.0:
            return True
        if self._due is None:
            self._due = stamp
        if stamp < self._due - 0.001:  # stamps are rounded to milliseconds by some containers
            return False
        self._due += self._period
        if self._due < stamp:
            self._due = stamp + self._period
        return True


class Timeline:
    """Seconds since the first picture, from what a container stamps: never falling, never halting."""

    def __init__(self, longest_gap_s: float) -> None:
        self._longest_gap_s = longest_gap_s  # what lies further apart was stamped wrongly, or cut
        self._origin: float | None = None  # the stamp that is 0 s
        self.now = 0.0  # s, of the last picture
        self.gap = 0.0  # s, between the last two

    def place(self, stamp: float | None, period: float) -> float:
        """Where the picture stamped *stamp* lies; *period* s after the last where that cannot be."""
        if self._origin is None:
            if stamp is not None:
                self._origin = stamp - self.now
            return self.now
        gap = 0.0 if stamp is None else stamp - self._origin - self.now
        if not -_LATE_S <= gap <= self._longest_gap_s:  # a leap
            self._origin += gap - period
            gap = period
        elif gap <= 0:  # some containers stamp nothing, or all alike
            gap = period
        self.now += gap
        self.gap = gap
        return self.now

    def begin_again(self, period: float) -> None:
        """The next picture follows the last by *period* s, whatever it is stamped."""
        self.now += period
        self._origin = None


class Silence:
    """For how long a stream may be silent, by how far apart its pictures came in the last minute."""

    LEAST_S, MOST_S = 4.0, 120.0

    def __init__(self, *, first_s: float, least_s: float = LEAST_S) -> None:
        self._first_s = first_s  # until three pictures have come
        self._least_s = least_s
        self._last: float | None = None  # when the last picture came, monotonic s
        self._gaps = 0  # counted up to 2: many a server sends its first picture twice
        self._recent = self._before = 0.0  # s, the longest gap of the last 30 s and of those before
        self._turned = 0.0  # when the two were last shifted, monotonic s

    def note(self, now: float) -> None:
        """A picture came at *now*, monotonic s."""
        if self._last is not None:
            gap = now - self._last
            self._gaps = min(self._gaps + 1, 2)
            if now - self._turned >= 30.0:
                self._before, self._recent, self._turned = self._recent, 0.0, now
            self._recent = max(self._recent, gap)
        self._last = now

    def begin_again(self) -> None:
        """The next picture comes on a new connection: until three have come there, nothing is known."""
        self._gaps = -1

    @property
    def known(self) -> bool:
        """Three pictures have come."""
        return self._gaps == 2

    @property
    def patience(self) -> float:
        """Seconds without a picture after which the stream counts as stalled."""
        least_s = self._least_s if self.known else max(self._first_s, self._least_s)
        return min(max(2.5 * max(self._recent, self._before), least_s), self.MOST_S)
