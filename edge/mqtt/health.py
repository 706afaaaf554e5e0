"""The broker connection, as published in health."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge.mqtt.limits import LimitsHealth


@dataclass(frozen=True, slots=True)
class OutboxHealth:
    depth: int = 0  # messages that wait to be sent or acknowledged
    bytes: int = 0  # of their topics and payloads
    dropped: int = 0  # given up: too many, too old or refused; counted across restarts
    corrupt: int = 0  # files set aside since the start; an earlier one counts while it exists
    storage: str = "memory only"  # "ok", or why nothing can be written while memory holds it


@dataclass(frozen=True, slots=True)
class MqttHealth:
    reconnects: int = 0  # connections after the first
    queued: int = 0  # events that wait to be sent or acknowledged
    dropped: int = 0  # events given up: too old, too many or refused
    outbox: OutboxHealth = field(default_factory=OutboxHealth)
    duplicate_id: bool = False  # another daemon runs with this node id
    insecure: bool = False  # the broker's certificate is not checked
    limits: LimitsHealth | None = None  # None: the broker takes all
