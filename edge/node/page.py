"""What the page gets of the running node: snapshots, the log's events, pictures on demand."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edge.contract import messages
from edge.contract.messages import Health, Info, Topics
from edge.node.camera import Camera, FrameRates
from edge.node.reload import Live
from edge.settings import Settings
from edge.types import Duplex, Frame, Incoming, Message
from edge.web.board import Board
from edge.web.page import Page
from edge.web.preview import Picture
from edge.web.snapshot import CameraView, Snapshot

log = logging.getLogger(__name__)

SHOW_S = 0.25  # between two snapshots
LOOK_S = 1.0  # between two reports on the node


class Overheard:
    """*sink*, of whose log messages *hear* gets each, too."""

    def __init__(self, sink: Duplex, hear: Callable[[Message], None]) -> None:
        self._sink = sink
        self._hear = hear
        self.subscribe, self.unsubscribe, self.forget = sink.subscribe, sink.unsubscribe, sink.forget

    def publish(self, message: Message) -> None:
        self._sink.publish(message)
        if message.durable:
            self._hear(message)


class PageFeed:
    """Feeds the page from the analysis thread; EdgeError where it cannot be served.

    What is published through ``sink`` goes to *sink*; the page also gets the log's events.
    """

    def __init__(self, settings: Settings, sink: Duplex, ask: Callable[[Incoming], None]) -> None:
        self._board = Board()
        self._topics = Topics(settings.mqtt.prefix, settings.node.id)
        self._page = Page(settings.web, self._topics, self._board, ask)
        self._publish = sink.publish
        self.sink: Duplex = Overheard(sink, self._board.hear)
        self._rates = FrameRates()
        self._about: tuple[Info, Health] | None = None  # as last looked at
        self._looked = self._shown = 0.0  # when, monotonic s

    def start(self) -> None:
        self._publish(messages.preview(self._topics, False))
        self._page.start()

    def stop(self) -> None:
        self._board.preview.end("the daemon stops")
        self._publish_preview()
        self._page.stop()

    def seen(self, camera: Camera, frame: Frame) -> None:
        """*frame* was *camera*'s turn."""
        # Of a frame that was left out the faces are not known, and would not be blurred.
        if self._board.preview.on and camera.taken == frame.taken:
            faces = tuple(track.face.box for track in camera.pipeline.tracker.tracks)
            self._board.preview.show(camera.name, Picture(frame.image, frame.taken, faces))

    def tick(self, live: Live, connected: bool, health: Callable[[FrameRates], Health]) -> None:
        """Show what is due; *connected* to the broker."""
        self._publish_preview()
        now = time.monotonic()
        if now - self._shown < SHOW_S:
            return
        if self._about is None or now - self._looked >= LOOK_S:
            self._looked, self._about = now, (live.info, health(self._rates))
        self._shown = now
        views = tuple(_view(camera) for camera in live.cameras.values())
        self._board.show(Snapshot(self._topics.node, now, *self._about, connected, live.settings, views))

    def _publish_preview(self) -> None:
        """Begin or end the preview, publish and log it."""
        news = self._board.preview.tick()
        if news:
            on = self._board.preview.on
            self._publish(messages.preview(self._topics, on))
            log.info("web: preview %s", "begins: pictures can be seen on the page" if on else f"ends: {news}")


def _view(camera: Camera) -> CameraView:
    return CameraView(
        camera.name, camera.status, camera.trouble, camera.size, camera.taken, camera.analyzed, camera.tracks,
        camera.switches.states(camera.configured),
    )  # fmt: skip
