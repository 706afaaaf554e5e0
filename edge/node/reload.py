"""The running chain. Of a changed configuration only what changed is rebuilt; cameras keep their tracks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from edge import __version__
from edge.analysis.card import read_detector, read_model
from edge.analysis.detectors import FaceDetector
from edge.analysis.engine import Engine
from edge.analysis.motion import MotionGate
from edge.analysis.runtimes.chain import Waiting
from edge.contract import messages
from edge.contract.messages import ConfigHealth, Info, RuntimeHealth
from edge.contract.switches import Switches
from edge.homeassistant import discovery
from edge.homeassistant.keeper import Keeper
from edge.host.health import temperature_c
from edge.host.redaction import masked, without_folders
from edge.host.service import Service
from edge.node.announce import Announcer, EventIds
from edge.node.build import (
    build_info,
    build_pipeline,
    build_rate,
    build_watch,
    capture_opener,
    open_configured_detector,
    open_engine,
    page_url,
    rules_of,
    topics_of,
)
from edge.node.camera import Camera, retained_topics
from edge.settings import Settings
from edge.settings.tables import Camera as CameraSettings
from edge.sources.capture import Slots
from edge.types import Duplex, EdgeError, Frame

log = logging.getLogger(__name__)

MAX_ERROR = 256  # characters of a mistake in health
# Tables, and keys of others, that a reload changes in the running daemon. The rest needs a restart.
LIVE = frozenset(
    {"analysis", "camera", "detector", "discovery", "log", "micro", "model", "mqtt.faces_hz", "report"}
)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The outcome of a reload."""

    mistakes: tuple[str, ...] = ()  # a line each; if there are any, nothing was changed
    changed: tuple[str, ...] = ()  # tables and keys that were, and are in force
    restart: tuple[str, ...] = ()  # keys that were, and take effect with the next start

    @property
    def story(self) -> str:
        """The outcome in one line."""
        parts = [f"changed {', '.join(self.changed)}" if self.changed else "nothing changed"]
        if self.restart:
            parts.append(f"{', '.join(self.restart)} after a restart")
        return "; ".join(parts)


