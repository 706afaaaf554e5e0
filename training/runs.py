"""Loads a run's network and record, with checks. Keras is imported on demand."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from edge.host.quiet import quiet
from edge.types import EdgeError

RUN_FILE, RECORD = "model.keras", "recipe.json"  # in a run's folder: its network and its settings


def model_file(path: Path) -> Path:
    """The network's file: *path*, or model.keras in the run's folder *path*."""
    # Not Path.is_dir, which raises without permission on a parent folder; opening the file reports that.
    return path / RUN_FILE if os.path.isdir(path) else path


def load(path: Path) -> Any:
    """The Keras network in *path*, a run's folder or a .keras file; EdgeError in one line on failure."""
    keras, path = import_keras(), model_file(path)
    try:
        with path.open("rb") as file:
            whole = zipfile.is_zipfile(file)
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}; expected a run's folder or its model.keras") from error
    if not whole or path.suffix != ".keras":
        raise EdgeError(f"{path}: not a Keras model, or a damaged one; expected a whole .keras file")
    try:
        with quiet(show_on_error=False):
            model = keras.models.load_model(path, compile=False)
    except Exception as error:  # keras raises whatever its archive reader does
        raise EdgeError(f"{path}: not a Keras model: {first_line(error)}") from error
    if getattr(model, "input_shape", None) is None:
        raise EdgeError(f"{path}: the input shape is undefined; save the network after building it")
    return model


def import_keras() -> Any:
    """Keras, without its and its backend's output; EdgeError if one of them is missing."""
    try:
        with quiet(show_on_error=False):
            import keras

            keras.ops.zeros(1)  # the backend prints at its first operation
    except (ImportError, ValueError) as error:
        raise EdgeError(
            f"keras: {first_line(error)}; "
            "run `pip install emotion-edge[train]`, or set KERAS_BACKEND=tensorflow"
        ) from error
    return keras


def read_record(path: Path) -> dict[str, Any]:
    """A run's settings from its recipe.json; EdgeError in one line if it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}; expected a run's folder") from error
    except (ValueError, RecursionError) as error:
        raise EdgeError(f"{path}: not the record of a run: {first_line(error)}") from error
    recipe = record.get("recipe", {}) if isinstance(record, dict) else None
    if not isinstance(recipe, dict) or not isinstance(recipe.get("augment", {}), dict):
        raise EdgeError(f"{path}: not the record of a run: expected an object with a recipe")
    if not isinstance(record.get("network"), str):
        raise EdgeError(f"{path}: not the record of a run: no network")
    return record


def first_line(error: Exception) -> str:
    """The message of *error*, as one line of limited length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
