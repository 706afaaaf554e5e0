"""Converts .h5 networks of Keras 1 and 2 to Keras 3's format.

Since then a layer's input shape was renamed, a Sequential network's layers became a dictionary, and keys came
and went. The weights are the same, so initializers, regularizers and constraints are dropped.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TRAINING_ONLY = ("_initializer", "_regularizer", "_constraint")
_BASE = {"name", "trainable", "dtype"}  # common to all layers


def saved_by(path: Path) -> str:
    """The version of Keras that saved the HDF5 file at *path*; empty if unknown."""
    import h5py

    try:
        with h5py.File(path) as file:
            return _text(file.attrs.get("keras_version", ""))
    except OSError:
        return ""


def is_older(version: str) -> bool:
    """Whether files of Keras *version* need conversion."""
    return version.startswith(("1.", "2."))


def renewed(path: Path, target: Path) -> None:
    """Copy the HDF5 file at *path* to *target* with its network in Keras 3's format.

    ValueError if it contains only weights.
    """
    import h5py

    shutil.copyfile(path, target)
    target.chmod(0o600)
    with h5py.File(target, "r+") as file:
        if "model_config" not in file.attrs:
            raise ValueError("only weights; expected a file saved by model.save(…)")
        described = json.loads(_text(file.attrs["model_config"]))
        file.attrs["model_config"] = json.dumps(_layer(described))
        if "training_config" in file.attrs:  # an optimizer of that version (`lr`), not needed
            del file.attrs["training_config"]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _layer(described: Mapping[str, Any]) -> dict[str, Any]:
    """One layer, or a network, in Keras 3's format."""
    kind, config = described["class_name"], described["config"]
    if kind == "Sequential":
        config = {"layers": config} if isinstance(config, list) else config
        layers = [_layer(one) for one in config["layers"]]
        return {
            **described,
            "config": {"name": "sequential", **config, "layers": _begun(config["layers"], layers)},
        }
    if "layers" in config:
        layers = [_layer(one) for one in config["layers"]]
        return {**described, "class_name": "Functional", "config": {**config, "layers": layers}}
    return {**described, "config": _config(kind, config)}


def _begun(old: list[Any], layers: list[Any]) -> list[Any]:
    """A Sequential network's *layers*, with an input layer of the shape in its first *old* one."""
    first = old[0] if old else None
    if not first or first["class_name"] == "InputLayer" or not isinstance(first["config"], dict):
        return layers
    shape = first["config"].get("batch_input_shape")
    if not shape:
        return layers
    config = {"batch_shape": shape, "dtype": "float32", "name": f"{first['config']['name']}_input"}
    return [{"class_name": "InputLayer", "config": config}, *layers]


def _config(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    import keras

    found = {key: value for key, value in config.items() if not key.endswith(_TRAINING_ONLY)}
    if isinstance(found.get("dtype"), dict):  # a policy
        found["dtype"] = found["dtype"]["config"]["name"]
    if isinstance(found.get("axis"), list) and len(found["axis"]) == 1:
        found["axis"] = found["axis"][0]
    if isinstance(found.get("layer"), dict):  # TimeDistributed and the like
        found["layer"] = _layer(found["layer"])
    if kind == "InputLayer":
        shape = found.get("batch_input_shape") or found.get("batch_shape")
        return {"batch_shape": shape, "dtype": found.get("dtype"), "name": found.get("name")}
    layer = getattr(keras.layers, kind, None)
    if layer is None:
        return found  # Keras names it
    known = {*inspect.signature(layer.__init__).parameters, *_BASE}
    return {key: value for key, value in found.items() if key in known}
