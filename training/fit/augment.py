"""Augmentation of training pictures: the effects of cameras and detector boxes on a face."""

from __future__ import annotations

import math

import cv2
import numpy as np

from training.recipe import Augment


def vary(images: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    """*images* (n, h, w) uint8, each rotated, shifted, scaled, mirrored, blurred, lit, erased, compressed."""
    return np.stack([_vary_one(image, how, random) for image in images])


def _vary_one(image: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    height, width = image.shape
    draw = random.uniform(-1, 1, 8)  # one call: calls to the generator dominate the time
    chance = random.random(4)

    # One warp for four operations: every resampling blurs.
    angle, scale = math.radians(how.rotation * draw[0]), 1 + how.scale * draw[1]
    mirror = -1 if chance[0] < how.flip else 1
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[mirror * cos, -sin, 0.0], [mirror * sin, cos, 0.0]])
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = how.shift * np.array([width * draw[2], height * draw[3]])
    matrix[:, 2] = center + shift - matrix[:, :2] @ center
    if how.jitter:
        left, top, right, bottom = random.uniform(-how.jitter, how.jitter, 4)
        # This box, in fractions of the picture, becomes the new picture.
        wide, high = 1 / (1 + right - left), 1 / (1 + bottom - top)
        matrix = np.diag([wide, high]) @ matrix
        # Pixel coordinates are centres, half a pixel from the box's edge.
        matrix[:, 2] -= left * width * wide + (1 - wide) / 2, top * height * high + (1 - high) / 2
    image = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)

    if chance[1] < how.blur:
        sigma = 0.3 + (how.blur_sigma - 0.3) * abs(draw[4]) if how.blur_sigma > 0.3 else how.blur_sigma
        image = _soft(image, sigma, shrink=draw[5] > 0)

    gain = 1 + how.contrast * draw[6]
    mean = cv2.mean(image)[0]
    # A lookup table saturates; convertScaleAbs mirrors negative values.
    levels = (np.arange(256) - mean) * gain + mean + how.brightness * draw[7]
    image = cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8))

    if how.low_light and random.random() < how.low_light:
        image = _dark(image, how, random)
    if how.noise:
        image = _grainy(image, how.noise * chance[2], random)
    if chance[3] < how.erase:
        high, wide = (int(length * random.uniform(0.15, 0.4)) for length in image.shape)
        top, left = random.integers(0, height - high + 1), random.integers(0, width - wide + 1)
        image[top : top + high, left : left + wide] = random.integers(0, 256)
    if how.jpeg and random.random() < how.jpeg:
        quality = int(random.integers(how.jpeg_quality, 91))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], -1)
    return image


def _dark(image: np.ndarray, how: Augment, random: np.random.Generator) -> np.ndarray:
    """*image* as in a dark room: darker mid-tones and visible sensor noise."""
    gamma = random.uniform(1, how.low_light_gamma)
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return _grainy(cv2.LUT(image, levels), random.uniform(0, how.low_light_noise), random)


def _grainy(image: np.ndarray, deviation: float, random: np.random.Generator) -> np.ndarray:
    grain = random.standard_normal(image.shape, np.float32) * deviation
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def _soft(image: np.ndarray, sigma: float, shrink: bool) -> np.ndarray:
    """*image* out of focus, or at low resolution like a small face."""
    if not shrink:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    height, width = image.shape
    # A box of f pixels has variance f²/12, the triangle of the enlargement f²/6: in sum sigma = f / 2.
    factor = max(1.0, sigma * 2)
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    return cv2.resize(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA),
        (width, height),
        interpolation=cv2.INTER_LINEAR,
    )
