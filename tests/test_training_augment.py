"""Augmentation of training pictures."""

import cv2
import numpy as np
import pytest

from training.fit.augment import vary
from training.recipe import Augment

NOTHING = Augment(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
IMAGES = np.random.default_rng(0).integers(0, 256, (16, 48, 48), np.uint8)


def test_without_augmentation_pictures_are_unchanged() -> None:
    np.testing.assert_array_equal(vary(IMAGES, NOTHING, np.random.default_rng(1)), IMAGES)


def test_flip_mirrors_left_and_right() -> None:
    always = Augment(**{**vars(NOTHING), "flip": 1.0})
    np.testing.assert_array_equal(vary(IMAGES, always, np.random.default_rng(1)), IMAGES[:, :, ::-1])


def test_same_seed_gives_the_same_pictures() -> None:
    one = vary(IMAGES, Augment(), np.random.default_rng(7))
    np.testing.assert_array_equal(one, vary(IMAGES, Augment(), np.random.default_rng(7)))
    assert (one != vary(IMAGES, Augment(), np.random.default_rng(8))).any()


def test_brightness_saturates_instead_of_wrapping() -> None:
    bright = Augment(**{**vars(NOTHING), "brightness": 255.0})
    varied = vary(np.full((64, 48, 48), 128, np.uint8), bright, np.random.default_rng(0))
    levels = {int(image[0, 0]) for image in varied}
    assert {0, 255} <= levels  # a change of more than 128 in either direction saturates


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_blur_removes_fine_detail(sigma: float) -> None:
    always = Augment(**{**vars(NOTHING), "blur": 1.0, "blur_sigma": sigma})
    assert vary(IMAGES, always, np.random.default_rng(1)).std() < IMAGES.std() * 0.7


def test_jitter_moves_each_edge_independently() -> None:
    image = np.zeros((48, 48), np.uint8)
    image[16:32, 16:32] = 255
    varied = vary(
        np.stack([image] * 64), Augment(**{**vars(NOTHING), "jitter": 0.2}), np.random.default_rng(0)
    )
    wide, high = (varied > 127).any(1).sum(1), (varied > 127).any(2).sum(1)
    assert (wide.min(), wide.max()) == (pytest.approx(12, abs=1), pytest.approx(24, abs=3))
    assert np.abs(wide - high).max() > 4  # a box of another aspect ratio stretches the face


def test_low_light_darkens_mid_grays_and_adds_noise() -> None:
    dark = Augment(**{**vars(NOTHING), "low_light": 1.0, "low_light_noise": 0.0})
    gray = np.full((64, 48, 48), 128, np.uint8)
    levels = vary(gray, dark, np.random.default_rng(0)).mean((1, 2))
    assert 40 < levels.min() < 60  # 255 * (128 / 255) ** 2.5 is 46
    assert levels.max() <= 128
    noisy = vary(gray, Augment(**{**vars(NOTHING), "low_light": 1.0}), np.random.default_rng(0))
    assert 8 < noisy.std((1, 2)).max() < 13
    assert (vary(gray, Augment(**{**vars(dark), "low_light": 0.0}), np.random.default_rng(0)) == gray).all()


def test_jpeg_keeps_the_picture_recognizable() -> None:
    smooth = np.stack([cv2.GaussianBlur(image, (0, 0), 3) for image in IMAGES])
    packed = vary(smooth, Augment(**{**vars(NOTHING), "jpeg": 1.0}), np.random.default_rng(0))
    assert (packed.shape, packed.dtype) == (IMAGES.shape, np.uint8)
    assert 0 < np.abs(packed.astype(int) - smooth).mean() < 5


def test_disabled_augmentation_draws_no_random_numbers() -> None:
    known = Augment(noise=3.0)
    later = Augment(noise=3.0, low_light_gamma=9.0, low_light_noise=99.0, jpeg_quality=1)
    pictures = [vary(IMAGES, how, np.random.default_rng(7)) for how in (known, later)]
    np.testing.assert_array_equal(*pictures)
