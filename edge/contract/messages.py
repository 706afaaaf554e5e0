"""Topics and payloads of the MQTT contract (docs/mqtt.md), from values.

Pure functions. Payloads are compact JSON in the contract's order, or one plain word. ``ts`` and ``since`` are
ISO 8601 in UTC with milliseconds and ``+00:00``, which Home Assistant's timestamp class reads. Probabilities
have 3 decimals; boxes 4, as fractions of the frame and clipped to it. Eight faces stay under 2 KiB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from edge.mqtt.health import MqttHealth
from edge.mqtt.inbox import CommandHealth
from edge.mqtt.outbox import EVENT_MAX_AGE_S
from edge.types import NONE, Box, Event, Frame, Message, Movement, Track

RESPONSE_MAX_AGE_S = 30.0  # nobody waits longer for an answer

CameraStatus = Literal["online", "offline", "stale", "disabled"]


@dataclass(frozen=True, slots=True)
class Topics:
    """Names below ``prefix/node``; both are valid in topics (the settings ensure it)."""

    prefix: str
    node: str

    def of(self, *parts: str) -> str:
        return "/".join((self.prefix, self.node, *parts))


@dataclass(frozen=True, slots=True)
class Info:
    """What a node is; published once, and again when a runtime or a camera's detector changes."""

    version: str  # of emotion-edge
    model: str  # name and version on its card
    model_sha256: str
    mirror: bool  # each face is averaged with its mirror image
    labels: Sequence[str]
    runtime: str  # Runtime.name
    runtime_reason: str  # what was asked for ("auto"), and why each better one is not used
    detector: str
    detector_reason: str
    cameras: Sequence[str]  # their names


MicroState = Literal["measuring", "spotting", "refused", "paused"]


@dataclass(frozen=True, slots=True)
class MicroHealth:
    """How the spotting of brief movements fares. Counts since the start."""

    state: MicroState
    fps: float | None  # as the camera gives them; None before it is measured
    jitter: float | None  # standard deviation of the intervals, as a share of their mean
    faces: int  # that are watched
    left_out: int  # faces in view whose eyes are too close together
    dropped: int  # pictures that came too fast to be looked at
    movements: int
    blinks: int


@dataclass(frozen=True, slots=True)
class CameraHealth:
    fps: float  # analyzed frames per second
    frame_age_s: float | None  # of the newest analyzed frame; None before the first
    stage_ms: Mapping[str, tuple[float, float]]  # stage -> (p50, p95)
    dropped: int  # frames that a newer one replaced before they were analyzed
    latency_ms: tuple[float, float] | None = None  # (p50, p95), from a frame's arrival to its messages'
    failed: int = 0  # frames whose analysis failed; they were skipped
    damaged: int = 0  # pictures that could not be decoded; they were left out
    picture: str | None = "ok"  # or "dark", "frozen"; None without pictures
    skipped: int = 0  # frames without detection, because nothing had moved; since the start
    micro: MicroHealth | None = None  # None: not enabled, and the key is absent


@dataclass(frozen=True, slots=True)
class ConfigHealth:
    error: str | None = None  # why the present configuration file was refused; one line
    restart: Sequence[str] = ()  # keys changed in it that take effect with the next start


@dataclass(frozen=True, slots=True)
class RateHealth:
    share: float = 1.0  # of the frames that may be analyzed
    reason: str | None = None  # why it is below 1: "cpu" or "throttled"


@dataclass(frozen=True, slots=True)
class RuntimeHealth:
    """ "ok", or why it does not run where it was configured to."""

    model: str = "ok"
    detector: str = "ok"


@dataclass(frozen=True, slots=True)
class Health:
    uptime_s: float
    rss_mib: float
    temperature_c: float | None = None  # None where the board has no such sensor: the key is then absent
    throttled: Sequence[str] | None = None  # why the board runs slower now; None where it cannot say
    cameras: Mapping[str, CameraHealth] = field(default_factory=dict)
    mqtt: MqttHealth = field(default_factory=MqttHealth)
    commands: CommandHealth = field(default_factory=CommandHealth)
    config: ConfigHealth = ConfigHealth()
    storage: str = "ok"  # of the state files, without the outbox: or why they cannot be written
    rate: RateHealth = RateHealth()
    runtime: RuntimeHealth = RuntimeHealth()


