"""The daemon towards its service manager: sd_notify(3), and what feeds the watchdog."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from edge.host.heartbeats import Heartbeats

log = logging.getLogger(__name__)

SEND_S = 1.0  # the manager reads at once; the longest wait otherwise
RELOAD_S = 60.0  # a model and its detectors are opened
LOOK_S = 1.0  # how often the stages are checked
START_S = 60  # extension of the start's time-out at each check, while there is progress


class Notifier:
    """Sends to *address* (``/path`` or ``@abstract``); to nobody where that is empty. Never raises.

    *watchdog_s*: the manager kills after so many seconds without a ``WATCHDOG=1``; 0: it does not.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s if address else 0.0
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """From *environment*, which loses the variables: a child must not report for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and meant else 0.0
        return cls(address if address.startswith(("/", "@")) else "", watchdog_s)

    def __bool__(self) -> bool:
        return bool(self._address)

    def send(self, **fields: str | int) -> None:
        """Send *fields* as one datagram of ``KEY=value`` lines."""
        if not self._address:
            return
        lines = "\n".join(f"{key}={' '.join(str(value).split())}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.settimeout(SEND_S)
                to.sendto(lines.encode(errors="replace"), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning("NOTIFY_SOCKET: %s; systemd is not informed", error.strerror or error)


class Service:
    """Reports to *notifier*, if any, and feeds the watchdog while every stage keeps its promise.

    *analysis* is the stage of the thread that runs it.
    """

    def __init__(self, notifier: Notifier | None = None) -> None:
        self.heartbeats = Heartbeats()
        self.analysis = self.heartbeats.stage("analysis")
        self._notifier = notifier or Notifier()
        self.ready = False  # report_ready() was called
        self._status = ""
        self._stuck = ""  # which stage, in words
        self._stopping = threading.Event()
        # Not the analysis thread, which may be in a declared wait itself.
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch the stages."""
        if self._notifier:
            self._thread.start()

    def report_ready(self) -> None:
        """The start is complete; only the first call counts."""
        if not self.ready:
            self.ready = True
            self._notifier.send(READY=1)

    def report_status(self, words: str) -> None:
        """Set what ``systemctl status`` shows, unless a stage is stuck."""
        words = self._stuck or words
        if words != self._status:
            self._status = words
            self._notifier.send(STATUS=words)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload."""
        if self.ready:  # during the start it is no reload
            self._notifier.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            with self.analysis.waiting("reading the configuration", RELOAD_S):
                yield
        finally:
            if self.ready:
                self._notifier.send(READY=1)

    def stop(self) -> None:
        """The daemon is stopping; end the watch."""
        self._stopping.set()
        self._notifier.send(STOPPING=1, STATUS="stopping")

    def _watch(self) -> None:
        every_s = min(LOOK_S, self._notifier.watchdog_s / 4) if self._notifier.watchdog_s else LOOK_S
        while True:
            overdue = self.heartbeats.overdue()
            if not overdue:
                if self._stuck:
                    self._stuck = ""
                    log.info("watchdog: every stage makes progress again")
                self._feed()
            elif not self._stuck:
                self._stuck = f"stuck: {'; '.join(overdue)}"
                log.error("watchdog: no longer fed: %s", "; ".join(overdue))
                self.report_status(self._stuck)
            if self._stopping.wait(every_s):
                return

    def _feed(self) -> None:
        if not self.ready:
            self._notifier.send(EXTEND_TIMEOUT_USEC=START_S * 1_000_000)
        if self._notifier.watchdog_s:
            self._notifier.send(WATCHDOG=1)
