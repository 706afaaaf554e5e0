"""When the next picture is due: what every source that is no real camera waits by."""

from __future__ import annotations

import threading
import time

from edge.types import EdgeError

_LATE_S = 1.0  # behind by more than this, the schedule starts anew instead of being caught up with


class Pace:
    """Makes pictures come at their own times, by the monotonic clock.

    With *paced* false nothing is waited for: each picture comes as fast as it is asked for.
    """

    def __init__(self, *, paced: bool = True) -> None:
        self._paced = paced
        self._start: float | None = None
        self._interrupted = threading.Event()

    def wait(self, stamp: float) -> None:
        """Block until *stamp* seconds after the first call's stamp; EdgeError once interrupted.

        A reader who is late is not made later: the pictures missed are simply due at once, and after
        a long halt (a suspended machine) the schedule starts from now.
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
    """Chooses which of the pictures that come are handed on, at most *fps* a second (None: all)."""

    def __init__(self, fps: float | None) -> None:
        self._period = 1 / fps if fps else 0.0
        self._due: float | None = None

    def passes(self, stamp: float) -> bool:
        """Whether the picture at *stamp* (seconds, not falling) is to be handed on.

        Counted against a fixed grid, so that 10 of 24 a second are 10 and not each third (8). A gap
        in the stream is not made up for by a burst after it.
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
