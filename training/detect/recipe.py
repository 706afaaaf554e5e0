"""A detector's training settings, read strictly from a TOML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.types import EdgeError
from training.recipe import DATA, checked
from training.toml import read_toml


@dataclass(frozen=True)
class DetectorRecipe:
    """All settings of a run besides its photos; the fields are the file's keys."""

    epochs: int = 60
    crops: int = 12_800  # per epoch
    batch: int = 32
    side: int = 192  # pixels, of a crop; a multiple of 32
    learning_rate: float = 0.02  # peak, after a linear warm-up; then a half cosine to zero
    warmup_epochs: float = 0.5
    momentum: float = 0.9  # Nesterov's
    weight_decay: float = 5e-3  # decoupled: acts like an L2 penalty of 5e-4 under this momentum
    ema: float = 0.999  # decay per step of the averaged weights, which are evaluated and saved
    smallest: float = 11.0  # pixels, size of a face in its crop
    largest: float = 176.0
    small: float = 0.5  # extra share of faces from the lower half of that (logarithmic) range
    empty: float = 0.22  # share of crops from photos without a face
    elsewhere: float = 0.0  # share of the others at a random place: hands, knees, clothes, lettering
    four: float = 0.2  # share of crops that are mosaics of four photos
    rotation: float = 12.0  # maximum, degrees each way
    dark: float = 0.2  # share of crops in low light
    blur: float = 0.25  # share of crops out of focus
    coarse: float = 0.0  # share of crops at reduced resolution, enlarged
    marks: float = 0.0  # share of crops with lettering, rings and spirals, as on signs and logos
    stretch: float = 0.0  # maximum change of the aspect ratio, each way
    hidden: float = 0.0  # share of faces partly covered, as by a hand or a cup
    # Boxes to ignore in which the network started from sees a face at this score become faces; 0: none.
    promote: float = 0.0
    seed: int = 1
    data: tuple[dict[str, str], ...] = ()  # name, licence, used_for of each source: for the model's card

    def values(self) -> dict[str, Any]:
        """As plain nested values, for run records and model cards."""
        return asdict(self)


_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000), "crops": (1, 10_000_000), "batch": (1, 4096), "side": (64, 640),
    "learning_rate": (0, 10), "warmup_epochs": (0, 1000), "momentum": (0, 0.9999), "weight_decay": (0, 1),
    "ema": (0, 0.999999), "smallest": (8, 64), "largest": (32, 640), "small": (0, 1), "empty": (0, 1),
    "four": (0, 1), "elsewhere": (0, 1), "rotation": (0, 45), "dark": (0, 1), "blur": (0, 1),
    "coarse": (0, 1), "hidden": (0, 1), "marks": (0, 1),
    "stretch": (0, 0.5), "promote": (0, 1), "seed": (0, 2**31 - 1),
}  # fmt: skip


def read_detector_recipe(path: Path) -> DetectorRecipe:
    """The recipe in *path*; EdgeError in one line for an unknown key or an invalid value."""
    values = read_toml(path)
    data = values.pop("data", [])
    if not (isinstance(data, list) and all(isinstance(one, dict) and one.keys() == DATA for one in data)):
        raise EdgeError(f"{path}: data: expected [[data]] tables with {', '.join(sorted(DATA))}")
    recipe = DetectorRecipe(**checked(DetectorRecipe, values, path, "", _RANGES, {}), data=tuple(data))
    if recipe.side % 32:
        raise EdgeError(f"{path}: side: {recipe.side}; expected a multiple of 32, the coarsest stride")
    if not recipe.smallest < recipe.largest:
        raise EdgeError(
            f"{path}: smallest: {recipe.smallest:g}; expected less than largest = {recipe.largest:g}"
        )
    return recipe
