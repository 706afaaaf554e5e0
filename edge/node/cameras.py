"""The cameras that are served, and what may be done to them between two frames.

All of it happens in the analysis thread: no camera changes while one of its frames is looked at.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.contract import messages
from edge.contract.messages import CameraHealth, Topics
from edge.contract.switches import NAMES, Switches
from edge.node.announce import Announcer
from edge.node.rate import Rate
from edge.sources.capture import Capture, Slots
from edge.types import Duplex, Event, Frame, Message

log = logging.getLogger(__name__)

# s from one opening to the next: a camera that hangs leaves a thread behind each time, whoever asks.
REOPEN_S = 2.0
FAILURES = 10  # frames in a row whose analysis fails: the camera is closed, and opened again later
FAILED_S = 5.0, 60.0  # until then; doubled each time up to the second
RECENT = 300  # frames over which stage times are told


@dataclass(slots=True)
class Camera:
    """One camera's way through the daemon, and what its health is told from."""

    name: str
    open_capture: Callable[[], Capture]  # gives a new one, which is not started yet
    pipeline: Pipeline
    announcer: Announcer
    configured: Rules  # what holds where no switch says otherwise
    switches: Switches
    capture: Capture | None = None  # None while it is disabled, or waits to be opened anew
    opened: float = -math.inf  # monotonic s
    told: dict[str, str] = field(default_factory=dict)  # switch -> state
    analysed: int = 0  # frames since the last health message
    last_taken: float | None = None  # monotonic s
    stages: dict[str, deque[float]] = field(default_factory=dict)  # ms
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))  # ms
    failed: int = 0  # frames whose analysis failed, since the start
    failures: int = 0  # of these, the last ones in a row
    failure: str = ""  # why the camera was closed; empty while it is served
    failed_until: float = -math.inf  # monotonic s: when it is opened again
    pause_s: float = FAILED_S[0]  # the next time it is closed for its failures

    def count(self, frame: Frame, timings_ms: Mapping[str, float]) -> None:
        self.analysed += 1
        self.last_taken = frame.taken
        for stage, ms in timings_ms.items():
            self.stages.setdefault(stage, deque(maxlen=RECENT)).append(ms)


