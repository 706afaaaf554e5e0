"""Keeps Home Assistant up to date: at the start, on a reload, and when it was away itself."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from edge.homeassistant import discovery
from edge.homeassistant.discovery import Announced, Format
from edge.homeassistant.entities import Device
from edge.host.disk import StateFile, StateFiles
from edge.mqtt.client import MqttSink
from edge.types import Incoming

JITTER_S = 5.0  # many nodes must not answer Home Assistant at the same moment
BIRTH_TOPIC = "homeassistant/status"  # where Home Assistant says that it has started, by default
INTERVAL_S = 10.0  # at least, between two answers


def announced_file(path: Path) -> StateFile[Announced]:
    """The topics that were announced, so that the next run can clear them."""
    loss = "a camera that went while the daemon was off stays in Home Assistant"
    return StateFile(path, "topics", _checked, loss)


def _checked(content: Announced) -> Announced:
    for topic, entities in content.items():
        texts = isinstance(entities, dict) and all(isinstance(one, str) for one in entities.values())
        if not topic or set("+#\0") & set(topic) or not texts:
            raise ValueError("not the entities of topics")
    return content


class Keeper:
    """Announces devices through *sink*, clears what is gone, and republishes on births.

    *files* keep what was announced in *path*, so that a camera that was renamed while the daemon was off is
    cleared too. *jitter* draws a number of seconds from 0 to its argument.
    """

    def __init__(
        self,
        sink: MqttSink,
        path: Path,
        files: StateFiles,
        *,
        jitter: Callable[[float], float] = lambda longest: random.uniform(0, longest),
    ) -> None:
        self._sink = sink
        self._file = announced_file(path)
        self._files = files
        self._jitter = jitter
        self._known: Announced = self._file.read()  # what the broker may still have
        self._wanted: Announced | None = None  # what it should have, until it acknowledged that
        self._moved: list[str] = []  # old topics of what is on new ones, until the broker has those
        # What announce() was given last, and what was known of the broker's limits then.
        self._announced: tuple[Sequence[Device], str, Format, Collection[str], str] | None = None
        self._limits_version = 0
        self._birth_topic = ""
        self._born = threading.Event()
        self._due: float | None = None  # when to publish again, monotonic s
        self._not_before = 0.0  # monotonic s

    def announce(
        self,
        devices: Sequence[Device],
        prefix: str,
        form: Format,
        others: Collection[str] = (),
        birth_topic: str = BIRTH_TOPIC,
    ) -> None:
        """Announce *devices*; clear the rest of the node, also of *others*, the cameras' retained topics."""
        self._announced = devices, prefix, form, others, birth_topic
        self._limits_version = self._sink.limits_version
        messages = discovery.messages(devices, prefix, form, self._known, self._sink.fits)
        wanted: Announced = {message.topic: entities for message, entities in messages.items()}
        wanted |= {topic: {} for topic in others}
        # First what goes: its name is free then. Where the same entities come on other topics, Home Assistant
        # lets go of them and keeps what it knows, and the old topics go when the broker has the new ones.
        gone = {topic: entities for topic, entities in self._known.items() if topic not in wanted}
        self._moved = sorted(gone.keys() & discovery.former_topics(devices, prefix))
        for topic in gone:
            if topic in self._moved:
                self._sink.publish(discovery.migrating(topic))
            else:
                self._sink.forget(topic)
        for message in messages:
            self._sink.publish(message)
        self._listen(birth_topic if devices else "")
        merged = {topic: self._known.get(topic, {}) | entities for topic, entities in wanted.items()}
        self._remember(gone | merged)
        self._wanted = wanted

    @property
    def settled(self) -> bool:
        """The broker has everything wanted, and nothing else of ours."""
        return self._wanted is None and not self._moved

    def tick(self, now: float) -> None:
        """Do what is due at *now* (monotonic s); call it regularly, from one thread."""
        if self._announced is not None and self._sink.limits_version != self._limits_version:
            self.announce(*self._announced)  # in another form, where it did not fit
        if self._moved and self._sink.idle:
            for topic in self._moved:
                self._sink.forget(topic)
            self._moved = []
        elif self._wanted is not None and self._sink.idle:
            if self._known != self._wanted:
                self._remember(self._wanted)
                # Home Assistant ignores states of entities that it is still removing.
                self._republish_in(JITTER_S, now)
            self._wanted = None
        if self._born.is_set():
            self._born.clear()
            self._republish_in(self._jitter(JITTER_S), now)
        if self._due is not None and now >= self._due:
            self._due, self._not_before = None, now + INTERVAL_S
            self._sink.republish()

    def _republish_in(self, seconds: float, now: float) -> None:
        if self._due is None:
            self._due = max(now + seconds, self._not_before)

    def _listen(self, topic: str) -> None:
        if topic == self._birth_topic:
            return
        if self._birth_topic:
            self._sink.unsubscribe(self._birth_topic)
        self._birth_topic = topic
        if topic:
            self._sink.subscribe(topic, self._hear)

    def _hear(self, message: Incoming) -> None:
        # A retained one counts, too: the birth may have come while we had no connection.
        if message.payload == b"online":
            self._born.set()

    def _remember(self, known: Announced) -> None:
        if known == self._known:
            return  # spares the card
        self._known = known
        self._files.write(self._file.path, self._file.text(known))
