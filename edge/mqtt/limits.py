"""What a broker refuses: by its CONNACK, or by ending connections over a message.

A broker may hang up without a reason on a packet that is too large or a topic that it forbids; sent first on
the next connection, that message would end it again, for ever. So each end of a connection counts against the
messages in flight that have never come through. After such an end they go out one by one, and a message over
which the connection ends twice more is left out from then on; after one end where one as large was left out
before. The node's status goes first on each connection and never counts: a network that is down bans nothing.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from edge.mqtt.terms import Terms
from edge.types import Message

if TYPE_CHECKING:
    from edge.mqtt.connection import Connection

log = logging.getLogger(__name__)

ENDS = 2  # connections that end over one message sent alone, before it is left out
SOON_S = 60.0  # a longer connection ended for another reason
PASSED_S = 2.0  # a message without acknowledgement came through if the connection outlives it by this
RETRY_S = 3600.0  # until what was left out is tried again, at the next connection
UNANSWERED_S = 10.0  # longest wait for the acknowledgement of a message sent alone
NAMED = 3  # topics in health


@dataclass(frozen=True, slots=True)
class LimitsHealth:
    """What is lost with this broker, as published in health."""

    packet_bytes: int | None  # as in Terms
    retain: bool
    qos: int
    left_out: int  # topics
    topics: tuple[str, ...]  # the first NAMED of them


class _Flight(NamedTuple):
    topic: str
    size: int
    at: float  # when it was sent, monotonic s


class Limits:
    """fits() and health() are for any thread, the rest for the one that has the connection.

    *broker* is its name in the log; *status* the node's own status topic; *clock* gives monotonic s.
    """

    def __init__(self, broker: object, status: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.version = 0  # changes with what fits() says
        self._broker = broker
        self._status = status
        self._clock = clock
        self._lock = threading.Lock()  # guards the next three
        self.terms = Terms()
        self._banned: dict[str, tuple[int, float]] = {}  # topic -> size that ends the connection, since when
        self._left_out: dict[str, int] = {}  # topic -> size
        self._passed: dict[str, int] = {}  # topic -> the largest size that came through
        self._flying: dict[int, _Flight] = {}  # in the order of sending; by number, unnumbered below 0
        self._unnumbered = 0  # so far
        self._said = Terms()  # as last logged
        self.heard = False  # something came through on this connection
        self.careful = False  # one message at a time, each acknowledged
        self._counts: dict[str, int] = {}  # ends over this topic alone, since it came through

    def begin(self, terms: Terms, *, sure: bool = True) -> None:
        """A connection begins, on these *terms*; where they are not *sure*, they are not logged."""
        self._flying.clear()
        self.heard = False
        with self._lock:
            before, self.terms = self.terms, terms
            # Another broker, or the same with another configuration, may take what this one did not.
            since = self._clock() - RETRY_S if terms.packet == before.packet else math.inf
            lifted = [topic for topic, (_, at) in self._banned.items() if at < since]
            for topic in lifted:
                del self._banned[topic]
        self.version += bool(lifted) or terms.packet != before.packet
        if not sure or terms == self._said:
            return
        self._said = terms
        if not terms.retain:
            log.warning("mqtt %s: broker retains nothing: late subscribers get no state; "
                        "allow retained messages there", self._broker)  # fmt: skip
        if terms.qos < 1:
            log.warning("mqtt %s: broker takes QoS 0 only: events and the log may get lost; "
                        "allow QoS 1 there", self._broker)  # fmt: skip

    @property
    def waiting(self) -> bool:
        """Nothing more may be sent until what is in flight is acknowledged."""
        return self.careful and bool(self._suspects())

    def fits(self, topic: str, size: int) -> bool:
        """Whether the broker takes a packet of *size* bytes on *topic*, as far as is known."""
        with self._lock:
            packet = self.terms.packet
            return (packet is None or size <= packet) and size < self._banned.get(topic, (size + 1, 0.0))[0]

    def transmit(
        self, connection: Connection, wanted: Message, seconds_left: float | None
    ) -> tuple[int | None, bool]:
        """Send *wanted*, fitted to this broker: (number or, if never acknowledged, None; whether sent)."""
        message = self.terms.fit(wanted)
        size = connection.size(message, seconds_left)
        if not self.admits(message.topic, size):
            return None, False
        if self.careful and self.unknown(message.topic, size):
            message = self.terms.fit(replace(message, qos=1))  # for its acknowledgement
        number = connection.send(message, seconds_left)
        acknowledged = number if message.qos else None
        self.sent(acknowledged, message.topic, size)
        return acknowledged, True

    def admits(self, topic: str, size: int) -> bool:
        """As fits(); the first refusal of a topic is logged."""
        if self.fits(topic, size):
            with self._lock:
                self._left_out.pop(topic, None)
            return True
        with self._lock:
            known = topic in self._left_out
            self._left_out[topic] = size
            packet = self.terms.packet
        if not known and packet is not None and size > packet:
            log.warning("mqtt %s: %s left out: %d bytes, the broker takes %d; raise its packet limit",
                        self._broker, topic, size, packet)  # fmt: skip
        return False

    def forget(self, topic: str) -> None:
        """Nothing is wanted on *topic* any more."""
        with self._lock:
            self._left_out.pop(topic, None)

    def unknown(self, topic: str, size: int) -> bool:
        """Nothing as large has come through on *topic* yet."""
        return topic != self._status and size > self._passed.get(topic, -1)

    def sent(self, number: int | None, topic: str, size: int) -> None:
        """*topic* went out; *number* where it will be acknowledged."""
        if number is None:
            self._unnumbered += 1
            number = -self._unnumbered
        self._flying[number] = _Flight(topic, size, self._clock())

    def acknowledged(self, number: int) -> None:
        """The broker has seen *number*, and so what went before it without a number."""
        if number in self._flying:
            keys = list(self._flying)
            for key in keys[: keys.index(number)]:
                if key < 0:
                    self._pass(key)
            self._pass(number)

    def tick(self) -> None:
        """Give up waiting for what is in flight too long; call it regularly."""
        now = self._clock()
        for key, flight in list(self._flying.items()):
            if key < 0 and now - flight.at > PASSED_S:
                self._pass(key)
            elif self.careful and now - flight.at > UNANSWERED_S:
                del self._flying[key]  # the others need not wait for what is never acknowledged

    def ended(self, hung_up: bool, too_large: bool, lasted_s: float, *, convict: bool = True) -> bool:
        """Attribute the end of a connection; whether it was over a message, which *convict* has left out."""
        suspects = self._suspects()
        self._flying.clear()
        if too_large and suspects:
            self._ban(max(suspects, key=lambda suspect: suspect.size))
        elif not (hung_up and suspects and lasted_s < SOON_S):
            self.careful = False
            return False
        elif self.careful and convict and len(suspects) == 1:
            (suspect,) = suspects
            self._counts[suspect.topic] = self._counts.get(suspect.topic, 0) + 1
            known = any(suspect.size >= size for size, _ in self._banned.values())
            if known or self._counts[suspect.topic] >= ENDS:
                self._ban(suspect)
        self.careful = True
        return True

    def refused_as_too_large(self, number: int) -> None:
        """The broker refused *number* for its size and kept the connection."""
        if number in self._flying:
            self._ban(self._flying.pop(number))

    def health(self) -> LimitsHealth | None:
        """None where nothing is lost."""
        with self._lock:
            terms, topics = self.terms, tuple(self._left_out)
        if terms.retain and terms.qos > 0 and not topics:
            return None
        return LimitsHealth(terms.packet, terms.retain, terms.qos, len(topics), topics[:NAMED])

    def _suspects(self) -> list[_Flight]:
        return [flight for flight in self._flying.values() if self.unknown(flight.topic, flight.size)]

    def _pass(self, key: int) -> None:
        topic, size, _ = self._flying.pop(key)
        self.heard = True
        self._passed[topic] = max(size, self._passed.get(topic, 0))
        self._counts.pop(topic, None)

    def _ban(self, flight: _Flight) -> None:
        topic, size, _ = flight
        self._counts.pop(topic, None)
        with self._lock:
            self._banned[topic] = min(size, self._banned.get(topic, (size, 0.0))[0]), self._clock()
            self._left_out[topic] = size
        self.version += 1
        log.warning("mqtt %s: %s left out from now on: the broker ends the connection over its %d bytes; "
                    "check its packet limit and its access list", self._broker, topic, size)  # fmt: skip
