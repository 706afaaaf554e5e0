"""How a network is trained, as values read strictly from a TOML file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edge.types import EdgeError

DATA = {"name", "licence", "used_for"}  # keys of a [[data]] table


@dataclass(frozen=True)
class Augment:
    """What each training picture goes through, drawn anew each time it is seen.

    Blur, low resolution and noise are there because a camera's small, soft face is what the
    network meets; FER2013's own pictures are sharper.
    """

    flip: float = 0.5  # probability
    shift: float = 0.1  # at most, of the picture's size, each way and axis
    scale: float = 0.1  # 1 - scale to 1 + scale
    rotation: float = 10.0  # at most, degrees each way
    contrast: float = 0.2  # 1 - contrast to 1 + contrast, around the picture's mean
    brightness: float = 20.0  # at most, gray levels each way
    blur: float = 0.2  # probability of a Gaussian or of being shrunk and enlarged
    blur_sigma: float = 2.0  # at most, pixels
    noise: float = 0.0  # at most, standard deviation in gray levels
    erase: float = 0.2  # probability that a rectangle is painted over


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides its data and its network; the file's keys are these."""

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 0.05  # at the peak; linear warm-up before it, half a cosine to zero after
    warmup_epochs: float = 1.0
    momentum: float = 0.9  # Nesterov's
    # Decoupled, as Keras means it (a step takes learning_rate * weight_decay off a kernel): an L2
    # penalty w under momentum m acts like w / (1 - m).
    weight_decay: float = 3e-3
    ema: float = 0.998  # of the weights, per step; the averaged ones are evaluated and saved
    ferplus: float = 0.5  # share of the FER+ distribution in the target; the rest is the hard label
    label_smoothing: float = 0.0
    # Rows are drawn with chances in proportion to n(label) ** -balance: 0 takes each once an epoch, 1 shows
    # every label equally often. FER2013 has 16 happy faces for one that is disgusted.
    balance: float = 0.0
    dropout: float = 0.2
    seed: int = 1
    augment: Augment = field(default_factory=Augment)
    data: tuple[dict[str, str], ...] = ()  # name, licence, used_for of each data set: for the model's card

    def values(self) -> dict[str, Any]:
        """As plain nested values, for run records and model cards."""
        return asdict(self)


_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000), "batch": (1, 65_536), "learning_rate": (0, 10), "warmup_epochs": (0, 1000),
    "momentum": (0, 0.9999), "weight_decay": (0, 1), "ema": (0, 0.999999), "ferplus": (0, 1),
    "label_smoothing": (0, 0.9), "balance": (0, 1), "dropout": (0, 0.95), "seed": (0, 2**31 - 1),
    "augment.flip": (0, 1),
    "augment.shift": (0, 0.5), "augment.scale": (0, 0.9), "augment.rotation": (0, 180),
    "augment.contrast": (0, 1), "augment.brightness": (0, 255), "augment.blur": (0, 1),
    "augment.blur_sigma": (0, 20), "augment.noise": (0, 128), "augment.erase": (0, 1),
}  # fmt: skip


def read_recipe(path: Path) -> Recipe:
    """The recipe in *path*; EdgeError in one line for what is unknown, mistyped or out of range."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgeError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EdgeError(f"{path}: {error}") from error
    augment = values.pop("augment", {})
    if not isinstance(augment, dict):
        raise EdgeError(f"{path}: augment: {augment!r}; a table [augment] would do")
    data = values.pop("data", [])
    texts = isinstance(data, list) and all(isinstance(one, dict) and one.keys() == DATA for one in data)
    if not texts:
        raise EdgeError(f"{path}: data: tables [[data]] with {', '.join(sorted(DATA))} would do")
    checked = _checked(Recipe, values, path, "")
    varied = Augment(**_checked(Augment, augment, path, "augment."))
    return Recipe(**checked, augment=varied, data=tuple(data))


def _checked(kind: type, values: Mapping[str, Any], path: Path, prefix: str) -> dict[str, Any]:
    known = {f.name: f.type for f in fields(kind) if f.name not in ("augment", "data")}
    for key, value in values.items():
        place = f"{path}: {prefix}{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise EdgeError(f"{place}: unknown key" + (f"; did you mean {near[0]!r}?" if near else ""))
        whole = known[key] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise EdgeError(f"{place}: {value!r}; {'a whole number' if whole else 'a number'} would do")
        low, high = _RANGES[prefix + key]
        if not low <= value <= high:
            raise EdgeError(f"{place}: {value!r}; {low:g} to {high:g} would do")
    return dict(values)
