"""How the way to the broker fares, as it is published in health."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.mqtt.limits import LimitsHealth
from edge.mqtt.outbox import OutboxHealth


@dataclass(frozen=True, slots=True)
class MqttHealth:
    reconnects: int = 0  # connections after the first
    queued: int = 0  # events that wait to be sent or acknowledged
    dropped: int = 0  # events given up: too old, too many or refused
    outbox: OutboxHealth = field(default_factory=OutboxHealth)
    duplicate_id: bool = False  # another daemon runs with this node id
    insecure: bool = False  # the broker's certificate is not checked
    limits: LimitsHealth | None = None  # None: the broker takes all
