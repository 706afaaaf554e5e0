"""The sink towards the broker: takes messages at once, keeps what matters while the broker is away."""

from __future__ import annotations

import itertools
import logging
import random
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from edge.mqtt.connection import Ack, Broker, BrokerError, Connection, UnansweredError
from edge.mqtt.messages import MqttHealth
from edge.types import Message

log = logging.getLogger(__name__)

MQTT_3_1_1, MQTT_5 = 4, 5  # protocol levels, as in CONNECT


class _Event(NamedTuple):
    """A QoS 1 message without retain: kept until it is acknowledged or too old."""

    message: Message
    deadline: float | None  # monotonic s after which it must not be sent


class MqttSink:
    """Publishes to one broker from one thread of its own; publish() costs the caller microseconds.

    Kept while there is no connection: the last payload of every retained topic, all of them told again on
    every connect after the node's ``online``, and up to *queue* QoS 1 messages, sent (again, if they were
    not acknowledged) in the order of publish() as long as they are younger than their ``max_age_s``.
    QoS 0 without retain is dropped while offline; over a slow network only the newest of a topic goes out.

    *protocols*: MQTT versions in the order of trying; the next where the broker refuses one or hangs up.
    *retry_s*: first and longest wait between attempts, doubling in between; drawn from 1-3 s and
    20-30 s where not given, so that a house full of nodes does not knock all at once.
    """

    def __init__(
        self,
        host: str,
        *,
        status_topic: str,
        client_id: str,
        port: int = 1883,
        username: str | None = None,
        password: str | None = None,
        keepalive_s: int = 15,
        connect_timeout_s: float = 10.0,
        tls: bool = False,
        ca_file: str | None = None,
        protocols: Sequence[int] = (MQTT_5, MQTT_3_1_1),
        retry_s: tuple[float, float] | None = None,
        queue: int = 1000,
    ) -> None:
        self._broker = Broker(
            host, port, client_id, username, password, keepalive_s, connect_timeout_s, tls, ca_file
        )
        self._protocols = tuple(protocols)
        self._retry_s = retry_s or (random.uniform(1, 3), random.uniform(20, 30))
        self._queue = queue
        self._online = Message(status_topic, b"online", qos=1, retain=True)
        self._offline = Message(status_topic, b"offline", qos=1, retain=True)

        self._lock = threading.Lock()  # held for dictionary operations only; guards all down to _closed
        self._retained: dict[str, Message] = {}  # topic -> the last of it
        self._events: dict[int, _Event] = {}  # serial number -> not acknowledged, in the order of publish()
        # What the present connection must still send: events by their number, all else by its topic, where
        # a newer message takes an older one's place.
        self._waiting: dict[int | str, Message] = {}
        self._in_flight: dict[int, int | str] = {}  # mid -> key of what was sent and not acknowledged
        self._serial = itertools.count()
        self._connects = 0
        self._dropped = 0
        self._connected = False
        self._closed = False

        self._stopping = threading.Event()
        self._drain_until = 0.0  # monotonic s
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._told: set[str] = set()  # what was logged of this outage
        self._refused: set[str] = set()  # what was logged of refused messages
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Begin to connect, and to reconnect for as long as it takes; returns at once."""
        self._thread.start()

    def publish(self, message: Message) -> None:
        """Take *message*; never blocks, never raises, and forgets it after stop()."""
        with self._lock:
            if self._closed:
                return
            self._accept(message)
            connected = self._connected
        if connected:
            self._wake()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Send what is queued and the node's ``offline``, then hang up.

        Waits at most *timeout_s* for the broker's acknowledgement and a little for the thread; without an
        acknowledgement the connection is cut, and the broker publishes the last will.
        """
        with self._lock:
            if self._closed:
                return
            self._waiting.pop(self._offline.topic, None)  # so that it is the last word
            self._accept(self._offline)
            self._closed = True
        self._drain_until = time.monotonic() + timeout_s
        self._stopping.set()
        if self._thread.ident is None:
            self._close_wake()
            return
        self._wake()
        self._thread.join(timeout_s + 0.3)  # a connect that hangs is left to the daemon thread

    def health(self) -> MqttHealth:
        """Counters since start(), for the node's health message."""
        with self._lock:
            self._drop_aged()
            return MqttHealth(max(0, self._connects - 1), len(self._events), self._dropped)

    @property
    def connected(self) -> bool:
        """The broker's CONNACK said success and the connection was not lost since."""
        return self._connected

    def _accept(self, message: Message) -> None:
        key: int | str = message.topic
        if message.retain:
            self._retained[message.topic] = message
        elif message.qos == 1:
            key = next(self._serial)
            deadline = None if message.max_age_s is None else time.monotonic() + message.max_age_s
            self._events[key] = _Event(message, deadline)
            if len(self._events) > self._queue:
                self._drop(next(iter(self._events)))
        if self._connected:
            self._waiting[key] = message

    def _drop(self, serial: int) -> None:
        if self._events.pop(serial, None):
            self._waiting.pop(serial, None)
            self._dropped += 1

    def _drop_aged(self) -> None:
        now = time.monotonic()
        sent = set(self._in_flight.values())
        for serial, event in list(self._events.items()):
            if event.deadline is not None and event.deadline <= now and serial not in sent:
                self._drop(serial)

    def _wake(self) -> None:
        with suppress(OSError):  # full: the thread is awake anyway; closed: it has ended
            self._wake_writer.send(b"\0")

    def _close_wake(self) -> None:
        self._wake_reader.close()
        self._wake_writer.close()

    # What follows runs in the sink's own thread.

    def _run(self) -> None:
        first, longest = self._retry_s
        wait = first
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._serve()
            except Exception as error:
                if time.monotonic() - began > longest:  # it had been a good connection
                    wait = first
                self._tell_failure(error)
                self._stopping.wait(wait)
                wait = min(2 * wait, longest)
        self._close_wake()

    def _serve(self) -> None:
        """One connection, until stop() or the exception that ended it."""
        connection = self._open()
        goodbye = False
        try:
            self._begin()
            self._tell_connected(connection)
            while True:
                self._send(connection)
                if self._stopping.is_set():
                    goodbye = not self._waiting and not self._in_flight
                    if goodbye or time.monotonic() >= self._drain_until:
                        return
                    self._acknowledge(connection.turn(0.05))
                else:
                    self._acknowledge(connection.turn())
        finally:
            self._end()
            connection.close(goodbye)

    def _open(self) -> Connection:
        *others, last = self._protocols
        for protocol in others:
            with suppress(UnansweredError):
                return Connection(self._broker, protocol, self._offline, self._wake_reader, self._stopping)
        return Connection(self._broker, last, self._offline, self._wake_reader, self._stopping)

    def _begin(self) -> None:
        """Line up what a broker must be told on every connect, then the events that are still young."""
        with self._lock:
            status = self._offline if self._closed else self._online
            self._retained = {status.topic: status, **self._retained, status.topic: status}
            self._drop_aged()
            self._waiting = {}
            self._waiting.update(self._retained)
            self._waiting.update((serial, event.message) for serial, event in self._events.items())
            self._connected = True
            self._connects += 1

    def _end(self) -> None:
        with self._lock:
            self._connected = False
            self._waiting = {}
            self._in_flight = {}

    def _send(self, connection: Connection) -> None:
        """Send what waits, as far as the network and the broker's window take it."""
        while not connection.congested:
            with self._lock:
                full = len(self._in_flight) >= connection.in_flight
                sendable = (key for key, it in self._waiting.items() if it.qos == 0 or not full)
                key = next(sendable, None)
                if key is None:
                    return
                message = self._waiting.pop(key)
                left = self._seconds_left(key)
                if left is not None and left <= 0 and isinstance(key, int):
                    self._drop(key)
                    continue
            try:
                mid = connection.send(message, left)
            except ValueError as error:  # a topic that MQTT does not allow
                log.error("mqtt %s: %s not sent: %s", self._broker, message.topic, error)
                self._forget(key)
                continue
            if message.qos == 1:
                with self._lock:
                    self._in_flight[mid] = key

    def _seconds_left(self, key: int | str) -> float | None:
        event = self._events.get(key) if isinstance(key, int) else None
        return None if event is None or event.deadline is None else event.deadline - time.monotonic()

    def _forget(self, key: int | str) -> None:
        with self._lock:
            if isinstance(key, int):
                self._drop(key)
            else:
                self._retained.pop(key, None)

    def _acknowledge(self, acks: list[Ack]) -> None:
        for mid, refusal in acks:
            with self._lock:
                key = self._in_flight.pop(mid, "")  # QoS 0 is also told of
                event = self._events.pop(key, None) if isinstance(key, int) else None
                if event and refusal:
                    self._dropped += 1
            topic = event.message.topic if event else str(key)
            if refusal and topic not in self._refused:
                self._refused.add(topic)
                log.warning("mqtt %s: broker refuses %s (%s); allow it in its access list",
                            self._broker, topic, refusal)  # fmt: skip

    def _tell_connected(self, connection: Connection) -> None:
        again = " again" if self._told else ""
        log.info("mqtt %s: connected%s (MQTT %s)", self._broker, again, connection.version)
        self._told.clear()

    def _tell_failure(self, error: Exception) -> None:
        """Log each reason of an outage once; the end of the outage is told by _tell_connected."""
        reason = str(error) if isinstance(error, BrokerError) else f"failed ({error!r})"
        if reason in self._told or self._stopping.is_set():
            return
        self._told.add(reason)
        log.warning("mqtt %s: %s (trying again)", self._broker, reason)
