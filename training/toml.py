"""TOML files of training: recipes, plans, descriptions of other projects' networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge.types import EdgeError


def read_toml(path: Path) -> dict[str, Any]:
    """The values in *path*; EdgeError in one line if it cannot be read."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EdgeError(f"{path}: {error}") from error
    return values
