"""The loop that turns frames of all cameras into messages: the analysis thread.

Capture threads fill the slots, this thread empties them in turn, the sink's thread talks to the
broker. A missing camera or broker never ends it.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge import health
from edge.announce import Announcer
from edge.capture import Capture, Slots
from edge.mqtt import messages
from edge.mqtt.messages import CameraHealth, Health, Info, MqttHealth, Topics
from edge.pipeline import Pipeline
from edge.types import Event, Frame, Sink

log = logging.getLogger(__name__)

TICK_S = 0.1  # how often what is due without a frame (a state held back, a face that left) is looked for
HEALTH_S = 30.0
RECENT = 300  # frames over which stage times are told


@dataclass(slots=True)
class Camera:
    """One camera's way through the daemon, and what its health is told from."""

    capture: Capture
    pipeline: Pipeline
    announcer: Announcer
    analysed: int = 0  # frames since the last health message
    last_taken: float | None = None  # monotonic s
    stages: dict[str, deque[float]] = field(default_factory=dict)  # ms
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # ms

    def count(self, frame: Frame) -> None:
        self.analysed += 1
        self.last_taken = frame.taken
        for stage, ms in self.pipeline.state.timings_ms.items():
            self.stages.setdefault(stage, deque(maxlen=RECENT)).append(ms)


class Daemon:
    """Serves *cameras* until stop(); *sink_health* tells how the way to the broker fares."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        slots: Slots,
        sink: Sink,
        topics: Topics,
        info: Info,
        sink_health: Callable[[], MqttHealth],
    ) -> None:
        self._cameras = {camera.capture.name: camera for camera in cameras}
        self._slots = slots
        self._sink = sink
        self._topics = topics
        self._info = info
        self._sink_health = sink_health
        self._stopping = threading.Event()
        self._started = time.monotonic()
        self._health_since = self._started

    def stop(self) -> None:
        """Ask run() to return; fit for a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Analyse until stop(), then close the cameras and leave their topics telling the truth."""
        self._sink.publish(messages.info(self._topics, self._info, time.time()))
        for name, camera in self._cameras.items():
            self._sink.publish(messages.camera_status(self._topics, name, "offline"))
            camera.capture.start()
        self._tell_health()
        try:
            while not self._stopping.is_set():
                frame = self._slots.take(TICK_S)
                if frame is not None:
                    self._analyse(self._cameras[frame.camera], frame)
                self._tick()
        finally:
            for camera in self._cameras.values():
                camera.capture.stop()
            for name in self._cameras:
                self._sink.publish(messages.camera_status(self._topics, name, "offline"))

    def _analyse(self, camera: Camera, frame: Frame) -> None:
        events = camera.pipeline.step(frame)
        camera.count(frame)
        self._log(events)
        for message in camera.announcer.frame(frame, camera.pipeline.state.tracks, events):
            self._sink.publish(message)
        camera.latencies.append((time.monotonic() - frame.taken) * 1e3)

    def _tick(self) -> None:
        now, wall = time.monotonic(), time.time()
        for camera in self._cameras.values():
            # While frames come, they are the clock: a camera slower than forget_s must not lose its faces
            # between two of them.
            silent = camera.capture.status != "online"
            events = camera.pipeline.expire(now, wall) if silent else []
            self._log(events)
            for message in camera.announcer.state(camera.pipeline.state.tracks, events, now, wall):
                self._sink.publish(message)
        if now - self._health_since >= HEALTH_S:
            self._tell_health()

    def _tell_health(self) -> None:
        now = time.monotonic()
        elapsed = now - self._health_since
        self._health_since = now
        cameras = {name: _camera_health(camera, now, elapsed) for name, camera in self._cameras.items()}
        told = Health(
            uptime_s=now - self._started,
            rss_mib=health.rss_mib(),
            temperature_c=health.temperature_c(),
            throttled=health.throttled(),
            cameras=cameras,
            mqtt=self._sink_health(),
        )
        self._sink.publish(messages.health(self._topics, told, time.time()))

    def _log(self, events: Sequence[Event]) -> None:
        for event in events:
            log.debug(
                "%s: %s track %d: %s -> %s (%.2f)",
                event.camera, event.event_type, event.track, event.before, event.after, event.confidence,
            )


def _camera_health(camera: Camera, now: float, elapsed: float) -> CameraHealth:
    analysed, camera.analysed = camera.analysed, 0
    return CameraHealth(
        fps=analysed / elapsed if elapsed > 0 else 0.0,
        frame_age_s=None if camera.last_taken is None else now - camera.last_taken,
        stage_ms={stage: _median_and_p95(ms) for stage, ms in camera.stages.items()},
        dropped=camera.capture.dropped,
        latency_ms=_median_and_p95(camera.latencies) if camera.latencies else None,
    )


def _median_and_p95(ms: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(ms)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
