"""A sink with short timeouts for a local broker, and sample messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from edge.contract.messages import Topics
from edge.mqtt.broker import Broker
from edge.mqtt.client import MqttSink
from edge.types import Message

STATUS = "p/n/status"
ONCE = (0.1, 0.2)  # retry_s, short for tests
CALM = (4.0, 4.0)  # retry_s with time to start a broker and a subscriber between two attempts


def idle_sink(port: int, host: str = "127.0.0.1", **keywords: object) -> MqttSink:
    """A sink not yet started; *keywords* are those of Broker or MqttSink."""
    theirs = {field.name for field in fields(Broker)} & keywords.keys()
    broker = Broker(host, port=port, **{"client_id": "n", **{key: keywords.pop(key) for key in theirs}})  # type: ignore[arg-type]
    return MqttSink(broker, **{"status_topic": STATUS, "retry_s": ONCE, **keywords})  # type: ignore[arg-type]


@contextmanager
def sink(port: int, **keywords: object) -> Iterator[MqttSink]:
    publishing = idle_sink(port, **keywords)
    publishing.start()
    try:
        yield publishing
    finally:
        publishing.stop()


def node_status(topics: Topics, online: bool) -> Message:
    """The status message a sink publishes itself."""
    return Message(topics.of("status"), b"online" if online else b"offline", qos=1, retain=True)


def state(payload: bytes, topic: str = "p/n/hall/state") -> Message:
    return Message(topic, payload, qos=1, retain=True)


def event(payload: bytes, max_age_s: float = 10.0) -> Message:
    return Message("p/n/hall/event", payload, qos=1, max_age_s=max_age_s)


def faces(payload: bytes) -> Message:
    return Message("p/n/hall/faces", payload)
