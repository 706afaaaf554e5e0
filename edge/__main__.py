"""The command line: `emotion-edge COMMAND`. Each command lives in edge/commands."""

from __future__ import annotations

import argparse
import functools
import sys

from edge import __version__
from edge.cli import ended, open_standard_streams
from edge.commands import analyze, bench, check, classify, demo, detect, fleet, models, probe, run, web


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or the exit code that the command's error carries."""
    open_standard_streams()  # --help prints, too
    parser = argparse.ArgumentParser(
        prog="emotion-edge",
        description="Sees faces, classifies their expressions here, publishes them over MQTT.",
    )
    parser.add_argument("--version", action="version", version=f"emotion-edge {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (run, demo, check, classify, detect, analyze, bench, probe, models, fleet, web):
        command.add_parser(subparsers)
    options = parser.parse_args(arguments)
    return ended(functools.partial(options.run, options))


if __name__ == "__main__":
    sys.exit(main())
