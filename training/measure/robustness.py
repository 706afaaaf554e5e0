"""What cameras do to a face, at three fixed strengths each, and what a network still gets right of it.

FER2013's pictures are sharp, evenly lit and framed by hand; a webcam's are none of that. The strengths are
fixed, unlike those of training's variation, so that networks can be held against each other; chance is the
same for all of them.
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
    """Figures of pictures that went through one corruption, a label set each."""

    corruption: str
    strength: str  # as tables name it
    figures: list[Figures]


def blurred(image: np.ndarray, sigma: float, random: Random) -> np.ndarray:
    """Out of focus: a Gaussian of *sigma* pixels."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def dark(image: np.ndarray, gamma: float, random: Random) -> np.ndarray:
    """Low light: the middle grays sink by *gamma*, and the sensor's noise grows with it."""
    levels = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return noisy(cv2.LUT(image, levels), 4 * (gamma - 1), random)


def noisy(image: np.ndarray, deviation: float, random: Random) -> np.ndarray:
    """Sensor noise: a normal distribution of that *deviation* in gray levels."""
    grain = random.standard_normal(image.shape, np.float32) * deviation
    return np.clip(np.rint(image + grain), 0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: float, random: Random) -> np.ndarray:
    """JPEG of that *quality*, 1 to 100."""
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))


def jittered(image: np.ndarray, share: float, random: Random) -> np.ndarray:
    """A detector's unsteady box: each edge lies up to *share* of the side elsewhere."""
    height, width = image.shape
    left, top, right, bottom = random.uniform(-share, share, 4)
    wide, high = 1 / (1 + right - left), 1 / (1 + bottom - top)
    matrix = np.array([[wide, 0, -left * width * wide], [0, high, -top * height * high]])
    matrix[:, 2] -= (1 - wide) / 2, (1 - high) / 2  # a pixel's place is its middle
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)


def small(image: np.ndarray, side: float, random: Random) -> np.ndarray:
    """A face of *side* pixels in its frame, enlarged."""
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
    """(corruption, strength, *images* (n, h, w) uint8 after it), weak to strong; the same at each call."""
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
    """What *probabilities* gets right of *images* after each corruption, by each label set of *sets*."""
    found = []
    for name, strength, some in corrupted(images):
        given = probabilities(some)
        judged = [figures(given[one.rows], one.truth, one.name, split, one.labels) for one in sets]
        found.append(Robust(name, strength, judged))
    return found


def rows_of(clean: Sequence[Figures], found: Sequence[Robust]) -> list[tuple[str, Figures]]:
    """What tables show: the clean pictures, each corruption, by the label set that decides (the last)."""
    return [("clean", clean[-1]), *((f"{one.corruption}, {one.strength}", one.figures[-1]) for one in found)]


def mean_of(found: Sequence[Robust]) -> float:
    """Mean accuracy over all corruptions and strengths, by the label set that decides; 0..1."""
    return float(np.mean([one.figures[-1].accuracy for one in found]))
