"""A network's training settings, read strictly from a TOML file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edge.types import EdgeError
from training.toml import read_toml

DATA = {"name", "licence", "used_for"}  # keys of a [[data]] table


@dataclass(frozen=True)
class Augment:
    """Augmentation of training pictures, redrawn each time.

    Blur, low resolution and noise are included because cameras deliver small, soft faces; FER2013's pictures
    are sharper.
    """

    flip: float = 0.5  # probability
    shift: float = 0.1  # maximum, fraction of the picture's size, each way and axis
    scale: float = 0.1  # 1 - scale to 1 + scale
    rotation: float = 10.0  # maximum, degrees each way
    contrast: float = 0.2  # 1 - contrast to 1 + contrast, around the picture's mean
    brightness: float = 20.0  # maximum, gray levels each way
    blur: float = 0.2  # probability of Gaussian blur or low resolution
    blur_sigma: float = 2.0  # maximum, pixels
    noise: float = 0.0  # maximum standard deviation, gray levels
    erase: float = 0.2  # probability of erasing a rectangle
    jitter: float = 0.0  # maximum shift of each edge of the face's box, fraction of the picture's size
    low_light: float = 0.0  # probability of low light: gamma and sensor noise
    low_light_gamma: float = 2.5  # maximum
    low_light_noise: float = 12.0  # maximum standard deviation, gray levels
    jpeg: float = 0.0  # probability of JPEG compression
    jpeg_quality: int = 20  # minimum; the maximum is 90


@dataclass(frozen=True)
class Recipe:
    """All settings of a run besides its data and network; the fields are the file's keys."""

    epochs: int = 30
    batch: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.05  # peak
    # cosine: linear warm-up to the peak, then a half cosine to zero. plateau: the peak, multiplied by a
    # factor whenever accuracy stagnates. Accuracy, here and below: on PublicTest, against the FER+ majority
    # if at least half of the target is FER+, else against FER2013's labels.
    schedule: str = "cosine"
    warmup_epochs: float = 1.0  # for cosine
    plateau_patience: int = 5  # epochs without a better accuracy
    plateau_factor: float = 0.1
    plateau_least: float = 1e-6  # minimum rate
    early_stopping: int = 0  # end the run after this many epochs without a better accuracy; 0: never
    keep: str = "last"  # which epoch's weights to keep: last or best
    snapshots: int = 0  # number of last epochs to save as epoch-N.keras, for averaging
    momentum: float = 0.9  # Nesterov momentum; Adam's beta_1
    # Decoupled, as in Keras (a step subtracts learning_rate * weight_decay * kernel): an L2 penalty w with
    # momentum m acts like w / (1 - m).
    weight_decay: float = 3e-3
    ema: float = 0.998  # decay per step of the averaged weights, which are evaluated and saved
    ferplus: float = 0.5  # share of the FER+ distribution in the target; the rest is the hard label
    # How votes become that distribution. firm: drop single votes if others remain; raw: count every vote for
    # one of the seven; microsoft: drop single votes, and rows with a majority for unknown or no face.
    votes: str = "firm"
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution of the mixing ratio; 0: none
    # Distillation (Hinton et al. 2015): loss weight of the cross-entropy to the teachers' mean probabilities,
    # both softened by the temperature.
    distill: float = 0.0
    temperature: float = 2.0
    # Rows are drawn with probabilities proportional to n(label) ** -balance: 0 takes each once per epoch, 1
    # shows every label equally often. FER2013 has 16 happy faces for each disgusted one.
    balance: float = 0.0
    dropout: float = 0.2
    # Precision of the layers; weights, loss, averages and the saved network are always float32. bfloat16
    # falls back to float32 on processors without it (training/fit/precision.py).
    precision: str = "float32"
    seed: int = 1
    augment: Augment = field(default_factory=Augment)
    data: tuple[dict[str, str], ...] = ()  # name, licence, used_for of each data set, for the model's card

    @property
    def judged_by(self) -> str:
        """The deciding accuracy: ``plus7`` (FER+ majority) or ``fer2013``."""
        return "plus7" if self.ferplus >= 0.5 else "fer2013"

    def values(self) -> dict[str, Any]:
        """Plain nested values, for run records and model cards."""
        return asdict(self)


_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000), "batch": (1, 65_536), "learning_rate": (0, 10), "warmup_epochs": (0, 1000),
    "momentum": (0, 0.9999), "weight_decay": (0, 1), "ema": (0, 0.999999), "ferplus": (0, 1),
    "plateau_patience": (1, 1000), "plateau_factor": (0.001, 0.999), "plateau_least": (0, 1),
    "early_stopping": (0, 10_000), "snapshots": (0, 10_000), "mixup": (0, 10), "distill": (0, 1),
    "temperature": (0.1, 100),
    "label_smoothing": (0, 0.9), "balance": (0, 1), "dropout": (0, 0.95), "seed": (0, 2**31 - 1),
    "augment.flip": (0, 1),
    "augment.shift": (0, 0.5), "augment.scale": (0, 0.9), "augment.rotation": (0, 180),
    "augment.contrast": (0, 1), "augment.brightness": (0, 255), "augment.blur": (0, 1),
    "augment.blur_sigma": (0, 20), "augment.noise": (0, 128), "augment.erase": (0, 1),
    "augment.jitter": (0, 0.4), "augment.low_light": (0, 1), "augment.low_light_gamma": (1, 10),
    "augment.low_light_noise": (0, 128), "augment.jpeg": (0, 1), "augment.jpeg_quality": (1, 90),
}  # fmt: skip
_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adam"), "schedule": ("cosine", "plateau", "constant"), "keep": ("last", "best"),
    "votes": ("firm", "raw", "microsoft"), "precision": ("float32", "bfloat16"),
}  # fmt: skip


def read_recipe(path: Path) -> Recipe:
    """The recipe in *path*; EdgeError in one line for an unknown key or an invalid value."""
    values = read_toml(path)
    augment = values.pop("augment", {})
    if not isinstance(augment, dict):
        raise EdgeError(f"{path}: augment: {augment!r}; expected a table [augment]")
    data = values.pop("data", [])
    texts = isinstance(data, list) and all(isinstance(one, dict) and one.keys() == DATA for one in data)
    if not texts:
        raise EdgeError(f"{path}: data: expected [[data]] tables with {', '.join(sorted(DATA))}")
    plain = checked(Recipe, values, path, "", _RANGES, _CHOICES)
    varied = Augment(**checked(Augment, augment, path, "augment.", _RANGES, _CHOICES))
    return Recipe(**plain, augment=varied, data=tuple(data))


def checked(
    kind: type,
    values: Mapping[str, Any],
    path: Path,
    prefix: str,
    ranges: Mapping[str, tuple[float, float]],
    choices: Mapping[str, tuple[str, ...]],
) -> dict[str, Any]:
    """*values* of the dataclass *kind*; EdgeError for an unknown key, wrong type or value out of range."""
    known = {f.name: f.type for f in fields(kind) if f.name not in ("augment", "data")}
    for key, value in values.items():
        place = f"{path}: {prefix}{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise EdgeError(f"{place}: unknown key" + (f"; did you mean {near[0]!r}?" if near else ""))
        if key in choices:
            if value not in choices[key]:
                raise EdgeError(f"{place}: {value!r}; expected {', '.join(choices[key])}")
            continue
        whole = known[key] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise EdgeError(f"{place}: {value!r}; expected {'a whole number' if whole else 'a number'}")
        low, high = ranges[prefix + key]
        if not low <= value <= high:
            raise EdgeError(f"{place}: {value!r}; expected {low:g} to {high:g}")
    return dict(values)
