"""What others find of a run: its network and its record, each checked. Keras comes in when it is needed."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

from edge.host.quiet import quiet
from edge.types import EdgeError

RUN_FILE, RECORD = "model.keras", "recipe.json"  # in a run's folder: its network, and how it came about


def model_file(path: Path) -> Path:
    """The network's file that *path* means: a run's folder stands for its model.keras."""
    # Not Path.is_dir, which raises where a folder above cannot be looked into: whoever opens it tells that.
    return path / RUN_FILE if os.path.isdir(path) else path


def load(path: Path) -> Any:
    """The Keras network in *path*, a run's folder or a .keras file; EdgeError, in one line, if none."""
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
        raise EdgeError(f"{path}: does not tell the shape of its input; save it after it was built")
    return model


def import_keras() -> Any:
    """Keras, without what it and its backend print; EdgeError where one of them cannot be had."""
    try:
        with quiet(show_on_error=False):
            import keras

            keras.ops.zeros(1)  # the backend says what it thinks of this machine at its first operation
    except (ImportError, ValueError) as error:
        raise EdgeError(
            f"keras: {first_line(error)}; "
            "run `pip install emotion-edge[train]`, or set KERAS_BACKEND=tensorflow"
        ) from error
    return keras


def read_record(path: Path) -> dict[str, Any]:
    """What was asked of a run, out of its recipe.json; EdgeError, in one line, if it is not told."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}; a run's folder holds one") from error
    except (ValueError, RecursionError) as error:
        raise EdgeError(f"{path}: not the record of a run: {first_line(error)}") from error
    recipe = told.get("recipe", {}) if isinstance(told, dict) else None
    if not isinstance(recipe, dict) or not isinstance(recipe.get("augment", {}), dict):
        raise EdgeError(f"{path}: not the record of a run: no object with a recipe in it")
    if not isinstance(told.get("network"), str):
        raise EdgeError(f"{path}: not the record of a run: names no network")
    return told


def first_line(error: Exception) -> str:
    """What *error* says, as one line of a bearable length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
