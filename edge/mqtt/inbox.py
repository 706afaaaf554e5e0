"""The queue of commands from the sink's thread to the analysis thread; bounded in size and rate."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge.types import Incoming

log = logging.getLogger(__name__)

MAX_BYTES = 4096  # of one command
RATE_HZ = 5.0  # commands carried out or refused by their content
ROOM = 32  # commands that may wait
LOG_S = 1.0  # between two log lines


@dataclass(frozen=True, slots=True)
class CommandHealth:
    """Commands since the start."""

    accepted: int = 0
    refused: int = 0


class Allowance:
    """*rate* a second, after a pause *burst* at once. *clock* gives monotonic s."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = self._left = burst
        self._clock = clock
        self._at = clock()

    def take(self) -> bool:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Inbox:
    """Takes what came to the subscribed topics; gives it out at RATE_HZ, after a pause RATE_HZ at once.

    Up to ROOM commands wait; what comes on top, is too large or was retained is refused here, counted and not
    answered. At most one line is logged each LOG_S: the latest, with the number of lines it replaces.
    *clock* gives monotonic s.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards all below
        self._waiting: deque[Incoming] = deque()
        self._allowance = Allowance(RATE_HZ, RATE_HZ, clock)
        self._counts = CommandHealth()
        self._retained: set[str] = set()  # topics whose retained command was logged
        self._line = 0, ""  # what waits to be logged, and its level
        self._unlogged = 0  # lines not logged yet, this one included
        self._logged_at = clock() - LOG_S

    def put(self, message: Incoming) -> None:
        """For the sink's thread: never blocks for long, never raises."""
        with self._lock:
            if message.retained:
                self._refuse_retained(message.topic)
            elif len(message.payload) > MAX_BYTES:
                self._refuse(message.topic, f"{len(message.payload)} bytes; expected at most {MAX_BYTES}")
            elif len(self._waiting) >= ROOM:
                self._refuse(message.topic, f"too many commands; expected at most {RATE_HZ:g} a second")
            else:
                self._waiting.append(message)

    def take(self) -> Incoming | None:
        """The next command whose turn has come."""
        with self._lock:
            return self._waiting.popleft() if self._waiting and self._allowance.take() else None

    def accept(self, line: str) -> None:
        """Count a command that was carried out; *line* is for the log."""
        with self._lock:
            self._counts = replace(self._counts, accepted=self._counts.accepted + 1)
            self._log(logging.INFO, line)

    def refuse(self, topic: str, reason: str) -> None:
        """Count a command that was not."""
        with self._lock:
            self._refuse(topic, reason)

    def flush_log(self) -> None:
        """Log the waiting line once LOG_S have passed; call it regularly."""
        with self._lock:
            if self._unlogged and self._clock() - self._logged_at >= LOG_S:
                more = f" (and {self._unlogged - 1} more)" if self._unlogged > 1 else ""
                level, line = self._line
                log.log(level, "%s%s", line, more)
                self._unlogged = 0
                self._logged_at = self._clock()

    @property
    def counts(self) -> CommandHealth:
        with self._lock:
            return self._counts

    def _refuse_retained(self, topic: str) -> None:
        """A retained command would be executed again on every connect, long after it was meant."""
        self._counts = replace(self._counts, refused=self._counts.refused + 1)
        if topic not in self._retained:
            self._retained.add(topic)
            log.warning("%s: ignored, because it is retained; send commands without retain", topic)

    def _refuse(self, topic: str, reason: str) -> None:
        self._counts = replace(self._counts, refused=self._counts.refused + 1)
        self._log(logging.WARNING, f"{topic}: refused: {reason}")

    def _log(self, level: int, line: str) -> None:
        self._line = level, line
        self._unlogged += 1
