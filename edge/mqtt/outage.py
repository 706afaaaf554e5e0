"""What is logged of an outage: each reason once, and its end."""

from __future__ import annotations

import logging
from collections import deque

from edge.mqtt.broker import Broker, BrokerError

log = logging.getLogger(__name__)

REASONS = 20  # of one outage that are not logged twice; a broker may word each one differently


class Outage:
    """The time without a connection to *broker*."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._logged: deque[str] = deque(maxlen=REASONS)

    def failed(self, error: Exception) -> None:
        """An attempt to connect, or a connection, ended with *error*."""
        reason = str(error) if isinstance(error, BrokerError) else f"failed ({error!r})"
        if reason not in self._logged:
            self._logged.append(reason)
            log.warning("mqtt %s: %s (trying again)", self._broker, reason)

    def ended(self, version: str) -> None:
        """There is a connection, by MQTT *version*."""
        again = " again" if self._logged else ""
        log.info("mqtt %s: connected%s (MQTT %s)", self._broker, again, version)
        self._logged.clear()
