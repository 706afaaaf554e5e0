"""Options that several commands share: which configuration, model and detector to work with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from edge.analysis.detectors import Kind
from edge.cli import file_path
from edge.settings import Settings, load
from edge.settings.tables import SHIPPED
from edge.sources.images import SUFFIXES, pictures_in
from edge.types import EdgeError

# Table -> option -> the key that it overrides.
OVERRIDES = {
    "model": {"model": "file", "threads": "threads"},
    "detector": {
        "detector": "kind", "detector_file": "file", "long_side": "long_side", "min_score": "min_score",
    },
}  # fmt: skip


def add_pictures(parser: argparse.ArgumentParser, json_help: str) -> None:
    """PATH…, and --json, which gives what *json_help* says."""
    parser.add_argument("paths", nargs="+", type=file_path, metavar="PATH", help="an image or a folder")
    parser.add_argument("--json", action="store_true", help=json_help)


def check_there(paths: Sequence[Path]) -> None:
    """EdgeError for the first of *paths* that is not there."""
    for path in paths:
        if not path.exists():
            raise EdgeError(f"{path}: no such file or folder")


def pictures_of(paths: Sequence[Path]) -> dict[Path, Path]:
    """Each picture of *paths*, files and folders, and under which of these; EdgeError where there is none."""
    pictures = {picture: root for root in paths for picture in pictures_in(root)}
    if not pictures:
        raise EdgeError(f"{paths[0]}: no images here; expected {', '.join(sorted(SUFFIXES))}")
    return pictures


def add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=file_path, metavar="F", help="the configuration file")


def add_engine(parser: argparse.ArgumentParser, *, model: bool = True) -> None:
    """--config, and options that override it, --model among them where *model*."""
    add_config(parser)
    if model:
        parser.add_argument(
            "--model", type=shipped, metavar="F",
            help="a .tflite or .onnx file with its card next to it, or emotion or emotion-xs",
        )  # fmt: skip
    parser.add_argument("--threads", type=int, choices=range(1, 5), metavar="N", help="1 to 4")
    parser.add_argument("--detector", choices=get_args(Kind), help="how faces are found")
    parser.add_argument("--detector-file", type=file_path, metavar="F", help="the detector's own file")


def shipped(text: str) -> Path:
    """The file that *text* names, as model.file does: a shipped one by its name, or a path."""
    return SHIPPED.get(text) or file_path(text)


def settings_of(options: argparse.Namespace) -> Settings:
    """The configuration, overridden by the command line; ConfigError where it is wrong."""
    settings = load(options.config)
    given = {option: value for option, value in vars(options).items() if value is not None}
    tables = {}
    for table, keys in OVERRIDES.items():
        update = {key: given[option] for option, key in keys.items() if option in given}
        tables[table] = getattr(settings, table).model_copy(update=update)
    return settings.model_copy(update=tables)
