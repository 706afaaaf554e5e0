"""Skips frames while the board is short of processor time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

LOOK_S = 1.0  # how often the board is checked
# Seconds a second in which the analysis could run and does not get the processor: beyond the first the
# share falls, below the second it rises.
SHORT, PLENTY = 0.3, 0.15
FALL, RISE = 0.75, 1.15  # factor a check
LEAST = 0.2  # share
# A frame is analyzed at least so often: what is published must not be older than a second.
AT_LEAST_EVERY_S = 0.5

Reason = Literal["cpu", "throttled"]


class Rate:
    """Decides frame by frame. *waited* gives the seconds that the analysis thread has waited for a processor
    so far, *throttled* why the board runs slower now; None where the board cannot say.
    """

    def __init__(
        self, waited: Callable[[], float | None], throttled: Callable[[], tuple[str, ...] | None]
    ) -> None:
        self.share = 1.0  # of the frames
        self.reason: Reason | None = None  # why the share is below 1
        self._waited = waited
        self._throttled = throttled
        self._before: tuple[float, float | None] | None = None  # (monotonic s, s waited until then)
        self._cameras: dict[str, tuple[float, float]] = {}  # (credit in frames, last one taken)

    def tick(self, now: float) -> None:
        """Check the board if that is due; *now* in monotonic s."""
        if self._before is not None and now - self._before[0] < LOOK_S:
            return
        waited, before = self._waited(), self._before
        self._before = now, waited
        if before is None:
            return
        pressure = 0.0
        if waited is not None and before[1] is not None:
            pressure = (waited - before[1]) / (now - before[0])
        throttled = bool(self._throttled())
        if throttled or pressure > SHORT:
            self.share = max(LEAST, self.share * FALL)
            self.reason = "throttled" if throttled else "cpu"
        elif pressure < PLENTY:
            self.share = min(1.0, self.share * RISE)
            if self.share == 1.0:
                self.reason = None

    def takes(self, camera: str, taken: float) -> bool:
        """Whether to analyze the frame that *camera* took then."""
        credit, last = self._cameras.get(camera, (1.0, taken))
        credit += self.share
        if credit < 1 and taken - last < AT_LEAST_EVERY_S:
            self._cameras[camera] = credit, last
            return False
        # No more than the share is carried over, or frames that came late would be followed by a burst.
        self._cameras[camera] = min(max(credit - 1, 0.0), self.share), taken
        return True
