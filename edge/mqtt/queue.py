"""What must still go to the broker: values under a lock, without a socket or a thread."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from edge.types import Message


class Subscription(NamedTuple):
    topic: str  # exact, without wildcards
    wanted: bool  # False: to be given up


Key = int | str | tuple[str]  # an event by its number, a subscription by (topic,), all else by its topic


class Due(NamedTuple):
    """The next thing to send."""

    key: Key
    item: Message | Subscription
    seconds_left: float | None = None  # until the message is too old

    @property
    def topic(self) -> str:
        return self.item.topic


class _Event(NamedTuple):
    """A QoS 1 message without retain: kept until it is acknowledged or too old."""

    message: Message
    deadline: float | None  # monotonic s after which it must not be sent


class Queue:
    """Retained state, events and subscriptions, and what of them still waits for the present connection.

    Kept across connections: the last payload of every retained topic (an empty one until it is acknowledged),
    the subscriptions, and up to *size* QoS 1 messages without retain. The rest is dropped while offline.

    *online* and *offline* are the node's status: the first and, after close(), the last word of every
    connection. For any thread; put(), subscribe() and republish() return whether a connection waits for more.
    """

    def __init__(self, online: Message, offline: Message, size: int) -> None:
        self._online = online
        self._offline = offline
        self._node = f"{online.topic.rpartition('/')[0]}/"  # prefix of its own topics
        self._size = size
        self._lock = threading.Lock()  # held for dictionary operations only
        self._retained: dict[str, Message] = {}
        self._events: dict[int, _Event] = {}  # not acknowledged, in the order of put()
        self._subscribed: dict[str, None] = {}  # an ordered set
        # A newer message replaces an older one of its topic.
        self._waiting: dict[Key, Message | Subscription] = {}
        self._in_hand: Due | None = None  # taken out, perhaps not yet in flight
        self._in_flight: dict[int, Due] = {}  # by the connection's number for it
        self._serial = itertools.count()
        self.connected = False
        self._closed = False
        self._connects = 0
        self._dropped = 0

    @property
    def in_flight(self) -> int:
        """How many are not acknowledged yet."""
        return len(self._in_flight)

    @property
    def idle(self) -> bool:
        """All is sent, and acknowledged where that is asked for."""
        with self._lock:
            return not self._waiting and not self._in_hand and not self._in_flight

    def counts(self) -> tuple[int, int, int]:
        """(connections so far, events that wait to be sent or acknowledged, events given up)."""
        with self._lock:
            self._drop_aged()
            return self._connects, len(self._events), self._dropped

    def put(self, message: Message) -> bool:
        """Take *message*, unless close() was called."""
        with self._lock:
            if self._closed:
                return False
            self._put(message)
            return self.connected

    def subscribe(self, topic: str, wanted: bool = True) -> bool:
        """Subscribe to *topic* now and on every connect, or no longer."""
        with self._lock:
            if wanted:
                self._subscribed[topic] = None
            else:
                self._subscribed.pop(topic, None)
            if self.connected:
                self._waiting[topic,] = Subscription(topic, wanted)
            return self.connected

    def republish(self) -> bool:
        """Line up every retained message once more."""
        with self._lock:
            if self.connected and not self._closed:
                self._waiting.update(self._all_retained())
            return self.connected

    def close(self) -> bool:
        """Make ``offline`` the last word; False where it was before."""
        with self._lock:
            if self._closed:
                return False
            self._waiting.pop(self._offline.topic, None)  # so that it is the last word
            self._put(self._offline)
            self._closed = True
            return True

    # What follows is for the thread that has the connection.

    def begin(self) -> None:
        """Line up what every connection begins with, then the events that are still young."""
        with self._lock:
            self._retained[self._online.topic] = self._offline if self._closed else self._online
            self._drop_aged()
            self._waiting = {}
            self._waiting.update(self._all_retained())
            self._waiting.update(((topic,), Subscription(topic, True)) for topic in self._subscribed)
            self._waiting.update((serial, event.message) for serial, event in self._events.items())
            self.connected = True
            self._connects += 1

    def end(self) -> None:
        with self._lock:
            self.connected = False
            self._waiting = {}
            self._in_hand = None
            self._in_flight = {}

    def next(self, window: int) -> Due | None:
        """Take out what to send next; of QoS 1 only while less than *window* is unacknowledged."""
        with self._lock:
            self._in_hand = None
            full = len(self._in_flight) >= window
            while (key := next(self._sendable(full), None)) is not None:
                due = Due(key, self._waiting.pop(key), self._seconds_left(key))
                if due.seconds_left is None or due.seconds_left > 0:
                    self._in_hand = due
                    return due
                self._drop(key)
            return None

    def sent(self, number: int | None, due: Due) -> None:
        """*due* went out; the broker acknowledges it as *number*, or not at all."""
        with self._lock:
            if number is None:
                self._finish(due, refused=False)
            else:
                self._in_flight[number] = due

    def acknowledged(self, number: int, refused: bool) -> Due | None:
        """What *number* was; None where it is not from here."""
        with self._lock:
            due = self._in_flight.pop(number, None)
            if due is not None:
                self._finish(due, refused)
            return due

    def discard(self, key: Key) -> None:
        """Give up what cannot be sent at all."""
        with self._lock:
            match key:
                case int():
                    self._drop(key)
                case str():
                    self._retained.pop(key, None)
                case (topic,):
                    self._subscribed.pop(topic, None)

    def _finish(self, due: Due, refused: bool) -> None:
        if isinstance(due.key, int):
            known = self._events.pop(due.key, None)
            self._dropped += refused and known is not None
        elif due.item is self._retained.get(due.topic) and not due.item.payload:
            del self._retained[due.topic]

    def _put(self, message: Message) -> None:
        key: Key = message.topic
        if message.retain:
            self._retained[message.topic] = message
        elif message.qos == 1:
            key = next(self._serial)
            deadline = None if message.max_age_s is None else time.monotonic() + message.max_age_s
            self._events[key] = _Event(message, deadline)
            if len(self._events) > self._size:
                self._drop(next(iter(self._events)))
        if self.connected:
            self._waiting[key] = message

    def _all_retained(self) -> Iterator[tuple[str, Message]]:
        """The status, then discovery (what is not among the node's own topics), then the rest."""
        status = self._online.topic
        yield status, self._retained[status]
        rest = [topic for topic in self._retained if topic != status]
        for topic in sorted(rest, key=lambda topic: topic.startswith(self._node)):
            yield topic, self._retained[topic]

    def _sendable(self, full: bool) -> Iterator[Key]:
        for key, item in self._waiting.items():
            if not full or (isinstance(item, Message) and item.qos == 0):
                yield key

    def _drop(self, key: Key) -> None:
        if isinstance(key, int) and key in self._events:
            del self._events[key]
            self._waiting.pop(key, None)
            self._dropped += 1

    def _drop_aged(self) -> None:
        now = time.monotonic()
        sent = {due.key for due in self._in_flight.values()}
        for serial, event in list(self._events.items()):
            if event.deadline is not None and event.deadline <= now and serial not in sent:
                self._drop(serial)

    def _seconds_left(self, key: Key) -> float | None:
        event = self._events.get(key) if isinstance(key, int) else None
        return None if event is None or event.deadline is None else event.deadline - time.monotonic()
