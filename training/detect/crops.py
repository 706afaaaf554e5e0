"""Augmented square crops of photos: a face of chosen size at a random place, mosaics of four, no face."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from quantize.figures.photos import Photo
from training.detect.recipe import DetectorRecipe
from training.detect.targets import targets

_VISIBLE = 0.55  # of a face's area; with less inside the crop it is ignored
_TINY = 10.0  # pixels; smaller faces in the crop are ignored, too
_UPON_PHOTO, _REPLICATED = 0.6, 0.9  # draws below: over another photo; above: its own edge replicated
_COVERED_BY_PHOTO = 0.7  # of the covered faces; the others with plain gray
_ENLARGED = 2.5  # maximum enlargement of a photo: beyond it, the network learns its pixels


class Crops:
    """Draws the batches of an epoch, deterministically from photos, recipe and epoch."""

    def __init__(self, photos: Sequence[Photo], recipe: DetectorRecipe) -> None:
        """Reads *photos* into memory once: 6,000 of 480 px take 1.2 GB."""
        self._recipe = recipe
        self._images = [photo.read() for photo in photos]
        self._photos = photos
        with_faces: dict[str, list[int]] = {}
        empty: dict[str, list[int]] = {}
        for i, photo in enumerate(photos):
            if len(photo.boxes):
                with_faces.setdefault(photo.source, []).append(i)
            elif not len(photo.ignore):
                empty.setdefault(photo.source, []).append(i)
        self._with_faces, self._face_chance = _pools(with_faces)
        self._empty, self._empty_chance = _pools(empty)

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of crops (b, side, side, 1) uint8 and targets (b, cells, 11) float32."""
        recipe = self._recipe
        for step in range(recipe.crops // recipe.batch):
            random = np.random.default_rng((recipe.seed, number, step))
            made = [self._crop(random) for _ in range(recipe.batch)]
            yield (
                np.stack([image for image, *_ in made])[..., None],
                np.stack([targets(boxes, eyes, ignore, recipe.side) for _, boxes, eyes, ignore in made]),
            )

    def _crop(self, random: np.random.Generator):
        recipe, side = self._recipe, self._recipe.side
        if random.random() < recipe.four:
            half = side // 2
            parts = [self._view(random, half, recipe.largest / 2.5) for _ in range(4)]
            image = np.empty((side, side), np.uint8)
            found: list[list[np.ndarray]] = [[], [], []]
            for k, (part, *rows) in enumerate(parts):
                y, x = k // 2 * half, k % 2 * half
                image[y : y + half, x : x + half] = part
                for kept, some in zip(found, rows, strict=True):
                    kept.append(some + np.array((x, y, 0, 0) if kept is not found[1] else (x, y, x, y)))
            boxes, eyes, ignore = (np.concatenate(some).astype(np.float32) for some in found)
        else:
            image, boxes, eyes, ignore = self._view(random, side, recipe.largest)
        if recipe.marks and random.random() < recipe.marks:
            _mark(image, boxes, random)
        for box in boxes if recipe.hidden else ():
            if random.random() < recipe.hidden:
                self._cover(image, box, random)
        return _lit(image, recipe, random), boxes, eyes, ignore

    def _cover(self, image: np.ndarray, box: np.ndarray, random: np.random.Generator) -> None:
        """Cover up to two fifths of *box* with a piece of a photo without a face, or plain gray."""
        width, height = np.maximum(3, box[2:] * random.uniform(0.25, 0.65, 2)).astype(int)
        x, y = (box[:2] + random.uniform(0, 1, 2) * (box[2:] - (width, height))).astype(int)
        left, top = max(0, x), max(0, y)
        right, bottom = min(image.shape[1], x + width), min(image.shape[0], y + height)
        if left >= right or top >= bottom:
            return
        if self._empty and random.random() < _COVERED_BY_PHOTO:
            photo = self._images[_draw(self._empty, self._empty_chance, random)]
            part = max(8, round(min(photo.shape) * random.uniform(0.1, 0.5)))
            v, u = (int(random.integers(0, sides - part + 1)) for sides in photo.shape)
            piece = cv2.resize(photo[v : v + part, u : u + part], (right - left, bottom - top))
            image[top:bottom, left:right] = piece
        else:
            image[top:bottom, left:right] = int(random.integers(0, 256))

    def _view(self, random: np.random.Generator, side: int, largest: float):
        """One photo through a window of *side* pixels."""
        recipe = self._recipe
        if self._empty and random.random() < recipe.empty:
            i = _draw(self._empty, self._empty_chance, random)
            photo, image = self._photos[i], self._images[i]
            scale, at = _anywhere(image, side, random)
        elif recipe.elsewhere and random.random() < recipe.elsewhere:
            i = _draw(self._with_faces, self._face_chance, random)
            photo, image = self._photos[i], self._images[i]
            scale, at = _anywhere(image, side, random)
        else:
            i = _draw(self._with_faces, self._face_chance, random)
            photo, image = self._photos[i], self._images[i]
            box = photo.boxes[random.integers(len(photo.boxes))]
            low, high = math.log(recipe.smallest), math.log(largest)
            middle = (low + high) / 2
            size = math.exp(random.uniform(low, middle if random.random() < recipe.small else high))
            scale = min(size / math.sqrt(box[2] * box[3]), _ENLARGED)
            at = box[:2] + box[2:] / 2
        # Where that point falls in the window: anywhere, even slightly beyond the edge.
        to = side * random.uniform(0.02, 0.98, 2)
        angle = math.radians(recipe.rotation * random.uniform(-1, 1))
        mirror = -1.0 if random.random() < 0.5 else 1.0
        if scale < 0.5:  # a bare warp would alias
            shrink = scale / 0.75
            size_ = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
            small = cv2.resize(image, size_, interpolation=cv2.INTER_AREA)
            before = np.array((small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]))
            image = small
        else:
            before = np.ones(2)
        wide = math.exp(random.uniform(-recipe.stretch, recipe.stretch) / 2) if recipe.stretch else 1.0
        scales = np.array((scale * wide, scale / wide))
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[mirror * cos, -sin], [mirror * sin, cos]]) * scales  # photo -> window
        shift = to - turn @ at
        # Pixel centres are half a pixel from their corners, in the photo and in the window.
        matrix = np.empty((2, 3))
        matrix[:, :2] = turn / before
        matrix[:, 2] = shift + turn @ (0.5 / before) - 0.5
        window, border = self._behind(random, side)
        window = cv2.warpAffine(image, matrix, (side, side), dst=window, borderMode=border)
        boxes, eyes = _moved(photo.boxes, turn, shift, scales), _moved_points(photo.eyes, turn, shift)
        if mirror < 0:
            eyes = eyes[:, [2, 3, 0, 1]]
        ignore = _moved(photo.ignore, turn, shift, scales)
        inside = np.clip(boxes[:, :2] + boxes[:, 2:], 0, side) - np.clip(boxes[:, :2], 0, side)
        visible = inside.prod(1) / boxes[:, 2:].prod(1)
        good = (visible >= _VISIBLE) & (np.sqrt(boxes[:, 2:].prod(1)) >= _TINY)
        dim = ~good & (visible > 0)
        return window, boxes[good], eyes[good], np.concatenate([ignore, boxes[dim]])

    def _behind(self, random: np.random.Generator, side: int) -> tuple[np.ndarray, int]:
        """Background of a photo and its cv2 border mode: a photo without a face, gray, or its own edge."""
        drawn = random.random()
        if self._empty and drawn < _UPON_PHOTO:
            image = self._images[_draw(self._empty, self._empty_chance, random)]
            part = max(8, round(min(image.shape) * random.uniform(0.3, 1.0)))
            y, x = (int(random.integers(0, sides - part + 1)) for sides in image.shape)
            behind = cv2.resize(image[y : y + part, x : x + part], (side, side))
            return behind, cv2.BORDER_TRANSPARENT
        gray = int(random.integers(0, 256)) if random.random() < 0.5 else 0
        behind = np.full((side, side), gray, np.uint8)
        return behind, cv2.BORDER_REPLICATE if drawn > _REPLICATED else cv2.BORDER_TRANSPARENT


