"""The loop around everything, in the analysis thread; no missing camera or broker ends it.

Capture threads fill the slots, this thread empties them in turn and carries out commands in between.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge.analysis.engine import Engine
from edge.contract import messages
from edge.contract.messages import Health, RateHealth
from edge.contract.switches import switches_file
from edge.homeassistant.keeper import Keeper
from edge.host import health
from edge.host.disk import StateFiles
from edge.host.places import state_file
from edge.host.service import Service
from edge.mqtt.client import MqttSink
from edge.mqtt.inbox import Inbox
from edge.node.camera import FrameRates
from edge.node.control import Control
from edge.node.reload import Live
from edge.settings import Settings
from edge.types import Duplex, EdgeError, Incoming

if TYPE_CHECKING:  # not imported where it is not enabled
    from edge.node.page import PageFeed

log = logging.getLogger(__name__)

TICK_S = 0.1  # how often what is due without a frame (a state held back, a face that left) is checked
HEALTH_S = 30.0


class Daemon:
    """Runs what *settings* describe until stop(), publishing to *sink* and reporting to *service*.

    reload() applies what *load* then gives. EdgeError where a detector's file is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        sink: MqttSink,
        load: Callable[[], Settings] | None,
        service: Service,
    ) -> None:
        inbox = Inbox(time.monotonic)
        self._page = _open_page(settings, sink, inbox.put)
        node = settings.node.id
        switches = switches_file(state_file("switches.json", node))
        self._files = StateFiles(switches.path.parent)
        self._keeper = Keeper(sink, state_file("discovery.json", node), self._files)
        heard = sink if self._page is None else self._page.sink
        self._live = Live(settings, engine, heard, self._keeper, load, switches.read(), service)
        self._control = Control(self._live, sink, inbox, switches, self._files, sink.clear_outbox)
        self._sink = sink
        self._service = service
        self._stopping = threading.Event()
        self._started = self._health_since = time.monotonic()
        self._rates = FrameRates()
        self._reported = self._urgent()  # as last published
        self._tickers = (
            self._live.tick,
            lambda: self._keeper.tick(time.monotonic()),
            self._control.tick,
            self._tick_health,
            self._tick_service,
            self._tick_page,
        )

    def stop(self) -> None:
        """Ask run() to return; safe in a signal handler."""
        self._stopping.set()

    def reload(self) -> None:
        """Ask run() to reload; safe in a signal handler."""
        self._control.ask_reload()

    def run(self) -> None:
        """Analyze until stop(), then close the cameras and publish that."""
        try:
            self._live.start()
            self._control.start()
            if self._page is not None:
                self._page.start()
            self._publish_health()
            while not self._stopping.is_set():
                frame = self._live.slots.take(TICK_S)
                if frame is not None:
                    self._live.analyze(frame)
                    if self._page is not None:
                        self._page.seen(self._live.cameras[frame.camera], frame)
                for tick in self._tickers:
                    tick()
        finally:
            self._service.stop()
            if self._page is not None:
                self._page.stop()
            self._live.close()
            self._files.close()

    def _urgent(self) -> tuple[object, ...]:
        """What makes health due at once when it changes: disks, chips, a reload, movements' spotting."""
        live = self._live
        return self._sink.storage, self._files.storage, live.runtime, live.reloads, live.watching

    def _tick_service(self) -> None:
        self._service.analysis.beat()
        cameras = self._live.cameras.values()
        if all(camera.settled for camera in cameras):
            self._service.report_ready()
        broker = "connected to" if self._sink.connected else "waiting for"
        stories = "; ".join(camera.story for camera in cameras)
        self._service.report_status(f"{stories}; {broker} the broker")

    def _tick_health(self) -> None:
        if self._urgent() != self._reported or time.monotonic() - self._health_since >= HEALTH_S:
            self._publish_health()

    def _tick_page(self) -> None:
        if self._page is not None:
            self._page.tick(self._live, self._sink.connected, self._health)

    def _publish_health(self) -> None:
        self._health_since = time.monotonic()
        self._reported = self._urgent()  # first: what changes meanwhile is due again
        report = self._health(self._rates)
        self._sink.publish(messages.health(self._live.topics, report, time.time()))

    def _health(self, rates: FrameRates) -> Health:
        """How the node fares; its cameras' frame rates since *rates* were last asked."""
        fps = rates.of_all(self._live.cameras)
        rate = self._live.rate
        return Health(
            uptime_s=time.monotonic() - self._started,
            rss_mib=health.rss_mib(),
            temperature_c=health.temperature_c(),
            throttled=health.throttled(),
            cameras={name: camera.health(fps[name]) for name, camera in self._live.cameras.items()},
            mqtt=self._sink.health(),
            commands=self._control.inbox.counts,
            config=self._live.health,
            storage=self._files.storage,
            runtime=self._live.runtime,
            rate=RateHealth(rate.share, rate.reason) if rate is not None else RateHealth(),
        )


def _open_page(settings: Settings, sink: Duplex, ask: Callable[[Incoming], None]) -> PageFeed | None:
    """The page as [web] wants it, its switches to *ask*; None where off or, as logged, it cannot be had."""
    if not settings.web.enabled:
        return None
    try:
        from edge.node.page import PageFeed

        return PageFeed(settings, sink, ask)
    except ImportError as error:
        from edge.web import lacks

        log.error("%s", lacks(error))
    except EdgeError as error:
        log.error("%s", error)
    return None
