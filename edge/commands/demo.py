"""`emotion-edge demo`: a broker, the daemon on the built-in camera, and what a subscriber receives."""

from __future__ import annotations

import argparse
import logging
import sys

from edge.cli import number
from edge.commands.demo_broker import demo_broker, subscribed
from edge.commands.demo_view import DemoView
from edge.commands.run import serve, unexpected_logged
from edge.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="see it work without any hardware",
        description="Starts a broker and the daemon on the built-in camera and prints what a subscriber "
        "receives, until Ctrl-C.",
    )
    parser.add_argument("--faces", type=int, choices=range(1, 7), default=3, help="1 to 6 (default: 3)")
    parser.add_argument("--seconds", type=number(0), metavar="S", help="stop by itself after S seconds")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stderr)
    with demo_broker() as port:
        settings = Settings.model_validate(
            {
                "node": {"id": "demo"},
                "mqtt": {"host": "127.0.0.1", "port": port, "version": "3.1.1"},
                "outbox": {"persist": False},
                "discovery": {"enabled": False},
                "log": {"level": "warning"},
                "camera": [{"name": "portraits", "source": "portraits", "faces": options.faces}],
            }
        )
        view = DemoView(settings.mqtt.prefix, sys.stdout)
        with subscribed(port, [f"{settings.mqtt.prefix}/#"], view.show):
            try:
                with unexpected_logged():
                    serve(settings, seconds=options.seconds)
            finally:
                view.gone.wait(1.0)
    return 0
