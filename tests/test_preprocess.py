import math

import cv2
import numpy as np
import pytest

from edge.analysis.preprocess import crop, crop_whole, luma, tilt
from edge.types import Box, Face, Image


@pytest.fixture
def noise() -> Image:
    return np.random.default_rng(0).integers(0, 256, (200, 300), np.uint8)


@pytest.fixture
def smooth() -> Image:
    """A ramp: brightness is x / 2 + y / 2, so that every sampled point can be read off."""
    y, x = np.mgrid[0:200, 0:300]
    return ((x + y) / 2).astype(np.uint8)


def face(x: float, y: float, width: float, height: float | None = None) -> Face:
    return Face(Box(x, y, width, width if height is None else height), 1.0)


def test_luma_weights_colors_as_bt601() -> None:
    assert luma(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).tolist() == [[29, 150, 76]]


def test_luma_passes_through_untouched(noise: Image) -> None:
    assert luma(noise) is noise


def test_box_of_network_size_is_cut_out_exactly(noise: Image) -> None:
    assert np.array_equal(crop(noise, face(31, 17, 48), 48, 48), noise[17:65, 31:79])


def test_box_of_twice_the_size_is_the_2x2_mean(noise: Image) -> None:
    wanted = noise[17:113, 31:127].reshape(48, 2, 48, 2).astype(float).mean((1, 3))
    assert np.abs(crop(noise, face(31, 17, 96), 48, 48) - wanted).max() <= 0.5


def test_box_of_four_times_the_size_is_the_4x4_mean_at_the_frame_edge() -> None:
    image = np.random.default_rng(1).integers(0, 256, (192, 193), np.uint8)  # not a multiple of four
    wanted = image[:, :192].reshape(48, 4, 48, 4).astype(float).mean((1, 3))
    # The frame ends in the padded block, which no sample of this box touches. Two halvings round twice.
    assert np.abs(crop(image, face(0, 0, 192), 48, 48) - wanted).max() <= 1


def test_half_pixel_shift_is_the_mean_of_two_neighbours() -> None:
    image = np.tile(np.array([0, 100], np.uint8), (48, 50))  # columns 0, 100, 0, 100, ...
    assert set(crop(image, face(10.5, 0, 48), 48, 48)[24, 2:-2].tolist()) == {50}


def test_fractional_box_samples_at_exact_positions(smooth: Image) -> None:
    out = crop(smooth, face(50.25, 40.75, 72), 48, 48)
    # Output (u, v) lies at 50.25 + 1.5 (u + .5) - .5, and the ramp is (x + y) / 2 there.
    for u, v in ((0, 0), (47, 0), (10, 30), (47, 47)):
        wanted = (50.25 + 1.5 * (u + 0.5) - 0.5 + 40.75 + 1.5 * (v + 0.5) - 0.5) / 2
        assert out[v, u] == pytest.approx(wanted, abs=1.0)


def test_oblong_box_gives_the_square_around_its_centre(noise: Image) -> None:
    assert np.array_equal(crop(noise, face(41, 17, 28, 48), 48, 48), crop(noise, face(31, 17, 48), 48, 48))


@pytest.mark.parametrize("side", [37.0, 48.0, 91.3, 150.0])
@pytest.mark.parametrize("x", [-40.3, 60.0, 250.7])
@pytest.mark.parametrize("y", [-40.8, 70.0, 160.2])
def test_color_and_luma_give_the_same_crop_and_frame_is_not_modified(side: float, x: float, y: float) -> None:
    image = np.random.default_rng(2).integers(0, 256, (200, 300, 3), np.uint8)
    before = image.copy()
    out = crop(image, face(x, y, side), 48, 48)
    assert out.dtype == np.uint8
    assert out.shape == (48, 48)
    assert np.array_equal(out, crop(luma(image), face(x, y, side), 48, 48))
    assert np.array_equal(image, before)


def test_area_left_of_the_frame_repeats_its_first_column(noise: Image) -> None:
    out = crop(noise, face(-20, 30, 48), 48, 48)
    assert np.array_equal(out[:, :20], np.repeat(noise[30:78, :1], 20, 1))
    assert np.array_equal(out[:, 20:], noise[30:78, :28])


def test_area_below_and_right_of_the_frame_repeats_its_last_row_and_column(noise: Image) -> None:
    out = crop(noise, face(270, 170, 48), 48, 48)
    assert np.array_equal(out[:30, :30], noise[170:, 270:])
    assert np.array_equal(out[30:, :30], np.repeat(noise[-1:, 270:], 18, 0))
    assert set(out[30:, 30:].ravel().tolist()) == {int(noise[-1, -1])}