def _mark(image: np.ndarray, boxes: np.ndarray, random: np.random.Generator) -> None:
    """Draw up to four signs into *image* outside *boxes*: round shapes with a dark centre."""
    side = image.shape[0]
    for _ in range(random.integers(1, 5)):
        size = math.exp(random.uniform(math.log(10.0), math.log(0.5 * side)))
        x, y = random.uniform(0, side, 2)
        away = np.abs(boxes[:, :2] + boxes[:, 2:] / 2 - (x, y)) > (boxes[:, 2:] + size) / 2
        if len(boxes) and not away.any(1).all():
            continue
        gray, thick = int(random.integers(0, 256)), max(1, round(size * random.uniform(0.03, 0.15)))
        kind = random.integers(4)
        if kind == 0:
            text = "".join(chr(random.integers(33, 127)) for _ in range(random.integers(1, 8)))
            font = int(random.choice((0, 2, 3, 4, 6, 7)))
            cv2.putText(image, text, (int(x - size), int(y)), font, size / 30, gray, thick, cv2.LINE_AA)
        elif kind == 1:
            angles = np.linspace(0, random.uniform(2, 7) * math.pi, 60) + random.uniform(0, 2 * math.pi)
            radii = np.linspace(0, size / 2, 60)
            points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1)
            cv2.polylines(image, [points.astype(np.int32)], False, gray, thick, cv2.LINE_AA)
        else:
            axes = np.maximum(1, size / 2 * random.uniform(0.6, 1.0, 2)).astype(int)
            cv2.ellipse(
                image, (int(x), int(y)), axes, 0, 0, 360, gray, -1 if kind == 2 else thick, cv2.LINE_AA
            )
            for _ in range(random.integers(0, 4)):  # which a weak network takes for eyes and a mouth
                u, v = (np.array((x, y)) + random.uniform(-0.35, 0.35, 2) * size).astype(int)
                dot = max(1, round(size * random.uniform(0.04, 0.12)))
                cv2.circle(image, (int(u), int(v)), dot, int(random.integers(0, 256)), -1, cv2.LINE_AA)


