"""Ends a call to FFmpeg from outside: at a deadline, or on another thread's request."""

from __future__ import annotations

import math
import threading
import time
from types import SimpleNamespace

from av.container import core

from edge.types import EdgeError

# While FFmpeg waits, PyAV asks its clock ten times a second whether the call has lasted too long: its only
# way to end one. So it gets a clock that leaps ahead once the call is to end. This is why PyAV's version is
# pinned; tests/test_sources.py interrupts every kind of source.
_LEAP_S = 1e9
NOMINAL_S = 3600.0  # the limit that PyAV gets; without one it does not ask
_held = threading.local()


class Leash:
    """Permission to call FFmpeg, in one thread at a time, until interrupt()."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.expired = False  # the last call was ended for its deadline
        self.interrupted = threading.Event()
        self._deadline = math.inf  # monotonic s
        self._leaps = 0

    def take(self, limit_s: float) -> None:
        """Make the calling thread's next call to FFmpeg end within *limit_s*; EdgeError once interrupted."""
        self.check()
        self.expired = False
        self._deadline = time.monotonic() + limit_s
        _held.leash = self

    def check(self) -> None:
        if self.interrupted.is_set():
            raise EdgeError(f"{self.name}: closed while it was read")

    def interrupt(self) -> None:
        """End this call and each later one; from any thread, never blocks."""
        self.interrupted.set()

    def clock(self) -> float:
        now = time.monotonic()
        self.expired = self.expired or now > self._deadline
        if self.expired or self.interrupted.is_set():
            self._leaps += 1  # further each time: PyAV may have begun to count after the first leap
        return now + self._leaps * _LEAP_S


def _clock() -> float:
    leash: Leash | None = getattr(_held, "leash", None)
    return time.monotonic() if leash is None else leash.clock()


core.time = SimpleNamespace(monotonic=_clock)  # type: ignore[attr-defined]
