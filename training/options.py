"""Options that commands of the classifier and of the detector share."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.cli import whole


def add_data(parser: argparse.ArgumentParser, what: str) -> None:
    """--data, which takes *what*, and --threads."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help=what)
    parser.add_argument(
        "--threads", type=whole(1), metavar="N", help="of the backend (default: its own choice)"
    )


def add_run(parser: argparse.ArgumentParser, defaults: str) -> None:
    """What a run that trains is asked for; *defaults*: the file that holds the recipe's."""
    parser.add_argument("--recipe", type=Path, metavar="TOML", help=f"default: the values in {defaults}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch in DIR")
    parser.add_argument(
        "--start-from", type=Path, metavar="RUN", help="begin with the weights of this run or model.keras"
    )
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), metavar="N", help="instead of the recipe's")
    parser.set_defaults(stopped="stopped; --resume goes on after the last whole epoch")