def _pools(by_source: dict[str, list[int]]) -> tuple[list[list[int]], np.ndarray]:
    """Photos by source, and each source's probability: the root of its size, so small ones count."""
    pools = list(by_source.values())
    chance = np.sqrt([len(pool) for pool in pools])
    return pools, chance / chance.sum() if len(pools) else chance


def _draw(pools: list[list[int]], chance: np.ndarray, random: np.random.Generator) -> int:
    pool = pools[random.choice(len(pools), p=chance)]
    return pool[random.integers(len(pool))]


def _anywhere(image: np.ndarray, side: int, random: np.random.Generator) -> tuple[float, np.ndarray]:
    """A scale at which *image* is half to two and a half times the window of *side*, and a point in it."""
    scale = side / max(image.shape) * math.exp(random.uniform(math.log(0.5), math.log(2.5)))
    return scale, random.random(2) * image.shape[::-1]


def _moved(boxes: np.ndarray, turn: np.ndarray, shift: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """*boxes* with centres moved and sides scaled; they stay upright under rotation."""
    middles = (boxes[:, :2] + boxes[:, 2:] / 2) @ turn.T + shift
    sides = boxes[:, 2:] * scales
    return np.concatenate([middles - sides / 2, sides], 1).astype(np.float32)


def _moved_points(points: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> np.ndarray:
    return (points.reshape(-1, 2) @ turn.T + shift).reshape(-1, 4).astype(np.float32)


def _lit(image: np.ndarray, recipe: DetectorRecipe, random: np.random.Generator) -> np.ndarray:
    """*image* with other light, focus and sensor noise."""
    if recipe.coarse and random.random() < recipe.coarse:
        side = image.shape[0]
        fewer = max(16, round(side / random.uniform(1.2, 2.2)))
        small = cv2.resize(image, (fewer, fewer), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    if random.random() < recipe.blur:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.6))
    dark = random.random() < recipe.dark
    gamma = random.uniform(1.2, 3.0) if dark else math.exp(random.uniform(-0.35, 0.35))
    gain, offset = random.uniform(0.7, 1.3), random.uniform(-25, 25)
    levels = 255 * (np.arange(256) / 255) ** gamma
    levels = (levels - 128) * gain + 128 + offset * (0.3 if dark else 1.0)
    image = cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8))
    noise = random.uniform(0, 12) if dark else random.uniform(0, 6) if random.random() < 0.3 else 0.0
    if noise:
        grain = cv2.randn(np.empty(image.shape, np.int16), 0, noise)
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    return image