def camera_status(topics: Topics, camera: str, status: CameraStatus) -> Message:
    return Message(topics.of(camera, "status"), status.encode(), qos=1, retain=True)


def preview(topics: Topics, on: bool) -> Message:
    """Whether somebody may see pictures on the node's page now."""
    return Message(topics.of("preview"), b"ON" if on else b"OFF", qos=1, retain=True)


def info(topics: Topics, about: Info, wall: float) -> Message:
    return Message(topics.of("info"), compact(info_body(about, wall)), qos=1, retain=True)


def info_body(about: Info, wall: float) -> dict[str, Any]:
    return {
        "v": 1,
        "ts": timestamp(wall),
        "version": about.version,
        "model": {"name": about.model, "sha256": about.model_sha256, "mirror": about.mirror},
        "labels": list(about.labels),
        "runtime": {"name": about.runtime, "reason": about.runtime_reason},
        "detector": {"name": about.detector, "reason": about.detector_reason},
        "cameras": list(about.cameras),
    }


def health(topics: Topics, now: Health, wall: float) -> Message:
    payload: dict[str, Any] = {
        "v": 1,
        "ts": timestamp(wall),
        "uptime_s": round(now.uptime_s),
        "rss_mib": round(now.rss_mib, 1),
    }
    if now.temperature_c is not None:
        payload["temperature_c"] = round(now.temperature_c, 1)
    if now.throttled is not None:
        payload["throttled"] = list(now.throttled)
    payload["rate"] = {"share": round(now.rate.share, 2), "reason": now.rate.reason}
    payload["runtime"] = asdict(now.runtime)
    payload["cameras"] = {name: _camera_health(camera) for name, camera in now.cameras.items()}
    payload["mqtt"] = asdict(now.mqtt)
    if now.mqtt.limits is None:
        del payload["mqtt"]["limits"]
    payload["commands"] = asdict(now.commands)
    payload["config"] = _config_health(now.config)
    payload["storage"] = now.storage
    return Message(topics.of("health"), compact(payload), retain=True)


def switch(topics: Topics, camera: str, name: str, value: str) -> Message:
    """The value in force of a camera's ``enabled``, ``min_confidence`` or ``hold``."""
    return Message(topics.of(camera, name, "state"), value.encode(), qos=1, retain=True)


def response(topics: Topics, command: str, body: Mapping[str, Any]) -> Message:
    """The answer to a request; *body* begins with its status and has at most 2 KiB as JSON."""
    return Message(topics.of("response", command), compact(body), qos=1, max_age_s=RESPONSE_MAX_AGE_S)


def state(
    topics: Topics, camera: str, tracks: Sequence[Track], *, now: float, wall: float, empty_since: float
) -> Message:
    """What a camera shows: the number of faces and the emotion of the largest, since when it is so.

    *tracks* largest first. *now* and *empty_since*, when the last face left or the camera started, are
    monotonic s; *wall* is *now* in Unix s.
    """
    largest = tracks[0] if tracks else None
    emotion, confidence = largest.shown if largest else (NONE, 0)
    since = empty_since
    if largest:
        since = largest.rival_since if largest.doubted else largest.emotion_since
    payload = {
        "v": 1,
        "ts": timestamp(wall),
        "present": "ON" if largest else "OFF",
        "faces": len(tracks),
        "emotion": emotion,
        "confidence": round(confidence, 3),
        "track": largest.number if largest else None,
        "since": timestamp(wall - (now - since)),
    }
    return Message(topics.of(camera, "state"), compact(payload), qos=1, retain=True)


def faces(topics: Topics, frame: Frame, tracks: Sequence[Track]) -> Message:
    """Every face of *tracks* as of *frame*; an empty list: the last one left."""
    found = [face_body(track, frame.size, frame.taken) for track in tracks]
    return face_list(topics, frame.camera, frame.seq, frame.size, frame.wall, found)


def face_list(
    topics: Topics,
    camera: str,
    seq: int,
    size: tuple[int, int],
    wall: float,
    found: Sequence[Mapping[str, Any]] = (),
) -> Message:
    """The faces *found* in frame *seq* of *size* (width, height); none: the last left since that frame."""
    payload = {"v": 1, "ts": timestamp(wall), "seq": seq, "size": list(size), "faces": found}
    return Message(topics.of(camera, "faces"), compact(payload))