class Live:
    """The cameras that *settings* describe; reload() applies what *load* then gives (None: there is no file).

    *switches* are those that each camera begins with; *service* is informed of reloads. EdgeError where a
    detector's file is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        sink: Duplex,
        keeper: Keeper,
        load: Callable[[], Settings] | None,
        switches: Mapping[str, Switches],
        service: Service | None = None,
    ) -> None:
        self.slots = Slots()
        self.topics = topics_of(settings)
        self.cameras: dict[str, Camera] = {}
        self.rate = build_rate(settings)  # None: every frame is analyzed
        self.health = ConfigHealth()
        self.reloads = 0  # attempts
        self.settings = settings  # in force
        self._engine = engine
        self._sink = sink
        self._keeper = keeper
        self._load = load
        self._ids = EventIds()
        self._published_info: Info | None = None
        self._switches = dict(switches)
        self._service = service or Service()
        self._detectors = _open_detectors(settings, self._service.analysis.waiting)
        self._published_reasons = self._reasons()  # as last published

    def start(self) -> None:
        """Open the cameras, publish info and discovery."""
        self._apply(self.settings)
        self._announce()

    def close(self) -> None:
        """Close the cameras and publish that."""
        for camera in self.cameras.values():
            camera.close()
            if camera.watch is not None:
                camera.watch.stop()

    def analyze(self, frame: Frame) -> None:
        """Have its camera analyze *frame*, if the rate allows it."""
        if self.rate is None or self.rate.takes(frame.camera, frame.taken):
            self.cameras[frame.camera].analyze(frame)

    @property
    def watching(self) -> tuple[str, ...]:
        """How the spotting of brief movements fares, of each camera that has it."""
        return tuple(camera.watch.state for camera in self.cameras.values() if camera.watch is not None)

    @property
    def info(self) -> Info:
        """What the node is now."""
        return build_info(self.settings, self._engine, self._detector)

    @property
    def runtime(self) -> RuntimeHealth:
        """Whether model and detector run where they are configured to."""
        model, detector = self._engine.state, self._detector.state
        return RuntimeHealth(without_folders(model)[:MAX_ERROR], without_folders(detector)[:MAX_ERROR])

    @property
    def _detector(self) -> FaceDetector:
        *_, detector = self._detectors.values()
        return detector

    def reload(self) -> Reloaded:
        """Read the configuration again and apply what changed; with mistakes, nothing."""
        self.reloads += 1
        with self._service.reloading():
            return self._reload()

    def _reload(self) -> Reloaded:
        if self._load is None:
            return Reloaded(mistakes=("there is no configuration file",))
        try:
            settings, changed, restart = _merged(self.settings, self._load())
            waiting = self._service.analysis.waiting
            engine = _same_or_new(self._engine, self.settings, settings, waiting)
            detectors = _same_or_new_detectors(self._detectors, self.settings, settings, waiting)
        except EdgeError as error:
            # A file's name may not be valid Unicode.
            return self._refused(tuple(str(error).encode(errors="replace").decode().splitlines()))
        except Exception as error:  # from a library's loader, say: what runs is unaffected
            log.exception("unexpected error while reloading the configuration")
            words = " ".join(masked(str(error)).split())
            return self._refused((f"unexpected {type(error).__name__}: {words}; see the log",))
        if engine is not self._engine and "model" not in changed:
            changed += ("model",)  # the file behind the same name
        relabelled = engine.model.card.labels != self._engine.model.card.labels
        before, self.settings = self.settings, settings
        self._engine, self._detectors = engine, detectors
        self.health = ConfigHealth(restart=restart)
        self._apply(before)
        if relabelled or {"camera", "discovery"} & set(changed):
            self._announce()
        return Reloaded(changed=changed, restart=restart)

    def _refused(self, mistakes: tuple[str, ...]) -> Reloaded:
        self.health = replace(self.health, error=without_folders(mistakes[0])[:MAX_ERROR])
        return Reloaded(mistakes)

    def _apply(self, before: Settings) -> None:
        """Bring the cameras in line with the settings; *before* are the previous ones."""
        if self.settings.log != before.log:
            logging.getLogger().setLevel(self.settings.log.level.upper())
        if self.settings.analysis != before.analysis:
            self.rate = build_rate(self.settings)
        old, new = ({part.name: part for part in settings.camera} for settings in (before, self.settings))
        for name in [name for name in self.cameras if name not in new]:
            gone = self.cameras.pop(name)
            gone.remove()
            if gone.watch is not None:
                gone.watch.stop()
        for name, part in new.items():
            if name not in self.cameras:
                self.cameras[name] = self._build(part)
                self.cameras[name].start()
            else:
                watched = self.settings.micro != before.micro
                self._update(self.cameras[name], part, moved=part != old[name] or watched)
        self._publish_info()

    def tick(self) -> None:
        """Do what is due without a frame, and publish an accelerator that went or came back."""
        if self.rate is not None:
            self.rate.tick(time.monotonic())
        for camera in self.cameras.values():
            if camera.watch is not None:
                camera.watch.pressed = self.rate is not None and self.rate.share < 1
            camera.tick()
        if self._reasons() != self._published_reasons:
            self._publish_info()

    def _reasons(self) -> tuple[str, str]:
        return self._engine.reason, self._detector.description

    def _publish_info(self) -> None:
        self._published_reasons = self._reasons()
        if self.info != self._published_info:
            self._published_info = self.info
            self._sink.publish(messages.info(self.topics, self.info, time.time()))

    def _announce(self) -> None:
        """Announce the node and its cameras to Home Assistant."""
        part, web, names = self.settings.discovery, self.settings.web, list(self.cameras)
        devices = discovery.devices(
            self.topics, names, __version__, temperature=temperature_c() is not None,
            labels=self._engine.model.card.labels, page=web.enabled, url=page_url(self.settings),
        )  # fmt: skip
        kept = [topic for name in names for topic in retained_topics(self.topics, name)]
        kept += [self.topics.of("preview")] if web.enabled else []
        self._keeper.announce(
            devices if part.enabled else [], part.prefix, part.format, kept, part.birth_topic
        )

    def _build(self, part: CameraSettings) -> Camera:
        settings, watch = self.settings, build_watch(part.name, self.settings)
        return Camera(
            part.name,
            self._sink,
            self.topics,
            self.slots,
            capture_opener(part, self.slots, self._service.heartbeats, watch),
            build_pipeline(part.name, settings, self._detectors[part.name], self._engine.classifier),
            Announcer(part.name, self.topics, settings.mqtt.faces_hz, self._ids, time.monotonic()),
            rules_of(settings),
            self._switches.pop(part.name, Switches()),
            watch,
        )

    def _update(self, camera: Camera, part: CameraSettings, *, moved: bool) -> None:
        camera.pipeline.detector = self._detectors[camera.name]
        camera.pipeline.classifier = self._engine.classifier
        # A new gate in any case: another detector may find other faces.
        camera.pipeline.gate = MotionGate() if self.settings.analysis.skip_still else None
        camera.pipeline.tracker.forget_s = self.settings.report.forget_s
        camera.announcer.faces_hz = self.settings.mqtt.faces_hz
        camera.configure(rules_of(self.settings))
        if moved:
            if camera.watch is not None:
                camera.watch.stop()
            camera.watch = build_watch(camera.name, self.settings)
            camera.open_capture = capture_opener(part, self.slots, self._service.heartbeats, camera.watch)
            camera.restart()


def _open_detectors(settings: Settings, waiting: Waiting) -> dict[str, FaceDetector]:
    """A detector for each camera, or one for all where it keeps no state (a chip holds it once)."""
    first = open_configured_detector(settings, waiting)
    cameras = [part.name for part in settings.camera]
    others = [
        first if first.finder.shareable else open_configured_detector(settings, waiting) for _ in cameras[1:]
    ]
    return dict(zip(cameras, [first, *others], strict=True))


def _same_or_new_detectors(
    detectors: Mapping[str, FaceDetector], before: Settings, settings: Settings, waiting: Waiting
) -> dict[str, FaceDetector]:
    """As _same_or_new(), where one detector serves all; the others open fast."""
    one = next(iter(detectors.values()))
    same = (settings.detector, settings.model.threads) == (before.detector, before.model.threads)
    if same and one.finder.shareable and one.finder.chosen:
        model = one.finder.chosen.model
        if read_detector(model.path).sha256 == model.sha256:
            return {part.name: one for part in settings.camera}
    return _open_detectors(settings, waiting)


def _same_or_new(engine: Engine, before: Settings, settings: Settings, waiting: Waiting) -> Engine:
    """*engine*, or a new one where settings or file changed: an accelerator may serve only one at a time."""
    if settings.model == before.model and read_model(engine.model.path).sha256 == engine.model.sha256:
        return engine
    return open_engine(settings, waiting)


def _merged(before: Settings, wanted: Settings) -> tuple[Settings, tuple[str, ...], tuple[str, ...]]:
    """*wanted* as far as it applies now, the changed keys, and those that need a restart."""
    changed, restart = [], []
    kept: dict[str, Any] = {}
    for table in type(wanted).model_fields:
        old, new = getattr(before, table), getattr(wanted, table)
        if old == new:
            continue
        if table in LIVE:
            changed.append(table)
            continue
        keys = [key for key in type(new).model_fields if getattr(old, key) != getattr(new, key)]
        later = [key for key in keys if f"{table}.{key}" not in LIVE]
        changed += [f"{table}.{key}" for key in keys if key not in later]
        restart += [f"{table}.{key}" for key in later]
        kept[table] = new.model_copy(update={key: getattr(old, key) for key in later})
    return wanted.model_copy(update=kept), tuple(changed), tuple(restart)
