"""The alarm for a second daemon with the same node id, which would spoil both daemons' topics."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge.mqtt.broker import Broker, HungUpError, TakenOverError
from edge.types import Incoming, Message

log = logging.getLogger(__name__)

SOON_S = 60.0  # of two daemons that push each other out, none stays longer (retries are <= 30 s apart)
ENOUGH = 3  # connections in a row that ended so: two may be a broker that restarts
LASTS_S = 120.0  # that an alarm outlives its last sign; the other's health is a sign every 30 s


class Namesake:
    """Whether there is another one; logged when it begins and when it ends.

    A daemon on another machine has another client id, so both are connected, and what it says on this
    node's info and health, all of it but the retained, comes from a stranger. A daemon with our client id
    (on this machine, or on one whose card was copied) makes the broker end our connection: MQTT 5 says so,
    older brokers just hang up, again and again.

    *node* is the first part of the node's topics; no two daemons' payloads there are the same, for they
    have a time in them. said() may be called from any thread, the rest from one; *clock* gives monotonic s.
    """

    def __init__(self, broker: Broker, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.topics = (f"{node}/info", f"{node}/health")
        self._broker = broker
        self._node = node.rpartition("/")[2]
        self._clock = clock
        self._said: dict[str, tuple[bytes, ...]] = dict.fromkeys(self.topics, ())  # what MQTT 3.1.1 echoes
        self._hung_up = 0  # connections in a row that ended soon and without a reason
        self._until: float | None = None  # when the alarm ends

    @property
    def alarmed(self) -> bool:
        return self._until is not None

    def said(self, message: Message) -> None:
        """Keep what we publish ourselves on the topics."""
        if message.topic in self._said:
            self._said[message.topic] = (*self._said[message.topic][-3:], message.payload)

    def heard(self, message: Incoming) -> None:
        """Judge what came on the topics."""
        if message.payload and not message.retained and message.payload not in self._said[message.topic]:
            self._alarm(f"it speaks on {message.topic}")

    def ended(self, error: Exception, lasted_s: float) -> None:
        """Judge the end of a connection, or of an attempt, that *lasted_s*."""
        if isinstance(error, TakenOverError):
            self._alarm(f"it connects with our client id {self._broker.client_id}")
        # A broker that restarts hangs up too, but then refuses connections for a while.
        soon = isinstance(error, HungUpError) and lasted_s < SOON_S
        self._hung_up = self._hung_up + 1 if soon else 0
        if self._hung_up >= ENOUGH:
            self._alarm(f"the broker hangs up soon after each connection of {self._broker.client_id}")

    def tick(self) -> None:
        """End an alarm that has had no sign for long."""
        if self._until is not None and self._clock() > self._until:
            self._until = None
            log.info("mqtt %s: no sign any more of another daemon as node %s", self._broker, self._node)

    def _alarm(self, reason: str) -> None:
        if self._until is None:
            log.error("mqtt %s: another daemon runs as node %s: %s; give each its own node.id, "
                      "also where a card was copied", self._broker, self._node, reason)  # fmt: skip
        self._until = self._clock() + LASTS_S