class Cameras:
    """Cameras by name; each one added is opened, unless it is switched off, and tells its state."""

    def __init__(self, slots: Slots, sink: Duplex, topics: Topics, rate: Rate | None = None) -> None:
        self.rate = rate  # None: every frame is analysed
        self._slots = slots
        self._sink = sink
        self._topics = topics
        self._cameras: dict[str, Camera] = {}

    def __iter__(self) -> Iterator[Camera]:
        return iter(self._cameras.values())

    def __getitem__(self, name: str) -> Camera:
        return self._cameras[name]

    def __contains__(self, name: str) -> bool:
        return name in self._cameras

    @property
    def settled(self) -> bool:
        """Of each camera a frame was analysed, or it is known why there is none."""
        return all(camera.last_taken is not None or _words(camera) for camera in self)

    @property
    def story(self) -> str:
        """How each fares, in words for people."""
        return "; ".join(f"camera {camera.name} {_words(camera) or 'online'}" for camera in self)

    def add(self, camera: Camera) -> None:
        self._cameras[camera.name] = camera
        _log_switches(camera)
        self._apply(camera)

    def remove(self, name: str) -> None:
        """Close the camera for good: its faces leave, and the broker drops what it retains of it."""
        camera = self._cameras.pop(name)
        self._close(camera)
        self._empty(camera)
        for topic in retained_topics(self._topics, name):
            self._sink.forget(topic)

    def turn(self, name: str, switch: str, switches: Switches) -> None:
        """Let *switches* hold for the camera, and tell the state of *switch* even if it is as it was."""
        camera = self._cameras[name]
        camera.switches = switches
        camera.told.pop(switch, None)
        self._apply(camera)

    def configure(self, name: str, rules: Rules) -> None:
        """Let *rules* hold for the camera where no switch says otherwise."""
        camera = self._cameras[name]
        if rules != camera.configured:
            camera.configured = rules
            _log_switches(camera)
            self._apply(camera)

    def restart(self, name: str) -> None:
        """Close the camera and open it anew; its faces keep their numbers if that is soon done.

        Not more often than each REOPEN_S: what is asked for sooner is done then.
        """
        camera = self._cameras[name]
        self._close(camera)
        self._apply(camera)

    def analyse(self, frame: Frame) -> None:
        """Take *frame* through its camera's pipeline, if the rate allows it, and publish what came of it.

        A frame that this fails for is skipped: no picture ends the daemon, or another camera's service.
        """
        if self.rate is not None and not self.rate.takes(frame.camera, frame.taken):
            return
        camera = self._cameras[frame.camera]
        try:
            analysis = camera.pipeline.step(frame)
            told = camera.announcer.frame(frame, analysis.tracks, analysis.events)
        except Exception as error:
            self._skip(camera, frame, error)
            return
        if camera.failures:
            log.info("camera %s: analysed again after %d failed frames", camera.name, camera.failures)
            camera.failures, camera.pause_s = 0, FAILED_S[0]
        camera.count(frame, analysis.timings_ms)
        self._publish(told, analysis.events)
        camera.latencies.append((time.monotonic() - frame.taken) * 1e3)

    def _skip(self, camera: Camera, frame: Frame, error: Exception) -> None:
        """Count *frame*, whose analysis ended in *error*; close the camera after FAILURES in a row."""
        camera.failed += 1
        camera.failures += 1
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if camera.failures == 1:
            log.error(
                "camera %s: frame %d of %dx%d could not be analysed, and is skipped",
                camera.name, frame.seq, *frame.size, exc_info=error,
            )  # fmt: skip
        if camera.failures % FAILURES:
            return
        camera.failure = f"{FAILURES} frames in a row could not be analysed, the last one for {reason}"
        camera.failed_until = time.monotonic() + camera.pause_s
        log.error("camera %s: offline: %s; opened again in %g s", camera.name, camera.failure, camera.pause_s)
        camera.pause_s = min(2 * camera.pause_s, FAILED_S[1])
        self._close(camera)
        self._sink.publish(messages.camera_status(self._topics, camera.name, "offline"))

    def tick(self) -> None:
        """Tell what is due without a frame."""
        now = time.monotonic()
        if self.rate is not None:
            self.rate.tick(now)
        for camera in self:
            if camera.capture is None and camera.switches.on and now >= camera.failed_until:
                self._open(camera)
            # While frames come, they are the clock: a camera slower than forget_s must not lose its faces
            # between two of them.
            silent = camera.capture is None or camera.capture.status != "online"
            self._tell(camera, now, forget_at=now if silent else -math.inf)

    def close(self) -> None:
        """Close all and leave their topics telling the truth."""
        for camera in self:
            if camera.capture is not None:
                self._close(camera)
                self._sink.publish(messages.camera_status(self._topics, camera.name, "offline"))

    def health(self, elapsed: float) -> dict[str, CameraHealth]:
        """How each fares; *elapsed* s have passed since the last call."""
        now = time.monotonic()
        return {camera.name: _health(camera, now, elapsed) for camera in self}

    def _apply(self, camera: Camera) -> None:
        """Make the camera what its configuration and its switches say, and tell so."""
        camera.pipeline.rules = camera.switches.over(camera.configured)
        first = not camera.told
        if not camera.switches.on:
            if first or camera.capture is not None:
                self._close(camera)
                self._sink.publish(messages.camera_status(self._topics, camera.name, "disabled"))
                self._empty(camera)
        elif camera.capture is None:
            self._sink.publish(messages.camera_status(self._topics, camera.name, "offline"))
            self._open(camera)
        for switch, state in camera.switches.states(camera.configured).items():
            if camera.told.get(switch) != state:
                camera.told[switch] = state
                self._sink.publish(messages.switch(self._topics, camera.name, switch, state))

    def _open(self, camera: Camera) -> None:
        """Open the camera; later, by tick(), if the last time is not long ago."""
        now = time.monotonic()
        if now - camera.opened >= REOPEN_S:
            camera.opened, camera.failure = now, ""
            camera.capture = camera.open_capture()
            camera.capture.start()

    def _close(self, camera: Camera) -> None:
        if camera.capture is not None:
            camera.capture.stop()
            self._slots.drop(camera.name)
            camera.capture = None

    def _empty(self, camera: Camera) -> None:
        """Let every face leave now."""
        self._tell(camera, time.monotonic(), forget_at=math.inf)

    def _tell(self, camera: Camera, now: float, forget_at: float) -> None:
        wall = time.time()
        analysis = camera.pipeline.expire(forget_at, wall)
        told = camera.announcer.state(analysis.tracks, analysis.events, now, wall)
        self._publish(told, analysis.events)

    def _publish(self, told: Sequence[Message], events: Sequence[Event]) -> None:
        for event in events:
            log.debug(
                "%s: %s track %d: %s -> %s (%.2f)",
                event.camera, event.event_type, event.track, event.before, event.after, event.confidence,
            )  # fmt: skip
        for message in told:
            self._sink.publish(message)


def _words(camera: Camera) -> str:
    """Why the camera gives no pictures now; empty while it does, or has only begun."""
    if not camera.switches.on:
        return "disabled"
    if camera.failure:
        return f"offline: {camera.failure}"
    if camera.capture is None:
        return "waits to be opened again"
    if camera.capture.status == "online" or not camera.capture.told:
        return ""
    return f"{camera.capture.status}: {camera.capture.reason}"


def _log_switches(camera: Camera) -> None:
    """Say where the camera is not as configured, before anybody wonders."""
    configured = Switches().states(camera.configured).items()
    others = dict(camera.switches.states(camera.configured).items() - configured)
    if others:
        told = ", ".join(f"{switch} {state}" for switch, state in sorted(others.items()))
        log.info("camera %s: %s, by switches that were set over MQTT", camera.name, told)


def retained_topics(topics: Topics, camera: str) -> list[str]:
    """All that the broker retains of *camera*, but for what Home Assistant is told."""
    switches = [topics.of(camera, switch, "state") for switch in NAMES]
    return [topics.of(camera, "status"), topics.of(camera, "state"), *switches]


def _health(camera: Camera, now: float, elapsed: float) -> CameraHealth:
    analysed, camera.analysed = camera.analysed, 0
    return CameraHealth(
        fps=analysed / elapsed if elapsed > 0 else 0.0,
        frame_age_s=None if camera.last_taken is None else now - camera.last_taken,
        stage_ms={stage: _median_and_p95(ms) for stage, ms in camera.stages.items()},
        dropped=camera.capture.dropped if camera.capture else 0,
        failed=camera.failed,
        damaged=camera.capture.damaged if camera.capture else 0,
        picture=camera.capture.picture if camera.capture else None,
        skipped=camera.pipeline.skipped,
        latency_ms=_median_and_p95(camera.latencies) if camera.latencies else None,
    )


def _median_and_p95(ms: Sequence[float]) -> tuple[float, float]:
    """As bench gives them: between two values in proportion, so that p95 of a few is not their largest."""
    p50, p95 = np.percentile(np.asarray(ms), (50, 95))
    return float(p50), float(p95)
