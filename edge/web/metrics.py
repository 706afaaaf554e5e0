"""The node's figures as Prometheus reads them (text format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edge.web.snapshot import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "emotion_edge_"

Sample = tuple[Mapping[str, str], float]  # labels, value


def metrics(now: Snapshot, events: Mapping[tuple[str, str, str], int]) -> str:
    """The exposition of *now* and of the *events* so far: (camera, event, label) -> how many."""
    return "".join(_family(*family) for family in _families(now, events) if family[3])


def _families(
    now: Snapshot, events: Mapping[tuple[str, str, str], int]
) -> Iterator[tuple[str, str, str, list[Sample]]]:
    """(name, type, help, samples) each."""
    fares = now.health
    healths = [({"camera": name}, health) for name, health in fares.cameras.items()]
    views = [({"camera": view.name}, view) for view in now.cameras]
    yield "info", "gauge", "What runs.", [({"version": now.info.version, "model": now.info.model}, 1)]
    yield "uptime_seconds", "gauge", "Since the start.", [({}, fares.uptime_s)]
    yield "memory_bytes", "gauge", "Resident memory.", [({}, round(fares.rss_mib * 2**20))]
    if fares.temperature_c is not None:
        yield "temperature_celsius", "gauge", "Of the processor.", [({}, fares.temperature_c)]
    online: list[Sample] = [(label, view.status == "online") for label, view in views]
    yield "camera_online", "gauge", "1 while it gives pictures.", online
    yield "frames_total", "counter", "Frames analyzed.", [(label, view.frames) for label, view in views]
    for name, words in (
        ("dropped", "that a newer one replaced before they were analyzed"),
        ("failed", "whose analysis failed"),
        ("skipped", "without detection, because nothing had moved"),
        ("damaged", "that could not be decoded"),
    ):
        counts: list[Sample] = [(label, getattr(health, name)) for label, health in healths]
        yield f"frames_{name}_total", "counter", f"Frames {words}.", counts
    ages: list[Sample] = [(label, now.taken - view.taken) for label, view in views if view.taken is not None]
    yield "frame_age_seconds", "gauge", "Of the newest analyzed frame.", ages
    times: list[Sample] = [
        ({**label, "stage": stage, "quantile": quantile}, ms / 1e3)
        for label, health in healths
        for stage, both in health.stage_ms.items()
        for quantile, ms in zip(("0.5", "0.95"), both, strict=True)
    ]
    yield "stage_seconds", "summary", "Time of a stage over the last 300 frames.", times
    yield "faces", "gauge", "In view.", [(label, len(view.tracks)) for label, view in views]
    transitions: list[Sample] = [
        ({"camera": camera, "event": event, "label": shown}, count)
        for (camera, event, shown), count in events.items()
    ]
    yield "events_total", "counter", "Transitions, by what a face shows after them.", transitions
    yield "mqtt_connected", "gauge", "1 while the broker is connected.", [({}, now.connected)]
    yield "mqtt_reconnects_total", "counter", "Connections after the first.", [({}, fares.mqtt.reconnects)]
    yield "mqtt_queued", "gauge", "Messages that wait to be sent.", [({}, fares.mqtt.queued)]
    yield "mqtt_dropped_total", "counter", "Messages given up.", [({}, fares.mqtt.dropped)]
    yield "outbox_messages", "gauge", "Log messages that wait.", [({}, fares.mqtt.outbox.depth)]
    yield "outbox_dropped_total", "counter", "Log messages given up.", [({}, fares.mqtt.outbox.dropped)]


def _family(name: str, kind: str, words: str, samples: list[Sample]) -> str:
    lines = [f"# HELP {PREFIX}{name} {words}", f"# TYPE {PREFIX}{name} {kind}"]
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        braced = f"{{{pairs}}}" if pairs else ""
        lines.append(f"{PREFIX}{name}{braced} {float(value)!r}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
