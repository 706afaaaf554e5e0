"""`emotion-edge run`: the daemon."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from edge import __version__
from edge.commands.options import add_config
from edge.host.service import Notifier, Service
from edge.host.takeover import take_over
from edge.node.build import build_sink, open_engine
from edge.node.daemon import Daemon
from edge.settings import Settings, load
from edge.types import EdgeError

START_S = 300.0  # that a model may take to load

log = logging.getLogger(__name__)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "run",
        help="the daemon",
        description="Runs until SIGTERM or SIGINT; SIGHUP has it read its configuration again.",
    )
    add_config(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    # The watchdog's SIGABRT leaves every thread's stack in the journal; on a descriptor of its own, because
    # stderr may be redirected while a library is silenced.
    faulthandler.enable(os.dup(2))
    # Until the daemon can reload, the request waits. Blocking the signal is not enough: a thread that a
    # library starts at import would get it.
    asked = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: asked.set())
    with unexpected_logged():
        settings = load(options.config)
        configure_logging(settings.log.level)
        take_over(settings.node.id)
        serve(settings, load=partial(load, options.config), asked=asked)
    return 0


@contextmanager
def unexpected_logged() -> Iterator[None]:
    """Log the traceback of an unexpected error before it ends the daemon."""
    try:
        yield
    except EdgeError:
        raise
    except Exception:
        log.critical("unexpected error; the daemon ends", exc_info=True)
        raise


def serve(
    settings: Settings,
    *,
    seconds: float | None = None,
    load: Callable[[], Settings] | None = None,
    asked: threading.Event | None = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT, or for *seconds*; EdgeError when it cannot begin.

    SIGHUP reloads from *load*, at once if *asked* is set already; without *load*, SIGHUP ends it.
    """
    # A core dump would hold frames; children inherit the limit.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    service = Service(Notifier.of())
    service.start()
    with service.analysis.waiting("loading the model", START_S):
        engine = open_engine(settings, service.analysis.waiting)
        sink = build_sink(settings, service.heartbeats.stage("mqtt"))
        daemon = Daemon(settings, engine, sink, load, service)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    if load is not None:
        signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
    if asked is not None and asked.is_set():
        daemon.reload()
    if seconds is not None:
        alarm = threading.Timer(seconds, daemon.stop)
        alarm.daemon = True
        alarm.start()
    cameras = ", ".join(camera.name for camera in settings.camera)
    log.info("emotion-edge %s, node %s, cameras: %s", __version__, settings.node.id, cameras)
    sink.start()
    try:
        daemon.run()
    finally:
        sink.stop()
    log.info("stopped")


def configure_logging(level: str) -> None:
    """Plain lines on stderr; the journal adds time, unit and host itself."""
    journal = not sys.stderr.isatty()
    pattern = "%(levelname)s %(message)s" if journal else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(level=level.upper(), format=pattern, stream=sys.stderr)
