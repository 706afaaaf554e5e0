"""`emotion-edge web token`: what opens the page on the device."""

from __future__ import annotations

import argparse

from edge.commands.options import add_config
from edge.settings import load
from edge.types import EdgeError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("web", help="the page's token")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    token = commands.add_parser(
        "token",
        help="show it, or make another",
        description="Shows the token that the page on this device asks for. Run it there, as root or as the "
        "daemon's user.",
    )
    add_config(token)
    token.add_argument("--new", action="store_true", help="make another one: every browser is asked for it")
    token.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from edge.web.token import find_token, read_token, rotate_token

    path = find_token(load(options.config).node.id)
    try:
        print(rotate_token(path) if options.new else read_token(path))
    except OSError as error:
        raise EdgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return 0
