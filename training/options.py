"""Options shared by the classifier's and the detector's commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge.cli import whole


def add_data(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --data, described by *what*, and --threads."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PATH", help=what)
    parser.add_argument(
        "--threads", type=whole(1), metavar="N", help="backend threads (default: its own choice)"
    )


def add_run(parser: argparse.ArgumentParser, defaults: str) -> None:
    """Add the options of a training run; *defaults*: the file with the recipe's defaults."""
    parser.add_argument("--recipe", type=Path, metavar="TOML", help=f"default: the values in {defaults}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    parser.add_argument("--resume", action="store_true", help="continue after the last complete epoch in DIR")
    parser.add_argument(
        "--start-from", type=Path, metavar="RUN", help="run or model.keras to take initial weights from"
    )
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), metavar="N", help="override the recipe's seed")
    parser.set_defaults(stopped="stopped; continue after the last complete epoch with --resume")
