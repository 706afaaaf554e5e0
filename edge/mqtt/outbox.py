"""At-least-once delivery of the log's messages, across outages and restarts.

Memory holds every message that waits (the bounds are small), in the order of append(); a thread keeps the
file (edge/mqtt/store.py) up to date in group commits. So append() and next() never wait for a disk, a full,
lost or silent one costs nothing while the daemon runs, and what the broker acknowledged within GROUP_S is
never written. The constructor waits up to OPEN_S, close() longer.

``replayed`` in a payload is false for exactly what a subscriber got on ``event`` at once: the first sending
over the connection that was up when the message was appended, at most EVENT_MAX_AGE_S afterwards.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge.host.disk import SILENT, DiskWatch
from edge.mqtt.health import OutboxHealth
from edge.mqtt.store import DamagedError, Row, Store, aside, refusal, set_aside, space
from edge.types import Message

log = logging.getLogger(__name__)

GROUP_S = 0.15  # from a message to its commit, so that one commit serves many
RETRY_S = 2.0  # between two attempts to write where the last one failed
OPEN_S = 2.0  # longest wait for the file at the start
PROBE_S = 5.0  # between two checks of the disk's free space while nothing is written
# Sent messages that a restart might send again: not acknowledged, or not yet deleted. Also replays each
# GROUP_S, so that a backlog leaves room for what is live.
WINDOW = 20
EVENT_MAX_AGE_S = 10.0  # an older one must never fire an automation
_LIVE, _REPLAYED = b'"replayed":false}', b'"replayed":true}'  # how a log's payload ends


def boottime() -> float:
    """s since boot, sleep included; independent of the wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(slots=True, eq=False)
class Entry:
    """A message on its way."""

    row: Row
    connection: int  # how many had begun when it was appended; -1: it is from an earlier run
    number: int | None = None  # in the store; None: not there
    gone: bool = False  # acknowledged or given up
    writing: bool = False  # its row may be in the store already

    @property
    def size(self) -> int:
        return len(self.row.topic) + len(self.row.payload)


