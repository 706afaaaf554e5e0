"""What a broker accepts, as its CONNACK says, and what a message takes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.types import Message


@dataclass(frozen=True, slots=True)
class Terms:
    """What a CONNACK allows; the defaults are MQTT's."""

    packet: int | None = None  # bytes of a packet
    retain: bool = True
    qos: int = 1

    def fit(self, message: Message) -> Message:
        """*message* with the QoS and retain that this broker accepts."""
        return replace(message, qos=message.qos if self.qos else 0, retain=message.retain and self.retain)


def packet_bytes(message: Message, *, five: bool, expires: bool) -> int:
    """The size of the PUBLISH that carries *message*, with MQTT 5 where *five*."""
    rest = 2 + len(message.topic.encode()) + 2 * (message.qos > 0) + len(message.payload)
    rest += five * (1 + 5 * expires)
    return 1 + max(1, -(-rest.bit_length() // 7)) + rest
