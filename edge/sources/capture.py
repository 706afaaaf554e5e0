"""One thread per camera that keeps the newest picture, and the slots from which they are analyzed."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal

from edge.host.heartbeats import FRESH_S, Heartbeats
from edge.sources.pace import RateLimit
from edge.sources.sight import DARK_S, FREEZE_S, Picture, Sight
from edge.types import EdgeError, EndOfStreamError, Frame, Image, Source, words_of

log = logging.getLogger(__name__)

CameraStatus = Literal["online", "offline", "stale"]

STALL_S = 5.0  # no picture for so long: stale
GIVE_UP_S = 8.0  # no picture for so long: the handle is dead, the camera is opened again
# Waits before a camera is opened again, doubling: one that is back must be seen within 10 s, and to
# open a network stream may take 5 of them.
RETRY_S = 0.5, 5.0

SLOW_S = 2.0  # pictures that come no sooner: said once in the journal
_FLOW_S = 5.0  # pictures came for so long: the next failure is a new one, and retried soon
_MOST_READERS = 3  # of one camera that may hang at the same time
_HOPELESS_S = 300.0  # readers that all hang for so long: only a new process lets the driver go


class Slots:
    """The newest picture of each camera that nobody took yet."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        # In order of arrival: a served camera queues up behind.
        self._waiting: dict[str, Frame] = {}

    def put(self, frame: Frame) -> bool:
        """Offer *frame*; True when it displaced one of the same camera that nobody took."""
        with self._changed:
            displaced = frame.camera in self._waiting
            self._waiting[frame.camera] = frame  # keeps the place in the queue
            self._changed.notify()
            return displaced

    def take(self, timeout: float) -> Frame | None:
        """The next camera's newest picture, in turn; None after *timeout* seconds."""
        with self._changed:
            there = self._changed.wait_for(lambda: self._waiting, timeout)
            return self._waiting.pop(next(iter(self._waiting))) if there else None

    def drop(self, camera: str) -> None:
        """Forget what waits of *camera*."""
        with self._changed:
            self._waiting.pop(camera, None)


