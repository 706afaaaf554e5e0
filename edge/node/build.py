"""From settings to objects: the one place that knows both."""

from __future__ import annotations

import hashlib
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2

from edge import __version__
from edge.analysis.detectors import FaceDetector, open_detector
from edge.analysis.engine import Engine, open_chain
from edge.analysis.motion import MotionGate
from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.analysis.runtimes.chain import Waiting, no_wait
from edge.analysis.track import Tracker
from edge.contract.messages import Info, Topics
from edge.host import health
from edge.host.heartbeats import Heartbeats, Stage
from edge.host.places import state_file
from edge.host.redaction import without_folders
from edge.mqtt.broker import Broker
from edge.mqtt.client import MqttSink
from edge.mqtt.outbox import Outbox
from edge.node.camera import OpenCapture
from edge.node.rate import Rate
from edge.settings import Settings
from edge.settings.tables import Camera as CameraSettings
from edge.settings.tables import default_node_id
from edge.sources import open_source, source_kind
from edge.sources.capture import Capture, Slots
from edge.types import Classifier, Detector

if TYPE_CHECKING:  # not imported where it is not enabled
    from edge.node.micro import Watch

# Asked of a camera for brief movements. Over 60: a limit at a camera's own rate drops what comes late.
WATCHED_FPS = 66.0


def open_engine(settings: Settings, waiting: Waiting = no_wait) -> Engine:
    """The configured model in the first runtime that computes it right; EdgeError where none does."""
    # OpenCV takes every core by default; the configuration says how many threads the analysis may use.
    cv2.setNumThreads(settings.model.threads)
    return open_chain(**dict(settings.model), waiting=waiting)


def open_configured_detector(settings: Settings, waiting: Waiting = no_wait) -> FaceDetector:
    """The configured detector; EdgeError where its file is missing or wrong."""
    part = settings.detector
    # By default a network of one fixed shape gets pictures of that shape.
    unset = {} if "long_side" in part.model_fields_set else {"long_side": None}
    return open_detector(**{**dict(part), **unset}, threads=settings.model.threads, waiting=waiting)


def build_pipeline(camera: str, settings: Settings, detector: Detector, classifier: Classifier) -> Pipeline:
    """The analysis of one camera, by the [report] and [analysis] tables."""
    tracker = Tracker(forget_s=settings.report.forget_s)
    gate = MotionGate() if settings.analysis.skip_still else None
    return Pipeline(camera, detector, classifier, tracker, rules_of(settings), time.perf_counter, gate)


def build_rate(settings: Settings) -> Rate | None:
    """What skips frames under load, if configured; for the analysis thread, whose waiting it measures."""
    return Rate(health.waited_s, health.throttled) if settings.analysis.adaptive_rate else None


def rules_of(settings: Settings) -> Rules:
    return Rules(**{key: value for key, value in settings.report if key != "forget_s"})


def capture_opener(
    part: CameraSettings, slots: Slots, heartbeats: Heartbeats, watch: Watch | None = None
) -> OpenCapture:
    """Makes captures of *part*; with *watch* the source gives all it can, thinned to the configured rate."""
    given = {key: value for key, value in part if key != "name"}
    thinned: dict[str, Any] = {}
    if watch is not None:
        given["fps"] = _fastest(part)
        thinned = {"fps": part.fps, "every": watch.offer}
    source = partial(open_source, **given)
    return partial(Capture, part.name, source, slots, heartbeats=heartbeats, **thinned)


def build_watch(camera: str, settings: Settings) -> Watch | None:
    """What spots brief movements in every picture of *camera*, if configured."""
    if not settings.micro.enabled:
        return None
    from edge.node.micro import Watch

    return Watch(camera)


def _fastest(part: CameraSettings) -> float | None:
    """The rate to ask a source for where every picture counts; None: all there is."""
    if source_kind(part.source) in ("video", "network", "gstreamer"):
        return None
    return max(part.fps, WATCHED_FPS)


def build_info(settings: Settings, engine: Engine, detector: FaceDetector) -> Info:
    """The content of the node's info message."""
    card = engine.model.card
    return Info(
        version=__version__,
        model=f"{card.name} {card.version}",
        model_sha256=engine.model.sha256,
        mirror=engine.classifier.mirror,
        labels=card.labels,
        runtime=engine.runtime.name,
        runtime_reason=without_folders(engine.reason),
        detector=detector.finder.name,
        detector_reason=without_folders(detector.description),
        cameras=[part.name for part in settings.camera],
    )


def build_sink(settings: Settings, stage: Stage | None = None) -> MqttSink:
    """The way to the configured broker, not yet started; *stage* gets its thread's heartbeat."""
    return MqttSink(
        Broker.of(settings.mqtt, client_id_of(settings)),
        status_topic=topics_of(settings).of("status"),
        outbox=build_outbox(settings),
        stage=stage,
    )


def build_outbox(settings: Settings) -> Outbox:
    """The outbox for the log, in the state directory if persist is set."""
    part = settings.outbox
    return Outbox(
        state_file("outbox.sqlite3", settings.node.id) if part.persist else None,
        max_rows=part.max_rows,
        max_bytes=round(part.max_mib * 1024 * 1024),
        max_age_s=part.max_age_h * 3600,
    )


def page_url(settings: Settings) -> str | None:
    """The page's address for others in the house; None where it is unknown or the page is off."""
    part = settings.web
    if not part.enabled or part.url or part.socket:
        return part.url if part.enabled else None
    host, port = part.address
    if host in ("0.0.0.0", "::"):
        host = part.hosts[0] if part.hosts else "localhost"
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    return f"http{'s' if part.cert_file else ''}://{f'[{host}]' if ':' in host else host}:{port}/"


def client_id_of(settings: Settings) -> str:
    """At most 23 of [0-9A-Za-z], which every broker takes (MQTT 3.1.3.1)."""
    node, machine = settings.node.id, default_node_id()
    # Unique to the machine: two with one node id must both stay connected to notice each other.
    digits = hashlib.sha256(f"{node} {machine}".encode()).hexdigest()[:10]
    return re.sub("[^0-9A-Za-z]", "", node)[:13] + digits


def topics_of(settings: Settings) -> Topics:
    return Topics(settings.mqtt.prefix, settings.node.id)
