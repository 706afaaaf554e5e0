"""/metrics, read by Prometheus' own parser."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from edge.contract.messages import CameraHealth, Health, Info
from edge.mqtt.health import MqttHealth, OutboxHealth
from edge.settings import Settings
from edge.types import LABELS
from edge.web.metrics import metrics
from edge.web.snapshot import CameraView, Snapshot
from tests.contract import tracks

INFO = Info("0.1.0", 'odd "model"\\\n2', "ab", True, LABELS, "cpu", "", "ssd", "", ["hall"])


def snapshot(temperature: float | None = 51.5) -> Snapshot:
    hall = CameraHealth(9.8, 0.1, {"detect": (1.5, 3.0)}, 4, failed=2, damaged=1, skipped=7)
    health = Health(
        60.0, 100.0, temperature, None, {"hall": hall}, MqttHealth(3, 5, 1, OutboxHealth(12, 900, 2)),
    )  # fmt: skip
    view = CameraView("hall", "online", "", (640, 480), 99.5, 12_345_678, tuple(tracks(2)))
    porch = CameraView("porch", "offline", "not there", (0, 0), None, 0)
    return Snapshot("pi", 100.0, INFO, health, True, Settings(), (view, porch))


def values(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Sample -> label values -> value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        # As `promtool check metrics` requires.
        quantiles = any("quantile" in sample.labels for sample in family.samples)
        assert quantiles == (family.type == "summary")
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_every_metric_has_its_labels_and_full_precision() -> None:
    reported = values(
        metrics(snapshot(), {("hall", "emotion_changed", "happy"): 3, ("hall", "face_left", "none"): 1})
    )
    assert reported["emotion_edge_frames_total"] == {("hall",): 12_345_678, ("porch",): 0}
    assert reported["emotion_edge_camera_online"] == {("hall",): 1, ("porch",): 0}
    assert reported["emotion_edge_stage_seconds"] == {
        ("hall", "detect", "0.5"): 0.0015,
        ("hall", "detect", "0.95"): 0.003,
    }
    assert reported["emotion_edge_faces"] == {("hall",): 2, ("porch",): 0}
    assert reported["emotion_edge_events_total"] == {
        ("hall", "emotion_changed", "happy"): 3, ("hall", "face_left", "none"): 1,
    }  # fmt: skip
    assert reported["emotion_edge_frame_age_seconds"] == {("hall",): 0.5}
    single = {
        "outbox_messages": 12, "outbox_dropped_total": 2, "mqtt_reconnects_total": 3,
        "temperature_celsius": 51.5,
        "mqtt_queued": 5, "mqtt_dropped_total": 1, "mqtt_connected": 1, "uptime_seconds": 60,
        "memory_bytes": 104_857_600,
    }  # fmt: skip
    for name, value in single.items():
        assert reported[f"emotion_edge_{name}"] == {(): value}, name
    for name, value in {"dropped": 4, "failed": 2, "skipped": 7, "damaged": 1}.items():
        assert reported[f"emotion_edge_frames_{name}_total"] == {("hall",): value}
    assert reported["emotion_edge_info"] == {("0.1.0", 'odd "model"\\\n2'): 1}
    assert all(math.isfinite(value) for samples in reported.values() for value in samples.values())


def test_missing_values_are_omitted() -> None:
    text = metrics(snapshot(None), {})
    assert "temperature" not in text
    assert "events_total" not in text
    assert text.endswith("\n")
    assert "\n\n" not in text