def event(topics: Topics, transition: Event, boot: str, seq: int) -> Message:
    """A transition; *boot* (of this run of the daemon) and *seq* (of the event in it) make its id."""
    payload = compact(_transition(transition, boot, seq))
    return Message(topics.of(transition.camera, "event"), payload, qos=1, max_age_s=EVENT_MAX_AGE_S)


def log(topics: Topics, transition: Event, boot: str, seq: int) -> Message:
    """The same event for recorders: same id, through the outbox, of any age."""
    payload = compact({**_transition(transition, boot, seq), "replayed": False})
    return Message(topics.of(transition.camera, "log"), payload, qos=1, durable=True)


def movement(topics: Topics, moved: Movement) -> Message:
    """A brief movement: what moved, when, how far; never why."""
    payload = {
        "v": 1,
        "ts": timestamp(moved.wall),
        "track": moved.track,
        "region": moved.region,
        "onset": timestamp(moved.onset),
        "apex": timestamp(moved.apex),
        "offset": timestamp(moved.offset),
        "amplitude": round(moved.amplitude, 4),
    }
    return Message(topics.of(moved.camera, "movement"), compact(payload), max_age_s=EVENT_MAX_AGE_S)


def timestamp(wall: float) -> str:
    """Unix s as ``2026-03-01T12:00:00.123+00:00``."""
    return datetime.fromtimestamp(wall, timezone.utc).isoformat(timespec="milliseconds")


def _transition(transition: Event, boot: str, seq: int) -> dict[str, Any]:
    return {
        "event_type": transition.event_type,
        "id": f"{boot}:{seq}",
        "ts": timestamp(transition.wall),
        "track": transition.track,
        "from": transition.before,
        "to": transition.after,
        "confidence": round(transition.confidence, 3),
    }


def face_body(track: Track, size: tuple[int, int], taken: float) -> dict[str, Any]:
    """One face of a frame of *size* (width, height) that was *taken* then, monotonic s."""
    emotion, confidence = track.shown
    return {
        "track": track.number,
        "box": _fractions(track.face.box, *size),
        "score": round(track.face.score, 3),
        "emotion": emotion,
        "confidence": round(confidence, 3),
        "scores": {label: round(score, 3) for label, score in zip(track.labels, track.scores, strict=False)},
        "age": round(taken - track.since, 1),
    }


def _fractions(box: Box, width: int, height: int) -> list[float]:
    """[x, y, w, h] in 0..1 of the frame, without what reaches beyond it."""
    left, right = (min(max(x / width, 0.0), 1.0) for x in (box.x, box.x + box.width))
    top, bottom = (min(max(y / height, 0.0), 1.0) for y in (box.y, box.y + box.height))
    return [round(number, 4) for number in (left, top, right - left, bottom - top)]


def _camera_health(camera: CameraHealth) -> dict[str, Any]:
    body: dict[str, Any] = {
        "fps": round(camera.fps, 1),
        "frame_age_s": None if camera.frame_age_s is None else round(camera.frame_age_s, 2),
        "stage_ms": {stage: _percentiles(ms, 2) for stage, ms in camera.stage_ms.items()},
        "latency_ms": _percentiles(camera.latency_ms, 1),
        "dropped": camera.dropped,
        "failed": camera.failed,
        "damaged": camera.damaged,
        "picture": camera.picture,
        "skipped": camera.skipped,
    }
    if camera.micro is not None:
        body["micro"] = _micro_health(camera.micro)
    return body


def _micro_health(micro: MicroHealth) -> dict[str, Any]:
    return {
        **asdict(micro),
        "fps": None if micro.fps is None else round(micro.fps, 1),
        "jitter": None if micro.jitter is None else round(micro.jitter, 2),
    }


def _config_health(config: ConfigHealth) -> dict[str, Any]:
    body: dict[str, Any] = {"ok": config.error is None}
    if config.error is not None:
        body["error"] = config.error
    if config.restart:
        body["restart"] = list(config.restart)
    return body


def _percentiles(ms: tuple[float, float] | None, digits: int) -> dict[str, float | None]:
    """Both keys in any case, so that templates find them before the first frame, too."""
    if ms is None:
        return {"p50": None, "p95": None}
    return {"p50": round(ms[0], digits), "p95": round(ms[1], digits)}


def compact(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
