"""Dark, frozen or fine, driven by pictures and times."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from edge.sources.sight import Picture, Sight
from edge.types import Image

SHAPE = (240, 320)


def flat(level: int) -> Image:
    return np.full(SHAPE, level, np.uint8)


def noise(level: float, sigma: float, seed: int, least: int = 0) -> Image:
    """A sensor that clamps what is below *least*."""
    drawn = np.random.default_rng(seed).normal(level, sigma, SHAPE)
    return drawn.round().clip(least, 255).astype(np.uint8)


def room() -> Image:
    coarse = np.random.default_rng(1).uniform(60, 180, (6, 8))
    return np.asarray(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)


def named(picture: Image) -> Image:
    """With what IP cameras write into a corner."""
    return np.asarray(cv2.putText(picture.copy(), "CAM 1", (8, 30), 0, 0.8, 255, 2), np.uint8)


def judged(pictures: Iterable[Image], sight: Sight | None = None, first_s: int = 0) -> list[Picture]:
    """A picture a second."""
    sight = sight or Sight()
    return [sight.judge(picture, 1000.0 + first_s + n) for n, picture in enumerate(pictures)]


@pytest.mark.parametrize(
    "picture", [flat(0), flat(5), flat(16), named(flat(0)), np.zeros((*SHAPE, 3), np.uint8)]
)
def test_black_that_never_changes_is_dark_and_never_frozen(picture: Image) -> None:
    assert judged([picture] * 60) == ["ok"] * 3 + ["dark"] * 57


@pytest.mark.parametrize(
    "pictures",
    [
        [noise(0, 5, n) for n in range(40)],
        [noise(16, 1, n, least=16) for n in range(40)],
        [noise(12, 4, n // 10) for n in range(40)],  # an encoder that repeats its pictures
        [named(noise(3, 3, n)) for n in range(40)],
    ],
)
def test_black_with_noise_is_dark(pictures: list[Image]) -> None:
    assert judged(pictures) == ["ok"] * 3 + ["dark"] * 37


@pytest.mark.parametrize("picture", [flat(255), flat(128), flat(40), room(), noise(12, 12, 1), room() // 3])
def test_anything_else_that_never_changes_is_frozen_and_never_dark(picture: Image) -> None:
    assert judged([picture] * 30) == ["ok"] * 20 + ["frozen"] * 10


def test_a_lamp_in_the_night_is_light() -> None:
    lamp = noise(16, 4, 0)
    lamp[40:100, 100:180] = 200
    assert set(judged([np.roll(lamp, 8 * n, 1) for n in range(30)])) == {"ok"}


def test_a_frozen_camera_whose_lens_is_covered_goes_dark() -> None:
    reported = judged([room()] * 25 + [flat(16)] * 30 + [room()] * 25)
    assert (
        reported == ["ok"] * 20 + ["frozen"] * 5 + ["ok"] * 2 + ["dark"] * 28 + ["ok"] * 20 + ["frozen"] * 5
    )


def test_dusk_is_crossed_once() -> None:
    """Levels that go up and down by less than what lies between dark and light."""
    sight = Sight()
    assert set(judged([noise(26, 2, n) for n in range(10)], sight)) == {"ok"}
    assert judged([noise(22, 2, n) for n in range(10)], sight, 10)[-1] == "dark"
    assert set(judged([noise(27, 2, n) for n in range(10)], sight, 20)) == {"dark"}
    assert set(judged([noise(32, 2, n) for n in range(10)], sight, 30)) == {"ok"}


def test_a_dark_camera_that_is_opened_again_stays_dark() -> None:
    assert judged([flat(3)] * 30, Sight(dark=True)) == ["dark"] * 30
    assert judged([room()], Sight(dark=True)) == ["ok"]


def test_a_folder_of_images_may_show_one_for_ever_and_it_may_be_black() -> None:
    assert set(judged([room()] * 60, Sight(still=True))) == {"ok"}
    assert judged([flat(0)] * 60, Sight(still=True))[-1] == "dark"


def test_another_size_is_another_picture() -> None:
    assert judged([flat(128)] * 19 + [flat(128)[:120]] * 20)[-1] == "ok"
