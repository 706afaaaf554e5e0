"""What the analysis thread hands to the page, and the JSON that browsers get of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.contract.messages import CameraHealth, Health, Info, face_body
from edge.settings import Settings
from edge.types import Track


@dataclass(frozen=True, slots=True)
class CameraView:
    """One camera as it is now."""

    name: str
    status: str  # CameraStatus
    words: str  # why it gives no pictures; empty while it does
    size: tuple[int, int]  # (width, height) of its last frame; (0, 0) before the first
    taken: float | None  # when that was, monotonic s
    frames: int  # analyzed since the start
    tracks: tuple[Track, ...] = ()  # announced, largest face first
    switches: Mapping[str, str] = field(default_factory=dict)  # name -> state, as over MQTT


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The node as it is now; *health* may be a second old."""

    node: str
    taken: float  # monotonic s
    info: Info
    health: Health
    connected: bool  # to the broker
    settings: Settings
    cameras: tuple[CameraView, ...] = ()


def body(now: Snapshot) -> dict[str, Any]:
    """*now* as the page reads it. Ages instead of times: neither clock needs to be right."""
    return {
        "node": now.node,
        "version": now.info.version,
        "model": now.info.model,
        "runtime": now.info.runtime,
        "detector": now.info.detector,
        "labels": list(now.info.labels),
        "cameras": [_camera(camera, now) for camera in now.cameras],
        "health": list(_health(now)),
    }


def _camera(camera: CameraView, now: Snapshot) -> dict[str, Any]:
    fares = now.health.cameras.get(camera.name, CameraHealth(0.0, None, {}, 0))
    return {
        "name": camera.name,
        "status": camera.status,
        "words": camera.words,
        "size": list(camera.size),
        "age_s": None if camera.taken is None else round(now.taken - camera.taken, 1),
        "fps": round(fares.fps, 1),
        "latency_ms": None if fares.latency_ms is None else round(fares.latency_ms[0]),
        "picture": fares.picture,
        "faces": [face_body(track, camera.size, camera.taken or now.taken) for track in camera.tracks],
        "switches": dict(camera.switches),
    }


def _health(now: Snapshot) -> list[tuple[str, str]]:
    """(what, in words) of the node's health."""
    fares, outbox = now.health, now.health.mqtt.outbox
    lost = f", {outbox.dropped} lost" if outbox.dropped else ""
    rows = [
        ("Broker", _broker(now)),
        ("Events that wait", f"{outbox.depth}{lost}"),
        ("Running for", _span(fares.uptime_s)),
        ("Memory", f"{fares.rss_mib:.0f} MiB"),
    ]
    if fares.temperature_c is not None:
        rows.append(("Temperature", f"{fares.temperature_c:.0f} °C"))
    if fares.throttled is not None:
        slowed = f"slowed down: {', '.join(fares.throttled)}"
        rows.append(("Board", slowed if fares.throttled else "at full speed"))
    if fares.rate.reason:
        rows.append(("Pictures", f"{fares.rate.share:.0%} are analyzed: short of processor time"))
    rows.append(("Model", fares.runtime.model))
    rows.append(("Detector", fares.runtime.detector))
    if fares.config.error:
        rows.append(("Configuration", f"the file has a mistake and is not in force: {fares.config.error}"))
    elif fares.config.restart:
        rows.append(("Configuration", f"takes effect with a restart: {', '.join(fares.config.restart)}"))
    for what, words in (("Events' storage", outbox.storage), ("Switches' storage", fares.storage)):
        if words not in ("ok", "memory only"):
            rows.append((what, words))
    return rows


def _broker(now: Snapshot) -> str:
    mqtt = now.health.mqtt
    words = "connected" if now.connected else "waited for"
    if mqtt.reconnects:
        words += f", {mqtt.reconnects} reconnects"
    if mqtt.duplicate_id:
        words += "; another node has this one's id"
    if mqtt.insecure:
        words += "; whoever answers is taken for it (mqtt.insecure)"
    return words


def _span(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
