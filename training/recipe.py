"""How a network is trained, as values read strictly from a TOML file."""

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
    """What each training picture goes through, redrawn each time it is seen.

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
    jitter: float = 0.0  # at most, of the picture's size, that each edge of the face's box lies elsewhere
    low_light: float = 0.0  # probability of a dark room: gamma and a sensor's noise
    low_light_gamma: float = 2.5  # at most
    low_light_noise: float = 12.0  # at most, standard deviation in gray levels
    jpeg: float = 0.0  # probability of being compressed
    jpeg_quality: int = 20  # at least, up to 90


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides its data and its network; the file's keys are these."""

    epochs: int = 30
    batch: int = 128
    optimizer: str = "sgd"
    learning_rate: float = 0.05  # at the peak
    # cosine: linear warm-up to the peak, then half a cosine to zero. plateau: the peak, and a share of it
    # whenever accuracy has stood still. Accuracy, here and below: on PublicTest, against the FER+ majority
    # where at least half of the target is FER+, else against FER2013's labels.
    schedule: str = "cosine"
    warmup_epochs: float = 1.0  # of the cosine
    plateau_patience: int = 5  # epochs without a better accuracy
    plateau_factor: float = 0.1
    plateau_least: float = 1e-6  # the rate goes no lower
    early_stopping: int = 0  # epochs without a better accuracy that end the run; 0: none do
    keep: str = "last"  # which epoch's weights the run leaves: the last one's, or the best one's
    snapshots: int = 0  # how many of the last epochs leave their own epoch-N.keras, to be averaged
    momentum: float = 0.9  # Nesterov's; of Adam's mean of gradients
    # Decoupled, as Keras means it (a step takes learning_rate * weight_decay off a kernel): an L2
    # penalty w under momentum m acts like w / (1 - m).
    weight_decay: float = 3e-3
    ema: float = 0.998  # of the weights, per step; the averaged ones are evaluated and saved
    ferplus: float = 0.5  # share of the FER+ distribution in the target; the rest is the hard label
    # How votes become that distribution. firm: single votes dropped where more remain; raw: each vote for one
    # of the seven counts; microsoft: single votes dropped, rows that most call unknown or no face left out.
    votes: str = "firm"
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution that two pictures' shares are drawn from; 0: none
    # Distillation (Hinton et al. 2015): the share of the loss that is the distance to the mean of the
    # teachers' probabilities, both softened by the temperature.
    distill: float = 0.0
    temperature: float = 2.0
    # Rows are drawn with chances in proportion to n(label) ** -balance: 0 takes each once an epoch, 1 shows
    # every label equally often. FER2013 has 16 happy faces for one that is disgusted.
    balance: float = 0.0
    dropout: float = 0.2
    # What the layers compute in; weights, loss, averages and the saved network are float32 in both. bfloat16
    # is used where the processor has it (training/fit/precision.py), float32 elsewhere.
    precision: str = "float32"
    seed: int = 1
    augment: Augment = field(default_factory=Augment)
    data: tuple[dict[str, str], ...] = ()  # name, licence, used_for of each data set: for the model's card

    @property
    def judged_by(self) -> str:
        """The accuracy that decides: ``plus7`` (FER+ majority) or ``fer2013``."""
        return "plus7" if self.ferplus >= 0.5 else "fer2013"

    def values(self) -> dict[str, Any]:
        """As plain nested values, for run records and model cards."""
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
    """The recipe in *path*; EdgeError in one line for what is unknown, mistyped or out of range."""
    values = read_toml(path)
    augment = values.pop("augment", {})
    if not isinstance(augment, dict):
        raise EdgeError(f"{path}: augment: {augment!r}; expected a table [augment]")
    data = values.pop("data", [])
    texts = isinstance(data, list) and all(isinstance(one, dict) and one.keys() == DATA for one in data)
    if not texts:
        raise EdgeError(f"{path}: data: expected tables [[data]] with {', '.join(sorted(DATA))}")
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
    """*values* of the dataclass *kind*, each of a known key, the key's type and within its range."""
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
