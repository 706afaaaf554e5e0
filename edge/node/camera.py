"""One camera of the node. All happens in the analysis thread: none changes while its frame is analyzed."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.contract import messages
from edge.contract.messages import CameraHealth, CameraStatus, Topics
from edge.contract.switches import NAMES, Switches
from edge.node.announce import Announcer
from edge.sources.capture import Capture, Slots
from edge.types import Duplex, Event, Frame, Message, Track, words_of

if TYPE_CHECKING:  # not imported where it is not enabled
    from edge.node.micro import Watch

log = logging.getLogger(__name__)

# s from one opening to the next: a camera that hangs leaves a thread behind each time, even on request.
REOPEN_S = 2.0
FAILURES = 10  # frames in a row whose analysis fails: the camera is closed, and opened again later
FAILED_S = 5.0, 60.0  # until then; doubled each time up to the second
RECENT = 300  # frames over which stage times are reported

OpenCapture = Callable[[Callable[[CameraStatus, str], None]], Capture]  # as Capture's on_status


class Camera:
    """A camera's capture and analysis, its switches, and what is published of them through *sink*.

    *open_capture* gives captures that fill *slots*; *configured* are the rules that switches may override.
    start() opens the camera, unless it is switched off.
    """

    def __init__(
        self,
        name: str,
        sink: Duplex,
        topics: Topics,
        slots: Slots,
        open_capture: OpenCapture,
        pipeline: Pipeline,
        announcer: Announcer,
        configured: Rules,
        switches: Switches,
        watch: Watch | None = None,
    ) -> None:
        self.name = name
        self.open_capture = open_capture
        self.pipeline = pipeline
        self.announcer = announcer
        self.configured = configured
        self.switches = switches
        self.capture: Capture | None = None  # None while it is disabled, or waits to be opened again
        self.analyzed = 0  # frames since the start
        self.stages: dict[str, deque[float]] = {}  # ms
        self.latencies: deque[float] = deque(maxlen=RECENT)  # ms
        self.failed = 0  # frames whose analysis failed, since the start
        self.failures = 0  # of these, the last ones in a row
        self.failure = ""  # why the camera was closed; empty while it is served
        self.pause_s = FAILED_S[0]  # the next time it is closed for its failures
        self.watch = watch  # for brief movements; None: not enabled
        self._sink = sink
        self._topics = topics
        self._slots = slots
        self._published: dict[str, str] = {}  # switch -> state
        self._opened = self._failed_until = -math.inf  # monotonic s: last opening; when it may open again
        self.taken: float | None = None  # when the last analyzed frame was, monotonic s
        self.size = 0, 0  # its width and height in pixels
        self.tracks: tuple[Track, ...] = ()  # in view and announced, largest face first

    @property
    def settled(self) -> bool:
        """A frame was analyzed, or it is known why there is none."""
        return self.taken is not None or bool(self.trouble)

    @property
    def story(self) -> str:
        """Its status for people."""
        watch = self.watch.story if self.watch is not None else ""
        return f"camera {self.name} {self.trouble or 'online'}" + (f", {watch}" if watch else "")

    def start(self) -> None:
        self._log_switches()
        self._apply()

    def remove(self) -> None:
        """Close the camera for good: its faces leave, and the broker drops what it retains of it."""
        self._close()
        self._expire(math.inf)
        for topic in retained_topics(self._topics, self.name):
            self._sink.forget(topic)

    def turn(self, switch: str, switches: Switches) -> None:
        """Apply *switches*, and publish the state of *switch* even if it is unchanged."""
        self.switches = switches
        self._published.pop(switch, None)
        self._apply()

    def configure(self, rules: Rules) -> None:
        """Apply *rules* where no switch overrides them."""
        if rules != self.configured:
            self.configured = rules
            self._log_switches()
            self._apply()

    def restart(self) -> None:
        """Close and open the camera again, at most once each REOPEN_S; faces keep their numbers if fast."""
        self._close()
        self._apply()

    def analyze(self, frame: Frame) -> None:
        """Publish what the pipeline makes of *frame*; one that fails is skipped and ends nothing."""
        try:
            analysis = self.pipeline.step(frame)
            due = self.announcer.frame(frame, analysis.tracks, analysis.events)
        except Exception as error:
            self._skip(frame, error)
            return
        if self.failures:
            log.info("camera %s: analyzed again after %d failed frames", self.name, self.failures)
            self.failures, self.pause_s = 0, FAILED_S[0]
        self.analyzed += 1
        self.taken, self.size, self.tracks = frame.taken, frame.size, analysis.tracks
        for stage, ms in analysis.timings_ms.items():
            self.stages.setdefault(stage, deque(maxlen=RECENT)).append(ms)
        self._publish(due, analysis.events)
        if self.watch is not None:
            self.watch.faces(analysis.tracks)
        self.latencies.append((time.monotonic() - frame.taken) * 1e3)

    def tick(self) -> None:
        """Do what is due without a frame."""
        now = time.monotonic()
        if self.watch is not None:
            for moved in self.watch.take():
                self._sink.publish(messages.movement(self._topics, moved))
        if self.capture is None and self.switches.on and now >= self._failed_until:
            self._open()
        # While frames come, they are the clock: a camera slower than forget_s must not lose its faces
        # between two of them.
        silent = self.capture is None or self.capture.status != "online"
        self._expire(now if silent else -math.inf)

    def close(self) -> None:
        """Close the camera and publish that."""
        if self.capture is not None:
            self._close()
            self._publish_status("offline")

    def health(self, fps: float) -> CameraHealth:
        """How it fares; *fps* as FrameRates has it."""
        return CameraHealth(
            fps=fps,
            frame_age_s=None if self.taken is None else time.monotonic() - self.taken,
            stage_ms={stage: _median_and_p95(ms) for stage, ms in self.stages.items()},
            dropped=self.capture.dropped if self.capture else 0,
            failed=self.failed,
            damaged=self.capture.damaged if self.capture else 0,
            picture=self.capture.picture if self.capture else None,
            skipped=self.pipeline.skipped,
            latency_ms=_median_and_p95(self.latencies) if self.latencies else None,
            micro=self.watch.health() if self.watch is not None else None,
        )

    def _skip(self, frame: Frame, error: Exception) -> None:
        """Count *frame*, whose analysis ended in *error*; close the camera after FAILURES in a row."""
        self.failed += 1
        self.failures += 1
        reason = words_of(error, typed=True)
        if self.failures == 1:
            log.error(
                "camera %s: frame %d of %dx%d could not be analyzed, and is skipped",
                self.name, frame.seq, *frame.size, exc_info=error,
            )  # fmt: skip
        if self.failures % FAILURES:
            return
        self.failure = f"{FAILURES} frames in a row could not be analyzed, the last one for {reason}"
        self._failed_until = time.monotonic() + self.pause_s
        log.error("camera %s: offline: %s; opened again in %g s", self.name, self.failure, self.pause_s)
        self.pause_s = min(2 * self.pause_s, FAILED_S[1])
        self.close()

    def _apply(self) -> None:
        """Bring the camera in line with configuration and switches, and publish that."""
        self.pipeline.rules = self.switches.over(self.configured)
        if not self.switches.on:
            if not self._published or self.capture is not None:
                self._close()
                self._publish_status("disabled")
                self._expire(math.inf)
        elif self.capture is None:
            self._publish_status("offline")
            self._open()
        for switch, state in self.switches.states(self.configured).items():
            if self._published.get(switch) != state:
                self._published[switch] = state
                self._sink.publish(messages.switch(self._topics, self.name, switch, state))

    def _open(self) -> None:
        """Open the camera; later, by tick(), if the last time is not long ago."""
        now = time.monotonic()
        if now - self._opened >= REOPEN_S:
            self._opened, self.failure = now, ""
            self.capture = self.open_capture(lambda status, reason: self._publish_status(status))
            self.capture.start()

    def _close(self) -> None:
        if self.capture is not None:
            self.capture.stop()
            self._slots.drop(self.name)
            self.capture = None

    def _expire(self, forget_at: float) -> None:
        """Let each face leave that is to be forgotten at *forget_at*, monotonic s; inf: all."""
        now, wall = time.monotonic(), time.time()
        analysis = self.pipeline.expire(forget_at, wall)
        self.tracks = analysis.tracks
        self._publish(self.announcer.state(analysis.tracks, analysis.events, now, wall), analysis.events)

    def _publish(self, due: Sequence[Message], events: Sequence[Event]) -> None:
        for event in events:
            log.debug(
                "%s: %s track %d: %s -> %s (%.2f)",
                event.camera, event.event_type, event.track, event.before, event.after, event.confidence,
            )  # fmt: skip
        for message in due:
            self._sink.publish(message)

    def _publish_status(self, status: CameraStatus) -> None:
        self._sink.publish(messages.camera_status(self._topics, self.name, status))

    @property
    def status(self) -> CameraStatus:
        if not self.switches.on:
            return "disabled"
        return self.capture.status if self.capture else "offline"

    @property
    def trouble(self) -> str:
        """Why the camera gives no pictures now; empty while it does, or has only begun."""
        if not self.switches.on:
            return "disabled"
        if self.failure:
            return f"offline: {self.failure}"
        if self.capture is None:
            return "waits to be opened again"
        if self.capture.status == "online" or not self.capture.reported:
            return ""
        return f"{self.capture.status}: {self.capture.reason}"

    def _log_switches(self) -> None:
        """Log where switches override the configuration."""
        configured = Switches().states(self.configured).items()
        others = dict(self.switches.states(self.configured).items() - configured)
        if others:
            states = ", ".join(f"{switch} {state}" for switch, state in sorted(others.items()))
            log.info("camera %s: %s, by switches that were set over MQTT", self.name, states)


class FrameRates:
    """Frames analyzed a second, of each camera, from one of_all() to the next."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._counted: dict[str, int] = {}

    def of_all(self, cameras: Mapping[str, Camera]) -> dict[str, float]:
        now = time.monotonic()
        elapsed, self._since = now - self._since, now
        before, self._counted = self._counted, {name: camera.analyzed for name, camera in cameras.items()}
        return {
            name: (count - before.get(name, 0)) / elapsed if elapsed > 0 else 0.0
            for name, count in self._counted.items()
        }


def retained_topics(topics: Topics, camera: str) -> list[str]:
    """All that the broker retains of *camera*, except for Home Assistant's discovery."""
    switches = [topics.of(camera, switch, "state") for switch in NAMES]
    return [topics.of(camera, "status"), topics.of(camera, "state"), *switches]


def _median_and_p95(ms: Sequence[float]) -> tuple[float, float]:
    """Interpolated, as bench does: p95 of a few values is not their largest."""
    p50, p95 = np.percentile(np.asarray(ms), (50, 95))
    return float(p50), float(p95)
