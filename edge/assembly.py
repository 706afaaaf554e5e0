"""From settings to objects: the one place that knows both."""

from __future__ import annotations

import time
from functools import partial
from typing import NamedTuple

import cv2

from edge import __version__
from edge.announce import Announcer, EventIds
from edge.capture import CameraStatus, Capture, Slots
from edge.card import Model, read_model
from edge.classify import FaceClassifier
from edge.daemon import Camera, Daemon
from edge.detectors import FaceDetector, open_detector
from edge.mqtt import messages
from edge.mqtt.client import MqttSink
from edge.mqtt.messages import Info, Topics
from edge.pipeline import Pipeline
from edge.report import Rules
from edge.runtimes import open_runtime
from edge.settings import Settings
from edge.sources import open_source
from edge.track import Tracker
from edge.types import Classifier, Detector, Runtime, Sink


class Engine(NamedTuple):
    """A verified model in the runtime that was chosen for it."""

    model: Model
    runtime: Runtime
    classifier: FaceClassifier


def open_engine(settings: Settings) -> Engine:
    """The configured model, verified against its card and loaded; EdgeError where it is not right."""
    # OpenCV takes every core by default; the configuration says how many threads the analysis may use.
    cv2.setNumThreads(settings.model.threads)
    model = read_model(settings.model.file)
    runtime = open_runtime(settings.model.runtime, model.content, threads=settings.model.threads)
    return Engine(model, runtime, FaceClassifier(runtime, model.card, str(model.path)))


def open_configured_detector(settings: Settings) -> FaceDetector:
    """The configured detector; EdgeError where its file is missing or not right."""
    part = settings.detector
    return open_detector(part.kind, file=part.file, long_side=part.long_side, min_face=part.min_face)


def build_pipeline(
    camera: str, settings: Settings, detector: Detector, classifier: Classifier
) -> Pipeline:
    """The analysis of one camera as the [report] table wants it."""
    report = settings.report
    rules = Rules(
        min_confidence=report.min_confidence,
        margin=report.margin,
        hold_s=report.hold_s,
        appear_s=report.appear_s,
        blend_s=report.blend_s,
    )
    tracker = Tracker(forget_s=report.forget_s)
    return Pipeline(camera, detector, classifier, tracker, rules, time.perf_counter)


def build_daemon(settings: Settings, engine: Engine, sink: MqttSink) -> Daemon:
    """The whole chain as configured, towards *sink*; EdgeError where a detector's file is not right."""
    topics, slots, ids = topics_of(settings), Slots(), EventIds()
    started = time.monotonic()
    cameras = []
    for part in settings.camera:
        # A detector each: what one remembers of a picture's size must not cost the other camera's next one.
        detector = open_configured_detector(settings)
        open_camera = partial(
            open_source,
            part.source,
            fps=part.fps,
            width=part.width,
            height=part.height,
            loop=part.loop,
            faces=part.faces,
        )
        cameras.append(
            Camera(
                Capture(part.name, open_camera, slots, partial(_tell_status, sink, topics, part.name)),
                build_pipeline(part.name, settings, detector, engine.classifier),
                Announcer(part.name, topics, settings.mqtt.faces_hz, ids, started),
            )
        )
    card = engine.model.card
    info = Info(
        version=__version__,
        model=f"{card.name} {card.version}",
        model_sha256=engine.model.sha256,
        labels=card.labels,
        runtime=engine.runtime.name,
        runtime_reason=settings.model.runtime,
        detector=detector.finder.name,
        detector_reason=detector.description,
        cameras=[part.name for part in settings.camera],
    )
    return Daemon(cameras, slots, sink, topics, info, sink.health)


def build_sink(settings: Settings) -> MqttSink:
    """The way to the configured broker, not yet started."""
    part = settings.mqtt
    return MqttSink(
        part.host,
        port=part.port,
        username=part.username,
        password=part.password.get_secret_value() if part.password else None,
        client_id=f"emotion-edge-{settings.node.id}",
        status_topic=topics_of(settings).of("status"),
        keepalive_s=part.keepalive_s,
        tls=part.tls,
        ca_file=str(part.ca_file) if part.ca_file else None,
    )


def topics_of(settings: Settings) -> Topics:
    return Topics(settings.mqtt.prefix, settings.node.id)


def _tell_status(sink: Sink, topics: Topics, camera: str, status: CameraStatus, reason: str) -> None:
    sink.publish(messages.camera_status(topics, camera, status))
