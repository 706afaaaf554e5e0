"""The command line: `emotion-edge COMMAND`. Each command lives in edge/commands."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from edge import __version__
from edge.commands import bench, check, classify, demo, fleet, models, probe, run
from edge.types import EdgeError

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or the exit code that the command's error carries."""
    parser = argparse.ArgumentParser(
        prog="emotion-edge",
        description="Sees faces, classifies their expressions here, tells the smart home over MQTT.",
    )
    parser.add_argument("--version", action="version", version=f"emotion-edge {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (run, demo, check, classify, bench, probe, models, fleet):
        command.add_parser(subparsers)
    options = parser.parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; keep the interpreter's last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # Nobody foresaw it, so nobody wrote its line; with log.level = "debug" the whole story is told.
        logging.getLogger(__name__).debug("unexpected", exc_info=True)
        told = " ".join(str(error).split())
        print(f"unexpected {type(error).__name__}: {told}; please report it to the makers", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