@dataclass(eq=False)
class Capture:
    """A camera kept alive: opened by *open_source*, read into *slots*, opened again when it fails.

    *on_status* gets each change of status with the reason in words ("" for online), from one of the camera's
    threads at a time; it must neither block nor raise. ``stale``: the pictures stopped or froze; frozen ones
    are not passed on. *slots* get at most *fps* a second (None: all), *every*, which must not block, all.
    """

    name: str
    open_source: Callable[[], Source]
    slots: Slots
    on_status: Callable[[CameraStatus, str], None]
    _: KW_ONLY
    stall_s: float = STALL_S
    give_up_s: float = GIVE_UP_S
    freeze_s: float = FREEZE_S
    dark_s: float = DARK_S
    retry_s: tuple[float, float] = RETRY_S
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    fps: float | None = None
    every: Callable[[Frame], None] | None = None

    def __post_init__(self) -> None:
        self.status: CameraStatus = "offline"
        self.reason = "not opened yet"
        self.reported = False  # status and reason are known and were passed to on_status
        self.ended = False  # the source came to its regular end
        self.frames = 0  # pictures read since the start
        self.damaged = 0  # pictures since the start that could not be decoded
        self.dropped = 0  # frames displaced by a newer one before anybody took them
        self.taken: float | None = None  # when the last one was read, monotonic s
        self.picture: Picture | None = None  # what it shows; None while nothing comes
        self.dark = False  # the last picture read was
        self.stage = self.heartbeats.stage(f"camera {self.name}")
        self._limit = RateLimit(self.fps)
        self._close_failed = False
        self._slow = False  # its pictures come SLOW_S apart or more
        self._unforeseen = ""  # the last error of which the log has the traceback
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._readers: list[_Reader] = []  # newest last; older ones are stuck in a driver call
        # Only another thread can notice a read that hangs.
        self._watch = threading.Thread(target=self._supervise, name=f"watch {self.name}", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._appoint()
        self._watch.start()

    def stop(self, timeout: float = 0.8) -> None:
        """Ask the camera's threads to end, and wait up to *timeout* seconds for them.

        The reader closes the source; one whose driver hangs is left behind as a daemon thread. Nothing is
        delivered or reported after the call.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._stopping.set()  # no new reader from here on
            readers = list(self._readers)
        self.heartbeats.end(self.stage)
        for reader in readers:
            reader.dismiss()
        for thread in (*readers, self._watch):
            if thread.ident is not None:  # started
                thread.join(max(0.0, deadline - time.monotonic()))

    def deliver(self, reader: _Reader, image: Image, taken: float, shows: Picture) -> None:
        """A picture that *reader* read; ignored if it was replaced meanwhile."""
        with self._lock:
            if reader is not self._readers[-1] or self._stopping.is_set():
                return
            self.frames += 1
            gap = taken - (self.taken or taken)
            self.taken = taken
            if shows == "frozen":
                self._report("stale", f"the picture is frozen for {self.freeze_s:g} s")
                self.slots.drop(self.name)
            elif self.status != "online":
                self._report("online", "", f"{image.shape[1]}x{image.shape[0]}")
                self._slow = False
            elif gap >= SLOW_S and not self._slow:
                self._slow = True
                log.info("camera %s: slow: a picture every %.1f s", self.name, gap)
            self.picture = shows
            if self.dark != (shows == "dark"):
                self.dark = not self.dark
                news = "dark: night, or a covered lens" if self.dark else "light"
                log.info("camera %s: %s", self.name, news)
            if shows != "frozen":
                frame = Frame(image, taken, time.time(), self.frames, self.name)
                if self.every is not None:
                    self.every(frame)
                if self._limit.passes(taken):
                    self.dropped += self.slots.put(frame)

    def failed(self, reader: _Reader, error: Exception) -> None:
        """*reader*'s source failed, or came to its regular end, as *error* says."""
        with self._lock:
            if reader is not self._readers[-1] or self._stopping.is_set():
                return
            if isinstance(error, EndOfStreamError):
                self.ended = True
                self._report("offline", "ended")
            elif isinstance(error, EdgeError):
                self._report("offline", str(error))
            else:  # a bug of ours or of a driver's binding: reported and retried like any other
                words = words_of(error, typed=True)
                level = logging.DEBUG if words == self._unforeseen else logging.ERROR
                self._unforeseen = words
                log.log(level, "camera %s: unexpected error", self.name, exc_info=error)
                self._report("offline", words)

    def not_closed(self, error: Exception) -> None:
        """A reader's source raised *error* in close(): logged once."""
        level = logging.DEBUG if self._close_failed else logging.WARNING
        self._close_failed = True
        log.log(level, "camera %s: the driver failed to close it", self.name, exc_info=error)

    def _supervise(self) -> None:
        while not self._stopping.wait(self.stall_s / 10):
            lost = False
            with self._lock:
                if self.ended:
                    self.heartbeats.end(self.stage)
                    return
                self._readers = [r for r in self._readers[:-1] if r.is_alive()] + self._readers[-1:]
                reader = self._readers[-1]
                silent_s = reader.silent_s()
                # A source knows how far apart its pictures come: the limits follow.
                stall_s = max(self.stall_s, reader.patience)
                give_up_s = stall_s + self.give_up_s - self.stall_s
                # While the reader is in the source, the watch beats for it: the camera becomes offline, which
                # is a declared wait.
                if reader.in_source and silent_s < _HOPELESS_S:
                    self.stage.beat()
                if silent_s > give_up_s:
                    self._report("offline", reader.complaint(silent_s))
                    lost = len(self._readers) < _MOST_READERS
                elif not reader.is_alive():  # a bug of ours, logged by threading.excepthook
                    lost = True
                elif silent_s > stall_s and self.status == "online":
                    self._report("stale", reader.complaint(silent_s))
                elif silent_s > self.give_up_s and not self.reported:
                    self._report("offline", reader.complaint(silent_s))
            if lost:
                reader.dismiss()
                self._appoint()

    def _appoint(self) -> None:
        with self._lock:
            if not self._stopping.is_set():
                self._readers.append(_Reader(self))
                self._readers[-1].start()

    def _report(self, status: CameraStatus, reason: str, detail: str = "") -> None:
        """Log and pass on a change; a repeated failure is not one."""
        with self._lock:
            if self._stopping.is_set() or (status == self.status and self.reported):
                return
            self.status, self.reason, self.reported = status, reason, True
            self.picture = None
            if reason in ("", "ended"):
                log.info("camera %s: %s %s", self.name, status, reason or detail)
            else:
                log.warning("camera %s: %s: %s", self.name, status, reason)
            self.on_status(status, reason)


class _Reader(threading.Thread):
    """Opens, reads and closes a camera's source until dismissed, or until the source ends.

    No other thread calls the source, except interrupt(): a driver that hangs blocks this thread alone.
    """

    def __init__(self, capture: Capture) -> None:
        super().__init__(name=f"capture {capture.name}", daemon=True)
        self._capture = capture
        self._dismissed = threading.Event()
        self._source: Source | None = None
        self.in_source = False  # opens, reads or closes it
        self._closing = False
        self._busy_since: float | None = None  # in the call under way, monotonic s
        self._flowed = False  # the last opening gave pictures

    def silent_s(self) -> float:
        """Seconds that the call under way has taken."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def patience(self) -> float:
        """Seconds that the source itself grants the call under way; 0 where it does not say."""
        return 0.0 if self._closing else getattr(self._source, "patience", 0.0)

    def complaint(self, silent_s: float) -> str:
        return f"{'the driver does not close it' if self._closing else 'no picture'} for {silent_s:.0f} s"

    def dismiss(self) -> None:
        """Ask it to end: at once if it waits, else as soon as the source returns."""
        self._dismissed.set()
        source = self._source
        if source is not None:
            source.interrupt()

    def run(self) -> None:
        first_s, last_s = self._capture.retry_s
        delay_s = first_s
        ended = False
        while not self._dismissed.is_set():
            began = time.monotonic()
            self._flowed = False
            try:
                self._read_all()
            except Exception as error:
                ended = isinstance(error, EndOfStreamError)
                self._capture.failed(self, error)  # first: closing it may never return
            self._close()
            if ended:
                return
            if time.monotonic() - began > _FLOW_S and self._flowed:
                delay_s = first_s
            self._capture.stage.wait("before it is opened again", delay_s + FRESH_S)
            # Cameras behind one switch must not reconnect at the same moment.
            self._dismissed.wait(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, last_s)

    def _read_all(self) -> None:
        """Open the source and deliver until it fails or this reader is dismissed."""
        self.in_source, self._busy_since = True, time.monotonic()
        source = self._source = self._capture.open_source()
        capture = self._capture
        sight: Sight | None = None
        damaged = 0
        while not self._dismissed.is_set():
            # A still source may show one picture forever.
            self._busy_since = None if source.still else time.monotonic()
            self.in_source = True
            image = source.read()
            taken = time.monotonic()
            self.in_source, self._busy_since = False, None
            if sight is None:  # a network source is known only after its first read
                freeze_s, dark_s, still = capture.freeze_s, capture.dark_s, source.still
                sight = Sight(freeze_s=freeze_s, dark_s=dark_s, still=still, dark=capture.dark)
            before, damaged = damaged, getattr(source, "damaged", 0)
            capture.damaged += damaged - before
            capture.deliver(self, image, taken, sight.judge(image, taken))
            self._flowed = True
            capture.stage.beat()

    def _close(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            self.in_source, self._busy_since, self._closing = True, time.monotonic(), True
            try:
                source.close()
            except Exception as error:
                self._capture.not_closed(error)
        self.in_source, self._busy_since, self._closing = False, None, False
