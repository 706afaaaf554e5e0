"""The sink as the tests want it: impatient, towards a broker on this machine; and what it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge.mqtt.client import MqttSink
from edge.types import Message

STATUS = "p/n/status"
ONCE = (0.1, 0.2)  # retry_s: tests do not wait for seconds
CALM = (4.0, 4.0)  # retry_s with time to start a broker and a subscriber between two attempts


@contextmanager
def sink(port: int, **keywords: object) -> Iterator[MqttSink]:
    plain = {"status_topic": STATUS, "client_id": "n", "retry_s": ONCE}
    publishing = MqttSink("127.0.0.1", port=port, **{**plain, **keywords})  # type: ignore[arg-type]
    publishing.start()
    try:
        yield publishing
    finally:
        publishing.stop()


def state(payload: bytes, topic: str = "p/n/hall/state") -> Message:
    return Message(topic, payload, qos=1, retain=True)


def event(payload: bytes, max_age_s: float = 10.0) -> Message:
    return Message("p/n/hall/event", payload, qos=1, max_age_s=max_age_s)


def faces(payload: bytes) -> Message:
    return Message("p/n/hall/faces", payload)
