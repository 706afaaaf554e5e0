"""Accuracy on pictures corrupted as by poor cameras, at three fixed strengths each.

FER2013's pictures are sharp, evenly lit and framed by hand; a webcam's are not. Unlike in augmentation,
strengths and random seeds are fixed, so that networks can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from quantize.figures.labelsets import LabelSet
from training.measure.figures import Figures, figures

Random = np.random.Generator
_SEED = 20


@dataclass(frozen=True)
class Robust:
    """Figures on pictures with one corruption, one per label set."""

    corruption: str
    strength: str  # as shown in tables
    figures: list[Figures]


def blurred(image: np.ndarray, sigma: float, random: Random) -> np.ndarray:
    """Out of focus: a Gaussian of *sigma* pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def dark(image: np.ndarray, gamma: float, random: Random) -> np.ndarray:
    """Low light: *gamma* darkens the mid-tones, and sensor noise grows with it."""
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return noisy(cv2.LUT(image, levels), 4 * (gamma - 1), random)


def noisy(image: np.ndarray, deviation: float, random: Random) -> np.ndarray:
    """Sensor noise: normal, with standard *deviation* in gray levels."""
    grain = random.standard_normal(image.shape, np.float32) * deviation
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: float, random: Random) -> np.ndarray:
    """JPEG compression with *quality* 1 to 100."""
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))


def jittered(image: np.ndarray, share: float, random: Random) -> np.ndarray:
    """A detector's jittering box: each edge moves by up to *share* of the side."""
    height, width = image.shape
    left, top, right, bottom = random.uniform(-share, share, 4)
    wide, high = 1 / (1 + right - left), 1 / (1 + bottom - top)
    matrix = np.array([[wide, 0, -left * width * wide], [0, high, -top * height * high]])
    matrix[:, 2] -= (1 - wide) / 2, (1 - high) / 2  # pixel coordinates are centres
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def small(image: np.ndarray, side: float, random: Random) -> np.ndarray:
    """A face of *side* pixels, enlarged."""
    height, width = image.shape
    shrunk = cv2.resize(image, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)


Corruption = Callable[[np.ndarray, float, Random], np.ndarray]
CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, float, float], str]] = {
    "blur": (blurred, (0.7, 1.2, 2.0), "sigma {:g} px"),
    "low light": (dark, (1.5, 2.25, 3.0), "gamma {:g}"),
    "noise": (noisy, (6, 12, 24), "deviation {:g}"),
    "JPEG": (compressed, (40, 20, 10), "quality {:g}"),
    "jittered box": (jittered, (0.05, 0.1, 0.15), "edges ± {:.0%}"),
    "small face": (small, (32, 24, 16), "{:g} px"),
}


def corrupted(images: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """(corruption, strength, corrupted *images* (n, h, w) uint8), weak to strong; deterministic."""
    for name, (corrupt, strengths, form) in CORRUPTIONS.items():
        for strength in strengths:
            random = np.random.default_rng(_SEED)
            some = [corrupt(image, strength, random) for image in images]
            yield name, form.format(strength), np.stack(some)


def robustness(
    probabilities: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    sets: Sequence[LabelSet],
    split: str,
) -> list[Robust]:
    """Figures of *probabilities* on *images* after each corruption, for each label set of *sets*."""
    found = []
    for name, strength, some in corrupted(images):
        given = probabilities(some)
        judged = [figures(given[one.rows], one.truth, one.name, split, one.labels) for one in sets]
        found.append(Robust(name, strength, judged))
    return found


def rows_of(clean: Sequence[Figures], found: Sequence[Robust]) -> list[tuple[str, Figures]]:
    """Rows for tables: clean, then each corruption, on the deciding label set (the last)."""
    return [("clean", clean[-1]), *((f"{one.corruption}, {one.strength}", one.figures[-1]) for one in found)]


def mean_of(found: Sequence[Robust]) -> float:
    """Mean accuracy over all corruptions and strengths on the deciding label set, 0..1."""
    return float(np.mean([one.figures[-1].accuracy for one in found]))