class Outbox:
    """Keeps durable messages until the broker has them; bounded, the oldest dropped first and counted.

    At most *max_rows* messages, *max_bytes* of topics and payloads, *max_age_s* old by CLOCK_BOOTTIME.
    *path* None keeps them in memory alone. A damaged file is set aside, one that cannot be used is tried
    again for ever; health() says so meanwhile.

    append(), clear() and health() are for any thread, start() and close() for the owner's; the rest is for
    the thread that has the connection.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        max_rows: int = 10_000,
        max_bytes: int = 8 * 1024 * 1024,
        max_age_s: float = 24 * 3600.0,
        clock: Callable[[], float] = boottime,
    ) -> None:
        self._path = path
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._store: Store | None = None  # the writer's alone once it runs
        self._loaded = False  # what an earlier run left is in memory

        self._lock = threading.Lock()  # held for memory only; guards all down to _storage
        self._work = threading.Condition(self._lock)
        self._waiting: deque[Entry] = deque()
        self._in_flight: dict[int, Entry] = {}  # by the connection's number, in the order of sending
        self._bytes = 0
        self._unsaved: list[Entry] = []
        self._deleting: list[int] = []  # numbers of finished rows
        self._gone_while_writing = 0  # how many will join them after this write
        self._dropped = 0
        self._corrupt = 0
        self._connections = 0
        self._storage = "ok"
        self._closing = False

        self._turn = -math.inf  # monotonic s: when the replays of this GROUP_S began
        self._turns = 0  # how many there were
        self._wake: Callable[[], None] = lambda: None
        self._watch = DiskWatch(path)
        self._opened, self._begun = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="outbox", daemon=True)
        if path is not None:
            self._thread.start()
            self._opened.wait(OPEN_S)

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to write; *wake* is called, from any thread, when next() may have something again."""
        self._wake = wake
        self._begun.set()

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is not written; a disk that hangs is given up after *timeout_s*."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._begun.set()
        if self._path is not None:
            self._thread.join(timeout_s)

    def append(self, message: Message) -> None:
        """Take *message*; never blocks (memory only) and never raises."""
        with self._work:
            entry = Entry(Row(message.topic, message.payload, self._clock()), self._connections)
            self._waiting.append(entry)
            self._bytes += entry.size
            if self._path is not None:
                self._unsaved.append(entry)
                if len(self._unsaved) == 1:
                    self._work.notify()
                elif len(self._unsaved) > 2 * self._max_rows:  # the disk takes nothing
                    self._unsaved = [entry for entry in self._unsaved if not entry.gone]
            self._bound()

    def clear(self) -> int:
        """Drop everything that is not in flight; the number of messages."""
        with self._work:
            count = len(self._waiting)
            for entry in self._waiting:
                self._forget(entry)
            self._waiting.clear()
            return count

    def health(self) -> OutboxHealth:
        with self._lock:
            self._expire()
            depth = len(self._waiting) + len(self._in_flight)
            return OutboxHealth(depth, self._bytes, self._dropped, self._corrupt, self.storage)

    @property
    def storage(self) -> str:
        """``ok``, ``memory only`` or why the file cannot be written for now."""
        if self._path is None:
            return "memory only"
        return SILENT if self._watch.hangs() else self._storage

    # For the thread that has the connection.

    def begin(self) -> None:
        """A connection begins: everything is to be sent, from the oldest on."""
        with self._lock:
            self._connections += 1
            self._waiting.extendleft(entry for entry in reversed(self._in_flight.values()))
            self._in_flight.clear()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def next(self, window: int, live: bool = False) -> tuple[Entry, Message] | None:
        """What to send, with less than *window* in flight and replays at their rate, or never if *live*.

        It stays the next until sent() or discard().
        """
        with self._lock:
            self._expire()
            if not self._may_send(window):
                return None
            entry = self._waiting[0]
            message = Message(entry.row.topic, entry.row.payload, qos=1, durable=True)
            late = self._clock() - entry.row.taken > EVENT_MAX_AGE_S
            if not late and entry.connection == self._connections:
                return entry, message
            return None if live or not self._may_replay() else (entry, as_replayed(message))

    @property
    def idle(self) -> bool:
        """Nothing waits to be sent."""
        return not self._waiting

    def sent(self, number: int | None, entry: Entry) -> None:
        """*entry* went out; the broker acknowledges it as *number*, or not at all."""
        with self._lock:
            self._turns += 1
            if entry.gone:  # dropped meanwhile
                return
            self._waiting.remove(entry)  # the first, unless the file was opened meanwhile
            if number is None:
                self._forget(entry)
            else:
                self._in_flight[number] = entry

    def acknowledged(self, number: int, refused: bool = False) -> str | None:
        """The topic of *number*; None where it is not from here."""
        with self._work:
            entry = self._in_flight.pop(number, None)
            if entry is None:
                return None
            self._dropped += refused
            self._forget(entry)
            return entry.row.topic

    def discard(self, entry: Entry) -> None:
        """Give up what cannot be sent at all."""
        with self._work:
            if not entry.gone:
                self._waiting.remove(entry)
                self._drop(entry)

    # With the lock held.

    def _may_send(self, window: int) -> bool:
        in_flight = len(self._in_flight)
        if not self._waiting or in_flight >= window:
            return False
        # Without a usable disk the log goes on; what is acknowledged then may come twice.
        again = in_flight + len(self._deleting) + self._gone_while_writing
        return again < WINDOW or self.storage != "ok"

    def _may_replay(self) -> bool:
        now = time.monotonic()
        if now - self._turn >= GROUP_S:
            self._turn, self._turns = now, 0
        return self._turns < WINDOW

    def _bound(self) -> None:
        while len(self._waiting) + len(self._in_flight) > self._max_rows or self._bytes > self._max_bytes:
            if self._in_flight:
                self._drop(self._in_flight.pop(next(iter(self._in_flight))))
            else:
                self._drop(self._waiting.popleft())

    def _expire(self) -> None:
        oldest = self._clock() - self._max_age_s
        while self._waiting and self._waiting[0].row.taken < oldest:
            self._drop(self._waiting.popleft())

    def _drop(self, entry: Entry) -> None:
        self._dropped += 1
        self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        entry.gone = True
        self._bytes -= entry.size
        if entry.number is not None:
            self._deleting.append(entry.number)
            if len(self._deleting) == 1:
                self._work.notify()
        elif entry.writing:
            self._gone_while_writing += 1

    # The writer's thread.

    def _write_on(self) -> None:
        self._sync()
        self._opened.set()
        self._begun.wait()
        while not self._closing:
            with self._work:
                self._work.wait_for(lambda: self._unsaved or self._deleting or self._closing, PROBE_S)
                if self._unsaved or self._deleting:
                    self._work.wait_for(lambda: self._closing, GROUP_S)
            if not self._sync():
                with self._work:
                    self._work.wait_for(lambda: self._closing, RETRY_S)
        self._sync()
        if self._store is not None:
            self._store.close()

    def _sync(self) -> bool:
        """Bring the file up to date; False where it cannot be written."""
        with self._watch.waiting():
            storage, taken = self._try()
        self._report(storage)
        return taken

    def _try(self) -> tuple[str, bool]:
        assert self._path is not None
        try:
            if not self._loaded:
                self._corrupt = int(aside(self._path).exists())
            try:
                self._save()
            except DamagedError as error:
                self._set_aside(error)
                self._save()
            return space(self._path), True
        except (DamagedError, OSError, sqlite3.Error) as error:
            if "full" not in str(error):  # such as a stick that was pulled: open it again
                self._abandon()
            return f"{refusal(error)}; kept in memory", False

    def _save(self) -> None:
        with self._lock:
            self._expire()
            self._unsaved = [entry for entry in self._unsaved if not entry.gone]
        if self._store is None:
            self._open()
        assert self._store is not None
        with self._lock:
            adding, self._unsaved = self._unsaved, []
            self._gone_while_writing = 0
            for entry in adding:
                entry.writing = True
            deleting = list(self._deleting)
            dropped = self._dropped
        if not (adding or deleting or dropped != self._store.dropped):
            return
        try:
            numbers = self._store.write((entry.row for entry in adding), deleting, dropped)
        except BaseException:
            with self._lock:
                self._unsaved[:0] = adding
            raise
        with self._lock:
            del self._deleting[: len(deleting)]
            self._gone_while_writing = 0
            for entry, number in zip(adding, numbers, strict=True):
                entry.number, entry.writing = number, False
                if entry.gone:  # acknowledged while it was written
                    self._deleting.append(number)
        if deleting:
            self._wake()

    def _open(self) -> None:
        """The first time the file's rows go before what came since; later memory replaces them."""
        assert self._path is not None
        store = Store(self._path, self._clock())
        try:
            stored = store.rows()
        except BaseException:
            store.close()
            raise
        self._store = store
        with self._lock:
            if self._loaded:
                self._deleting = [number for number, _ in stored]
                return
            self._loaded = True
            earlier = [Entry(row, -1, number) for number, row in stored]
            self._waiting.extendleft(reversed(earlier))
            self._bytes += sum(entry.size for entry in earlier)
            self._dropped += store.dropped
            self._bound()

    def _abandon(self) -> None:
        """Close the file; the next one gets all that memory holds."""
        if self._store is None:
            return
        self._store.close()
        self._store = None
        with self._lock:
            self._deleting.clear()
            self._unsaved = [*self._in_flight.values(), *self._waiting]
            for entry in self._unsaved:
                entry.number = None

    def _set_aside(self, error: DamagedError) -> None:
        assert self._path is not None
        self._abandon()
        set_aside(self._path)
        log.warning("%s: damaged (%s); set aside as %s, a new one is begun",
                    self._path, error, aside(self._path).name)  # fmt: skip
        with self._lock:
            self._corrupt += 1

    def _report(self, storage: str) -> None:
        with self._lock:
            before, self._storage = self._storage, storage
        if before != storage:
            if storage == "ok":
                log.info("%s: can be written again", self._path)
            else:
                log.warning("%s: %s", self._path, storage)


def as_replayed(message: Message) -> Message:
    """*message* marked as replayed."""
    if not message.payload.endswith(_LIVE):
        return message
    return replace(message, payload=message.payload.removesuffix(_LIVE) + _REPLAYED)
