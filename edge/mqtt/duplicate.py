"""The alarm for a second daemon with the same node id: the two corrupt each other's topics."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from edge.mqtt.broker import Broker, HungUpError, TakenOverError
from edge.types import Incoming, Message

log = logging.getLogger(__name__)

REMEMBERED = 100  # of our own payloads a topic: 50 minutes of health
LASTS_S = 120.0  # from an alarm's last sign to its end; the other's health is a sign every 30 s


class Namesake:
    """Whether there is a second daemon; its coming and going are logged.

    A live message on this node's info or health that we did not publish is the other daemon's: its time stamp
    makes it unlike ours. One on another machine has another client id: both stay connected and receive each
    other's messages. One with our client id (on this machine, or from a copied card) makes the broker end our
    connection; only MQTT 5 says why. After such an end we connect under another client id: then both stay
    connected, and a broker that hung up for other reasons raises no alarm.

    *node* begins the node's topics. said() is for any thread, the rest for one; *clock* gives monotonic s.
    """

    def __init__(self, broker: Broker, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.topics = (f"{node}/info", f"{node}/health")
        self.broker = broker  # with the client id to use next
        self._given = broker
        self._aside = replace(broker, client_id=f"{broker.client_id[:17]}{uuid.uuid4().hex[:6]}")
        self._node = node.rpartition("/")[2]
        self._clock = clock
        # MQTT 3.1.1 echoes it, and over a bad network what an earlier connection sent comes late.
        self._said = {topic: deque[int](maxlen=REMEMBERED) for topic in self.topics}  # hashes of payloads
        self._until: float | None = None  # when the alarm ends

    @property
    def alarmed(self) -> bool:
        return self._until is not None

    def said(self, message: Message) -> None:
        """Remember what we publish on the topics."""
        if message.topic in self._said:
            self._said[message.topic].append(hash(message.payload))

    def heard(self, message: Incoming) -> None:
        """Check a message on the topics."""
        live = message.payload and not message.retained
        if live and hash(message.payload) not in self._said[message.topic]:
            self._alarm(f"it publishes on {message.topic}")

    def ended(self, error: Exception) -> None:
        """Check the end of a connection, or of an attempt."""
        if isinstance(error, TakenOverError):
            self._alarm(f"it connects with our client id {self._given.client_id}")
        pushed = isinstance(error, HungUpError | TakenOverError)
        self.broker = self._aside if pushed else self._given

    def tick(self) -> None:
        """End an alarm LASTS_S after its last sign."""
        if self._until is not None and self._clock() > self._until:
            self._until = None
            log.info("mqtt %s: no more sign of another daemon as node %s", self._given, self._node)

    def _alarm(self, reason: str) -> None:
        if self._until is None:
            log.error("mqtt %s: another daemon runs as node %s: %s; give each its own node.id, "
                      "also on copied cards", self._given, self._node, reason)  # fmt: skip
        self._until = self._clock() + LASTS_S
