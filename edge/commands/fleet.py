"""`emotion-edge fleet`: the nodes on a broker, from their retained messages."""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from edge.cli import whole
from edge.commands.fleet_view import Fleet, table
from edge.commands.options import add_config
from edge.mqtt.broker import Broker, UnansweredError
from edge.mqtt.connection import Ack, Connection
from edge.settings import load
from edge.settings.hosts import broker_host
from edge.types import EdgeError, Incoming, named

TOPICS = ("+/status", "+/info", "+/health", "+/+/status")  # below the prefix
QUIET_S = 1.0  # without anything retained: then the broker has sent all
PATIENCE_S = 10.0  # at most until then
REFRESH_S = 2.0  # with --watch
CLEAR = "\x1b[H\x1b[2J"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "fleet",
        help="list the nodes on a broker",
        description="Shows the nodes on the broker of the [mqtt] table by what they publish. Only listens,"
        " under a client id of its own.",
    )
    add_config(parser)
    parser.add_argument("--host", metavar="H", help="another broker than the configured one")
    parser.add_argument("--port", type=whole(1, 65535), metavar="N", help="another port")
    parser.add_argument("--json", action="store_true", help="for programs; with --watch a line each time")
    parser.add_argument("--watch", action="store_true", help=f"refresh every {REFRESH_S:g} s")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    given = {"port": options.port} if options.port is not None else {}
    if options.host is not None:
        with named("--host", (ValueError,)):
            given["host"] = broker_host(options.host)
    part = load(options.config).mqtt.model_copy(update=given)
    # No node's client id begins so.
    broker = Broker.of(part, f"fleet{uuid.uuid4().hex[:12]}")
    fleet = Fleet(part.prefix)
    try:
        with _connected(broker) as connection:
            _gather(connection, fleet, part.prefix)
            _show(fleet, broker, part.prefix, options)
            while options.watch:
                until = time.monotonic() + REFRESH_S
                while time.monotonic() < until:
                    _take(connection, fleet)
                _show(fleet, broker, part.prefix, options)
    except EdgeError as error:
        raise EdgeError(f"mqtt {broker}: {error}") from error
    return 0


def _show(fleet: Fleet, broker: Broker, prefix: str, options: argparse.Namespace) -> None:
    rows = fleet.rows(time.time())
    if options.json:
        text = json.dumps([asdict(row) for row in rows], indent=None if options.watch else 2)
    else:
        text = table(rows) if rows else f"mqtt {broker}: no nodes below {prefix}/"
    clear = CLEAR if options.watch and not options.json and sys.stdout.isatty() else ""
    print(clear + text, flush=True)


@contextmanager
def _connected(broker: Broker) -> Iterator[Connection]:
    wake, other = socket.socketpair()  # nobody wakes us
    with wake, other:
        for protocol in broker.protocols:
            try:
                connection = Connection(broker, protocol, None, wake, threading.Event())
                break
            except UnansweredError as error:
                unanswered = error
        else:
            raise unanswered
        try:
            yield connection
        finally:
            connection.close(goodbye=True)


def _gather(connection: Connection, fleet: Fleet, prefix: str) -> None:
    """Ask for everything and take in what the broker retains."""
    unanswered = {connection.subscribe(f"{prefix}/{topic}") for topic in TOPICS}
    began = last = time.monotonic()
    while unanswered or time.monotonic() < last + QUIET_S:
        if time.monotonic() > began + PATIENCE_S:
            if unanswered:
                raise EdgeError(f"does not answer within {PATIENCE_S:g} s")
            return  # more nodes than it can send in that time
        for it in _take(connection, fleet):
            if not isinstance(it, Incoming):
                unanswered.discard(it.number)
            if not isinstance(it, Incoming) or it.retained:
                last = time.monotonic()


def _take(connection: Connection, fleet: Fleet) -> list[Ack | Incoming]:
    """Feed *fleet* what comes within 0.2 s, and return it."""
    came = connection.turn(0.2)
    for it in came:
        if isinstance(it, Incoming):
            fleet.hear(it)
        elif it.refusal is not None:
            raise EdgeError(f"refuses the subscription ({it.refusal}); allow it in its access list")
    return came
