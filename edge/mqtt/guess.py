"""What an MQTT 3.1.1 broker does not take and cannot say: retained messages, QoS 1, or both.

Such a broker (mosquitto with ``retain_available false``, for one) ends the connection over the first message,
or over the will before its CONNACK. Where connections end before anything came through, the next guess is
tried. A network that fails for a while ends them as well: a guess that seems to hold is believed only once
the next connection, with everything again, ends the same way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge.mqtt.terms import Terms

log = logging.getLogger(__name__)

ENDS = 2  # connections in a row that end over the first message, before the next guess
RETRY_S = 3600.0  # until a believed guess is put to the proof again, at the next connection

_GUESSES = (Terms(), Terms(retain=False), Terms(qos=0), Terms(retain=False, qos=0))


class Guess:
    """For the thread that has the connection. *broker* is its name in the log; *clock* gives monotonic s."""

    def __init__(self, broker: object, clock: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._clock = clock
        self._step = 0  # in _GUESSES, for the next connection
        self._ends = 0
        self.exhausted = False  # none of them held: the connections end for another reason
        self._held: int | None = None  # the guess that seemed to hold, while it is put to the proof
        self._believed = 0.0  # since when, monotonic s; 0: not

    @property
    def sure(self) -> bool:
        """The terms are known to hold, or nothing speaks against MQTT's own."""
        return not self._step or bool(self._believed)

    @property
    def terms(self) -> Terms:
        """For the next connection."""
        if self._believed and self._clock() - self._believed > RETRY_S:
            self._prove()
        return _GUESSES[self._step]

    def came_through(self) -> bool:
        """A message did; whether to end the connection now, to put the guess to the proof."""
        self._ends, self.exhausted = 0, False
        if self._step and not self._believed:
            self._prove()
            return True
        self._held = None
        return False

    def ended(self) -> None:
        """The broker hung up before anything came through."""
        if self._held is not None:
            self._step, self._held, self._believed = self._held, None, self._clock()
            lost = ["retained messages"] * (not self.terms.retain) + ["QoS 1"] * (not self.terms.qos)
            log.info("mqtt %s: broker hangs up over %s", self._broker, " and ".join(lost))
            return
        self._ends += 1
        if self._ends >= ENDS and not self._believed:
            self._ends = 0
            self._step = (self._step + 1) % len(_GUESSES)
            self.exhausted = self.exhausted or not self._step

    def _prove(self) -> None:
        self._held, self._step, self._believed = self._step, 0, 0.0
