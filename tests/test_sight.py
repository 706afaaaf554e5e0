"""Dark, frozen or ok: pure logic on pictures and times."""

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
    """Noise of a sensor that clamps values below *least*."""
    drawn = np.random.default_rng(seed).normal(level, sigma, SHAPE)
    return drawn.round().clip(least, 255).astype(np.uint8)


def room() -> Image:
    coarse = np.random.default_rng(1).uniform(60, 180, (6, 8))
    return np.asarray(cv2.resize(coarse, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)


def with_overlay(picture: Image) -> Image:
    """*picture* with a text overlay, as IP cameras add."""
    return np.asarray(cv2.putText(picture.copy(), "CAM 1", (8, 30), 0, 0.8, 255, 2), np.uint8)


def judge_all(pictures: Iterable[Image], sight: Sight | None = None, first_s: int = 0) -> list[Picture]:
    """Judge one picture per second."""
    sight = sight or Sight()
    return [sight.judge(picture, 1000.0 + first_s + n) for n, picture in enumerate(pictures)]


@pytest.mark.parametrize(
    "picture", [flat(0), flat(5), flat(16), with_overlay(flat(0)), np.zeros((*SHAPE, 3), np.uint8)]
)
def test_constant_black_is_dark_and_never_frozen(picture: Image) -> None:
    assert judge_all([picture] * 60) == ["ok"] * 3 + ["dark"] * 57


@pytest.mark.parametrize(
    "pictures",
    [
        [noise(0, 5, n) for n in range(40)],
        [noise(16, 1, n, least=16) for n in range(40)],
        [noise(12, 4, n // 10) for n in range(40)],  # an encoder that repeats its pictures
        [with_overlay(noise(3, 3, n)) for n in range(40)],
    ],
)
def test_black_with_noise_is_dark(pictures: list[Image]) -> None:
    assert judge_all(pictures) == ["ok"] * 3 + ["dark"] * 37


@pytest.mark.parametrize("picture", [flat(255), flat(128), flat(40), room(), noise(12, 12, 1), room() // 3])
def test_other_constant_pictures_are_frozen_and_never_dark(picture: Image) -> None:
    assert judge_all([picture] * 30) == ["ok"] * 20 + ["frozen"] * 10


def test_lamp_at_night_is_not_dark() -> None:
    lamp = noise(16, 4, 0)
    lamp[40:100, 100:180] = 200
    assert set(judge_all([np.roll(lamp, 8 * n, 1) for n in range(30)])) == {"ok"}


def test_frozen_camera_with_a_covered_lens_goes_dark() -> None:
    reported = judge_all([room()] * 25 + [flat(16)] * 30 + [room()] * 25)
    assert (
        reported == ["ok"] * 20 + ["frozen"] * 5 + ["ok"] * 2 + ["dark"] * 28 + ["ok"] * 20 + ["frozen"] * 5
    )


def test_dusk_is_crossed_once() -> None:
    """Levels that vary by less than the hysteresis between dark and light."""
    sight = Sight()
    assert set(judge_all([noise(26, 2, n) for n in range(10)], sight)) == {"ok"}
    assert judge_all([noise(22, 2, n) for n in range(10)], sight, 10)[-1] == "dark"
    assert set(judge_all([noise(27, 2, n) for n in range(10)], sight, 20)) == {"dark"}
    assert set(judge_all([noise(32, 2, n) for n in range(10)], sight, 30)) == {"ok"}


def test_dark_camera_stays_dark_after_reopening() -> None:
    assert judge_all([flat(3)] * 30, Sight(dark=True)) == ["dark"] * 30
    assert judge_all([room()], Sight(dark=True)) == ["ok"]


def test_image_folder_is_never_frozen_but_may_be_dark() -> None:
    assert set(judge_all([room()] * 60, Sight(still=True))) == {"ok"}
    assert judge_all([flat(0)] * 60, Sight(still=True))[-1] == "dark"


def test_size_change_is_a_picture_change() -> None:
    assert judge_all([flat(128)] * 19 + [flat(128)[:120]] * 20)[-1] == "ok"
