"""What a training picture goes through."""

import numpy as np
import pytest

from training.augment import vary
from training.recipe import Augment

NOTHING = Augment(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 48, 48), np.uint8)


def test_without_any_variation_pictures_stay_as_they_are() -> None:
    np.testing.assert_array_equal(vary(IMAGES, NOTHING, np.random.default_rng(1)), IMAGES)


def test_flip_mirrors_left_and_right() -> None:
    always = Augment(**{**vars(NOTHING), "flip": 1.0})
    np.testing.assert_array_equal(vary(IMAGES, always, np.random.default_rng(1)), IMAGES[:, :, ::-1])


def test_the_same_seed_gives_the_same_pictures() -> None:
    one = vary(IMAGES, Augment(), np.random.default_rng(7))
    np.testing.assert_array_equal(one, vary(IMAGES, Augment(), np.random.default_rng(7)))
    assert (one != vary(IMAGES, Augment(), np.random.default_rng(8))).any()


def test_light_saturates_instead_of_wrapping() -> None:
    bright = Augment(**{**vars(NOTHING), "brightness": 255.0})
    varied = vary(np.full((64, 48, 48), 128, np.uint8), bright, np.random.default_rng(0))
    levels = {int(image[0, 0]) for image in varied}
    assert {0, 255} <= levels  # a change of more than 128 in either direction stops at the end


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_blur_takes_fine_detail_away(sigma: float) -> None:
    always = Augment(**{**vars(NOTHING), "blur": 1.0, "blur_sigma": sigma})
    assert vary(IMAGES, always, np.random.default_rng(1)).std() < IMAGES.std() * 0.7
