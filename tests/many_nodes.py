"""Many nodes on one broker: messages lost, and latency from face to subscriber.

Each node uses the daemon's own sink, outbox and announcers on synthetic frames, with an
announcer for each camera. tests/test_fleet.py runs a few of them, tests/soak.py all.
"""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from edge.contract import messages
from edge.contract.messages import Topics
from edge.mqtt.broker import Broker
from edge.mqtt.client import MqttSink
from edge.mqtt.outbox import Outbox
from edge.node.announce import Announcer, EventIds
from edge.types import LABELS, Box, Event, Face, Frame, Track
from tests.broker import Subscriber, eventually, subscriber
from tests.chaos import Figure, running

CAMERAS, FACES = 3, 4
FPS = 5.0
CHANGE_S = 4.0  # mean time between emotion changes of a face
PREFIX = "house"
PICTURE = np.zeros((480, 640), np.uint8)


class Camera:
    """Publishes faces that change emotion at random."""

    def __init__(self, name: str, topics: Topics, ids: EventIds, chance: random.Random) -> None:
        now = time.monotonic()
        self._name = name
        self._chance = chance
        self._announcer = Announcer(name, topics, 2.0, ids, started=now)
        self._seq = 0
        self._tracks = [
            Track(number, Face(Box(10.0 * number, 20.0, 200.0 - number, 200.0), 0.9), now, now,
                  announced=True, scores=(0.1,) * 3 + (0.6,) + (0.1,) * 3, emotion="happy", emotion_since=now)
            for number in range(1, FACES + 1)
        ]  # fmt: skip

    def publish_frame(self, sink: MqttSink) -> int:
        """Publish one frame; the number of events."""
        self._seq += 1
        frame = Frame(PICTURE, time.monotonic(), time.time(), self._seq, self._name)
        events = []
        for index, track in enumerate(self._tracks):
            if self._chance.random() < 1 / (FPS * CHANGE_S):
                other = self._chance.choice([label for label in LABELS if label != track.emotion])
                events.append(Event("emotion_changed", self._name, track.number, track.emotion, other, 0.8,
                                    frame.wall))  # fmt: skip
                self._tracks[index] = replace(track, emotion=other, emotion_since=frame.taken)
        for message in self._announcer.frame(frame, self._tracks, events):
            sink.publish(message)
        return len(events)


class Node:
    """CAMERAS cameras and a sink; reported counts the events."""

    def __init__(self, number: int, port: int, folder: Path) -> None:
        topics = Topics(PREFIX, f"node-{number}")
        self._chance = random.Random(number)
        self._ids = EventIds()
        self.boot, self.reported = self._ids.boot, 0
        self.sink = MqttSink(
            Broker("127.0.0.1", port=port, client_id=topics.node),
            status_topic=topics.of("status"),
            outbox=Outbox(folder / f"{topics.node}.sqlite3"),
        )
        self._cameras = [
            Camera(f"camera-{index}", topics, self._ids, self._chance) for index in range(CAMERAS)
        ]
        for camera in range(CAMERAS):
            self.sink.publish(messages.camera_status(topics, f"camera-{camera}", "online"))

    def serve(self, until: float) -> None:
        """Serve the cameras until *until*, monotonic s."""
        due = time.monotonic() + self._chance.uniform(0, 1 / FPS)
        while due < until:
            time.sleep(max(0.0, due - time.monotonic()))
            self.reported += sum(camera.publish_frame(self.sink) for camera in self._cameras)
            due += 1 / FPS


def many_nodes_figures(folder: Path, nodes: int, seconds: float, limit_ms: float = 200) -> list[Figure]:
    """*nodes* times CAMERAS cameras with FACES faces each, for *seconds*, and one subscriber."""
    with ExitStack() as stack:
        broker = stack.enter_context(running(folder))
        recorder = stack.enter_context(subscriber(broker.port, f"{PREFIX}/#"))
        served = [Node(number, broker.port, folder) for number in range(nodes)]
        for node in served:
            node.sink.start()
            stack.callback(node.sink.stop)
        assert eventually(lambda: all(node.sink.connected for node in served))
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=node.serve, args=(until,)) for node in served]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert eventually(lambda: all(node.sink.idle and node.sink.health().outbox.depth == 0
                                      for node in served), 60)  # fmt: skip
        reported = sum(node.reported for node in served)
        wanted = {f"{node.boot}:{number}" for node in served for number in range(1, node.reported + 1)}
        eventually(lambda: len(_ids(recorder, "log")) >= reported, 10)
        logged = _ids(recorder, "log")
        received = list(zip(list(recorder.messages), recorder.times, strict=False))
    latencies = sorted(
        (when - datetime.fromisoformat(json.loads(payload)["ts"]).timestamp()) * 1000
        for (topic, payload, _), when in received
        if topic.endswith("/event")
    )
    rate = len(received) / seconds
    what = f"{nodes} x {CAMERAS} x {FACES}"
    print(f"{what}: {len(received)} messages, {rate:.0f}/s; event in ms: "
          f"p50 {latencies[len(latencies) // 2]:.1f}, most {latencies[-1]:.1f}")  # fmt: skip
    return [
        Figure("fleet", f"{what}: lost of {reported} on log", len(wanted - set(logged)), 0),
        Figure("fleet", f"{what}: lost of {reported} on event", reported - len(latencies), 0),
        Figure("fleet", f"{what}: p95 in ms from face to subscriber",
               latencies[int(0.95 * len(latencies))], limit_ms),
    ]  # fmt: skip


def _ids(received: Subscriber, topic: str) -> list[str]:
    reported = list(received.messages)
    return [json.loads(payload)["id"] for name, payload, _ in reported if name.endswith(f"/{topic}")]
