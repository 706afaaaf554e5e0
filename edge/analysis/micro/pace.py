"""Whether pictures come fast and evenly enough for brief movements to be seen in them."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

LEAST_FPS = 58.0
MOST_JITTER = 0.25
WINDOW_S = 2.0
LOOK_S = 1.0  # between two verdicts
FAILS = 2  # verdicts in a row that end the spotting: one hiccup does not


class Verdict(NamedTuple):
    """*fps* of the last WINDOW_S; *jitter*: the intervals' standard deviation as a share of their mean."""

    fps: float
    jitter: float

    @property
    def good(self) -> bool:
        return self.fps >= LEAST_FPS and self.jitter <= MOST_JITTER

    @property
    def words(self) -> str:
        """What is wrong with it, in words."""
        if self.fps < LEAST_FPS:
            return f"{self.fps:.1f} pictures a second; expected at least {LEAST_FPS:g}"
        uneven = f"jitter {self.jitter:.0%} at {self.fps:.1f} pictures a second"
        return f"{uneven}; at most {MOST_JITTER:.0%} is taken"


class Regularity:
    """Judges a camera's pictures by when they came. Times in monotonic s, never falling."""

    def __init__(self) -> None:
        self.last: Verdict | None = None  # None: not measured yet
        self.fit = False
        self._taken: deque[float] = deque()
        self._begun: float | None = None
        self._judged = 0.0
        self._failed = 0

    def note(self, taken: float) -> None:
        """A picture was taken then."""
        self._taken.append(taken)
        if self._begun is None:
            self._begun = self._judged = taken

    def judge(self, now: float) -> None:
        """Look again if that is due. Also while no picture comes."""
        while self._taken and now - self._taken[0] > WINDOW_S:
            self._taken.popleft()
        if self._begun is None or now - self._begun < WINDOW_S or now - self._judged < LOOK_S:
            return
        self._judged = now
        gaps = np.diff(np.array(self._taken))
        # Counted over the whole window, so that a silence that has not ended lowers it.
        jitter = float(gaps.std() / gaps.mean()) if len(gaps) > 1 else 0.0
        self.last = Verdict(len(self._taken) / WINDOW_S, jitter)
        self._failed = 0 if self.last.good else self._failed + 1
        self.fit = self.last.good or (self.fit and self._failed < FAILS)
