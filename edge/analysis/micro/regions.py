"""The parts of a face that are watched, in eye distances from the eyes' midpoint: x to the right, y down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Region(NamedTuple):
    """A rectangle by its center and half its sides."""

    x: float
    y: float
    half_width: float
    half_height: float


# left and right as the picture has them, not as the person.
REGIONS: Mapping[str, Region] = {
    "brow_left": Region(-0.5, -0.34, 0.36, 0.15),
    "brow_right": Region(0.5, -0.34, 0.36, 0.15),
    "nose": Region(0.0, 0.6, 0.3, 0.25),
    "mouth_left": Region(-0.36, 1.18, 0.26, 0.26),
    "mouth_right": Region(0.36, 1.18, 0.26, 0.26),
    "chin": Region(0.0, 1.58, 0.3, 0.18),
}
EYES = Region(-0.5, 0.0, 0.27, 0.14), Region(0.5, 0.0, 0.27, 0.14)  # for blinks alone