@pytest.mark.parametrize(
    ("x", "y", "corner"),
    [(-500, -500, (0, 0)), (900, -500, (0, -1)), (-500, 900, (-1, 0)), (1e6, 1e6, (-1, -1))],
)
@pytest.mark.parametrize("side", [48, 200])
def test_box_outside_the_frame_repeats_the_nearest_pixel(
    noise: Image, x: float, y: float, corner: tuple[int, int], side: int
) -> None:
    assert set(crop(noise, face(x, y, side), 48, 48).ravel().tolist()) == {int(noise[corner])}


@pytest.mark.parametrize("side", [0.0, 1.0, 48.0, 1000.0])
def test_one_pixel_picture_gives_that_pixel(side: float) -> None:
    assert set(crop(np.full((1, 1), 77, np.uint8), face(0, 0, side), 48, 48).ravel().tolist()) == {77}


def test_box_larger_than_the_frame_keeps_the_frame_centred() -> None:
    out = crop(np.full((100, 100), 9, np.uint8), face(-462, -462, 1024), 48, 48)
    assert set(out.ravel().tolist()) == {9}


def test_crops_are_independent(noise: Image) -> None:
    middle = crop(noise, face(120, 80, 48), 48, 48)
    crop(noise, face(-30, -30, 96), 48, 48)
    assert np.array_equal(crop(noise, face(120, 80, 48), 48, 48), middle)
    assert np.array_equal(middle, noise[80:128, 120:168])


@pytest.mark.parametrize("side", [144, 200, 480, 500])
def test_fine_pattern_turns_gray_instead_of_aliasing(side: int) -> None:
    board = (np.indices((720, 720)).sum(0) % 2 * 255).astype(np.uint8)
    out = crop(board, face(60, 60, side), 48, 48)
    assert out.min() >= 110
    assert out.max() <= 145


@pytest.mark.parametrize("degrees", [-40, -15, 10, 30])
@pytest.mark.parametrize("side", [48, 130])
def test_tilted_face_comes_out_upright(degrees: float, side: int) -> None:
    # A blurred picture rotated clockwise by *degrees*, with matching eyes.
    upright = cv2.GaussianBlur(np.random.default_rng(3).random((400, 400)), (0, 0), side / 8)
    upright = cv2.normalize(upright, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    turned = cv2.warpAffine(
        upright, cv2.getRotationMatrix2D((199.5, 199.5), -degrees, 1), (400, 400), flags=cv2.INTER_CUBIC
    )
    angle = math.radians(degrees)
    box = Box(200 - side / 2, 200 - side / 2, side, side)
    eyes = ((200.0, 180.0), (200 + 20 * math.cos(angle), 180 + 20 * math.sin(angle)))
    wanted = crop(upright, Face(box, 1.0), 48, 48)
    out = crop(turned, Face(box, 1.0, eyes), 48, 48)
    assert np.abs(out.astype(float) - wanted).mean() < 1.5
    assert np.abs(crop(turned, Face(box, 1.0), 48, 48).astype(float) - wanted).mean() > 5


def test_eyes_falling_to_the_right_are_a_positive_tilt() -> None:
    assert tilt(Face(Box(0, 0, 9, 9), 1.0, ((10, 10), (20, 20)))) == pytest.approx(math.pi / 4)
    assert tilt(Face(Box(0, 0, 9, 9), 1.0, ((10, 20), (20, 20)))) == 0


def test_tilt_beyond_45_degrees_is_ignored() -> None:
    assert tilt(Face(Box(0, 0, 9, 9), 1.0, ((10, 10), (19, 20)))) == 0
    assert tilt(Face(Box(0, 0, 9, 9), 1.0, ((20, 10), (10, 10)))) == 0
    assert tilt(Face(Box(0, 0, 9, 9), 1.0)) == 0


def test_whole_picture_of_network_size_is_unchanged(noise: Image) -> None:
    assert np.array_equal(crop_whole(noise[:48, :48], 48, 48), noise[:48, :48])


def test_larger_whole_picture_is_averaged_down(noise: Image) -> None:
    wanted = noise[:96, :96].reshape(48, 2, 48, 2).astype(float).mean((1, 3))
    assert np.abs(crop_whole(noise[:96, :96], 48, 48) - wanted).max() <= 0.5
