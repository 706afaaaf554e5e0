"""Liveness of the daemon's threads: each stage promises when its next sign of life is due.

A beat holds for FRESH_S; a stage that will be silent for longer (a broker that does not answer, an engine
being built) declares why and until when. The watchdog acts on a broken promise.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

FRESH_S = 10.0  # a beat holds this long; with WatchdogSec=30 a stage that hangs is ended after 40 s at most


class _Promise(NamedTuple):
    since: float  # s
    until: float  # s
    reason: str  # what is waited for; empty while it works


class Stage:
    """One stage's sign of life. Any thread may give it; it costs no lock."""

    def __init__(self, name: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self.beat()

    def beat(self) -> None:
        """There was progress."""
        self.wait("", FRESH_S)

    def wait(self, reason: str, seconds: float) -> None:
        """Expect nothing for up to *seconds*, because of *reason*; a beat ends it."""
        now = self._clock()
        self._promise = _Promise(now, now + seconds, reason)

    @contextmanager
    def waiting(self, reason: str, seconds: float) -> Iterator[None]:
        """A declared wait around a long call; an outer wait's time stops meanwhile."""
        around, began = self._promise, self._clock()
        self.wait(reason, seconds)
        try:
            yield
        finally:
            now = self._clock()
            if around.reason and began <= around.until:
                self._promise = around._replace(until=around.until + now - began)
            else:
                self.beat()

    def overdue(self) -> str:
        """What is wrong, for people; empty while its promise holds."""
        now, promise = self._clock(), self._promise
        if now <= promise.until:
            return ""
        doing = f" ({promise.reason})" if promise.reason else ""
        return f"{self.name}: no progress for {now - promise.since:.0f} s{doing}"


class Heartbeats:
    """All present stages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stages: list[Stage] = []

    def stage(self, name: str) -> Stage:
        """A new stage, which must beat until end()."""
        stage = Stage(name, self._clock)
        with self._lock:
            self._stages.append(stage)
        return stage

    def end(self, stage: Stage) -> None:
        """Expect nothing of *stage* any more; harmless twice."""
        with self._lock:
            self._stages = [other for other in self._stages if other is not stage]

    def overdue(self) -> list[str]:
        """What is wrong, one line a stage; empty while every promise holds."""
        with self._lock:
            stages = list(self._stages)
        return [words for stage in stages if (words := stage.overdue())]
