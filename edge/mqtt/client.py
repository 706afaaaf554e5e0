"""The sink: takes messages at once, keeps what matters while the broker is away."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from edge.host.heartbeats import FRESH_S, Stage
from edge.mqtt.broker import (
    MQTT_5,
    Broker,
    HungUpError,
    Outage,
    OverMessageError,
    TooLargeError,
    UnansweredError,
    UnheardError,
    WillError,
)
from edge.mqtt.connection import TICK_S, Ack, Connection
from edge.mqtt.duplicate import Namesake
from edge.mqtt.guess import Guess
from edge.mqtt.health import MqttHealth
from edge.mqtt.limits import Limits
from edge.mqtt.outbox import GROUP_S, Outbox
from edge.mqtt.queue import Due, Queue, Subscription
from edge.mqtt.terms import packet_bytes
from edge.types import Incoming, Message

log = logging.getLogger(__name__)

# A silent name server, then each of a name's addresses, then a missing CONNACK.
CONNECT_S = 180.0


class MqttSink:
    """Publishes to one broker from one thread of its own; publish() costs the caller microseconds.

    Published on every connect, after the node's ``online``: the last payload of every retained topic
    (discovery, which is not among the node's own topics, first), the subscriptions, and up to *queue* QoS 1
    messages that are not acknowledged and younger than their ``max_age_s``, in the order of publish().
    QoS 0 without retain is dropped while offline; over a slow network only the newest of a topic goes out.
    What is durable goes through *outbox* (default: in memory). *stage* gets the thread's heartbeat.

    *retry_s*: first and longest wait between attempts, doubling in between; by default drawn from 1-3 s and
    20-30 s, so that many nodes do not reconnect at once.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        status_topic: str,
        retry_s: tuple[float, float] | None = None,
        queue: int = 1000,
        outbox: Outbox | None = None,
        stage: Stage | None = None,
    ) -> None:
        self._broker = broker
        self._order = broker.protocols
        self._retry_s = retry_s or (random.uniform(1, 3), random.uniform(20, 30))
        self._online = Message(status_topic, b"online", qos=1, retain=True)
        self._offline = Message(status_topic, b"offline", qos=1, retain=True)
        self._will = self._offline  # as far as the broker takes it
        self._limits = Limits(self._broker, status_topic)
        self._guess = Guess(self._broker)
        self._mute = True  # nothing is known of this connection's broker, and it cannot say
        self._queue = Queue(self._online, self._offline, queue)
        self._outbox = outbox or Outbox(None)
        self._stage = stage or Stage()
        self._handlers: dict[str, Callable[[Incoming], None]] = {}  # by topic
        self._stopping = threading.Event()
        self._drain_until = 0.0  # monotonic s
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._outage = Outage(self._broker)
        self._refused: set[str] = set()  # topics of which a refusal was logged
        self._failed: set[str] = set()  # topics of which a handler's failure was logged
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

        node = status_topic.rpartition("/")[0]
        self._namesake = Namesake(self._broker, node)
        self.subscribe(status_topic, self._mend_status)
        for topic in self._namesake.topics:
            self.subscribe(topic, self._namesake.heard)

    def start(self) -> None:
        """Begin to connect, and to reconnect for as long as it takes; returns at once."""
        broker = self._broker
        if broker.insecure:
            log.warning("mqtt %s: mqtt.insecure is set, so whoever answers there is taken for the broker; "
                        "put its authority's certificate in mqtt.ca_file instead", broker)  # fmt: skip
        elif broker.password and not broker.tls and not broker.local:
            log.warning("mqtt %s: the password crosses the network unencrypted; set mqtt.tls = true", broker)
        self._outbox.start(self._wake)
        self._thread.start()

    def publish(self, message: Message) -> None:
        """Take *message*, unless stop() was called; never blocks, never raises."""
        self._namesake.said(message)
        if message.durable:
            self._outbox.append(message)
        if self._queue.connected if message.durable else self._queue.put(message):
            self._wake()

    def subscribe(self, topic: str, handler: Callable[[Incoming], None]) -> None:
        """Call *handler* with what comes on *topic* (exact, QoS 1), now and after every reconnect.

        It is called in the sink's thread, so it must only enqueue; what it raises is logged once.
        """
        self._handlers[topic] = handler
        if self._queue.subscribe(topic):
            self._wake()

    def unsubscribe(self, topic: str) -> None:
        self._handlers.pop(topic, None)
        if self._queue.subscribe(topic, wanted=False):
            self._wake()

    def republish(self) -> None:
        """Publish every retained message once more, for whoever was away."""
        if self._queue.republish():
            self._wake()

    def forget(self, topic: str) -> None:
        """Have the broker drop what it retains on *topic*, and publish it no longer."""
        self._limits.forget(topic)
        self.publish(Message(topic, b"", qos=1, retain=True))

    def fits(self, message: Message) -> bool:
        """Whether the broker takes so large a message, as far as is known; limits_version follows it."""
        size = packet_bytes(message, five=True, expires=message.max_age_s is not None)
        return self._limits.fits(message.topic, size)

    @property
    def limits_version(self) -> int:
        return self._limits.version

    def clear_outbox(self) -> int:
        """Give up the durable messages that wait; how many they were."""
        return self._outbox.clear()

    def stop(self, timeout_s: float = 1.0) -> None:
        """Send what is queued and the node's ``offline``, then hang up.

        Without an acknowledgement within *timeout_s* the connection is cut, and the last will is published.
        """
        if not self._queue.close():
            return
        self._drain_until = time.monotonic() + timeout_s
        self._stopping.set()
        if self._thread.ident is None:
            self._close_wake()
        else:
            self._wake()
            self._thread.join(timeout_s + 0.3)  # a connect that hangs is left to the daemon thread
        self._outbox.close()

    def health(self) -> MqttHealth:
        """Counters since start(), for the node's health message."""
        connects, queued, dropped = self._queue.counts()
        return MqttHealth(
            max(0, connects - 1),
            queued,
            dropped,
            self._outbox.health(),
            duplicate_id=self._namesake.alarmed,
            insecure=self._broker.insecure,
            limits=self._limits.health(),
        )

    @property
    def storage(self) -> str:
        """OutboxHealth.storage."""
        return self._outbox.storage

    @property
    def connected(self) -> bool:
        """The broker accepted the connection, and it was not lost since."""
        return self._queue.connected

    @property
    def idle(self) -> bool:
        """Connected, and all that was published so far is sent and, where QoS 1, acknowledged."""
        return self._queue.connected and self._queue.idle

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
                lasted = time.monotonic() - began
                if lasted > longest:  # the connection was good
                    wait = first
                if not self._stopping.is_set():
                    self._outage.failed(error)
                ends = isinstance(error, HungUpError | OverMessageError)
                mute = self._mute and isinstance(error, HungUpError | UnheardError)
                if mute:
                    self._guess.ended()
                convict = not mute or self._guess.exhausted
                if self._limits.ended(ends, isinstance(error, TooLargeError), lasted, convict=convict):
                    wait = first  # retry soon to find the message
                else:
                    self._namesake.ended(error)
                self._stage.wait("before it tries the broker again", wait + FRESH_S)
                self._stopping.wait(wait)
                wait = min(2 * wait, longest)
        self._close_wake()

    def _serve(self) -> None:
        """One connection, until stop(), a guess that is to be proven, or the exception that ended it."""
        self._mute = True
        connection = self._open()
        goodbye = False
        try:
            if connection.version == "5":
                self._mute = False  # it says what it does not take
                self._limits.begin(connection.terms)
                self._will = connection.terms.fit(self._offline)
            else:
                self._limits.begin(self._guess.terms, sure=self._guess.sure)
            self._queue.begin()
            self._outbox.begin()
            self._outage.ended(connection.version)
            while True:
                self._stage.beat()
                self._send(connection)
                if self._stopping.is_set():
                    goodbye = self._queue.idle and not self._outbox.in_flight
                    if goodbye or time.monotonic() >= self._drain_until:
                        return
                    self._receive(connection.turn(0.05))
                else:
                    self._receive(connection.turn(TICK_S if self._outbox.idle else GROUP_S))
                self._namesake.tick()
                self._limits.tick()
                if self._mute and self._limits.heard:
                    self._mute = False
                    if self._guess.came_through():
                        return
        finally:
            self._queue.end()
            connection.close(goodbye)

    def _open(self) -> Connection:
        """A connection in the first of the protocols that the broker answers to."""
        order, self._order = self._order, self._broker.protocols
        broker = self._namesake.broker
        for protocol in order:
            self._stage.wait("connecting to the broker", CONNECT_S)
            try:
                connection = self._connect(broker, protocol)
            except UnansweredError as error:
                unanswered = error
            else:  # tried first after a loss, for as long as the broker can be reached
                self._order = (protocol, *(other for other in self._broker.protocols if other != protocol))
                return connection
        raise unanswered

    def _connect(self, broker: Broker, protocol: int) -> Connection:
        """A connection with as much of the will as the broker takes."""
        first = self._will if protocol == MQTT_5 else self._guess.terms.fit(self._offline)
        for will in (first, replace(first, retain=False), replace(first, qos=0, retain=False)):
            try:
                return Connection(broker, protocol, will, self._wake_reader, self._stopping)
            except WillError as error:
                refused = error
        raise refused

    def _send(self, connection: Connection) -> None:
        """Send what waits, as far as the network and the broker's window take it."""
        while not connection.congested and not self._limits.waiting:
            due = self._queue.next(connection.in_flight - self._outbox.in_flight)
            if due is None:
                if not self._send_durable(connection):
                    return
                continue
            try:
                self._send_due(connection, due)
            except ValueError as error:  # a topic that MQTT does not allow
                log.error("mqtt %s: %s not sent: %s", self._broker, due.topic, error)
                self._queue.discard(due.key)

    def _send_due(self, connection: Connection, due: Due) -> None:
        """Hand *due* to the network; where the broker does not take it, it is left out."""
        if isinstance(due.item, Subscription):
            name = f"the subscription of {due.topic}"
            if self._limits.admits(name, 0):
                ask = connection.subscribe if due.item.wanted else connection.unsubscribe
                asked = ask(due.topic)
                self._limits.sent(asked, name, 0)
                self._queue.sent(asked, due)
            return
        number, sent = self._limits.transmit(connection, due.item, due.seconds_left)
        if sent:
            self._queue.sent(number, due)
        elif isinstance(due.key, int):
            self._queue.discard(due.key)

    def _send_durable(self, connection: Connection) -> bool:
        """Send the next message of the outbox, if one may go now; no backlog while stopping."""
        # At most half of what may be in flight, so that a backlog leaves room for live messages.
        half = max(1, connection.in_flight // 2)
        window = min(half, connection.in_flight - self._queue.in_flight)
        found = self._outbox.next(window, live=self._stopping.is_set())
        if found is None:
            return False
        entry, message = found
        try:
            number, sent = self._limits.transmit(connection, message, None)
            if sent:
                self._outbox.sent(number, entry)
            else:
                self._outbox.discard(entry)
        except ValueError as error:
            log.error("mqtt %s: %s not sent: %s", self._broker, message.topic, error)
            self._outbox.discard(entry)
        return True

    def _receive(self, came: list[Ack | Incoming]) -> None:
        for it in came:
            if isinstance(it, Incoming):
                self._hand_over(it)
            else:
                self._acknowledge(it)

    def _hand_over(self, message: Incoming) -> None:
        handler = self._handlers.get(message.topic)
        try:
            if handler is not None:
                handler(message)
        except Exception:
            if message.topic not in self._failed:
                self._failed.add(message.topic)
                log.exception("mqtt %s: the handler of %s failed", self._broker, message.topic)

    def _acknowledge(self, ack: Ack) -> None:
        if ack.too_large:
            self._limits.refused_as_too_large(ack.number)
        self._limits.acknowledged(ack.number)
        refused = ack.refusal is not None
        due = self._queue.acknowledged(ack.number, refused)
        topic = due.topic if due else self._outbox.acknowledged(ack.number, refused)
        if topic is None or not refused or ack.too_large or topic in self._refused:
            return
        self._refused.add(topic)
        what = f"the subscription of {topic}" if due and isinstance(due.item, Subscription) else topic
        log.warning("mqtt %s: broker refuses %s (%s); allow it in its access list",
                    self._broker, what, ack.refusal)  # fmt: skip

    def _mend_status(self, message: Incoming) -> None:
        """Publish ``online`` again when the last will of a broken connection comes late."""
        if message.payload != self._online.payload:
            self.publish(self._online)
