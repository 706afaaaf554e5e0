"""Renders a script: a face moved by a mesh, closing lids, flickering light, sensor noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from edge.analysis.micro.regions import REGIONS
from edge.types import Image, Point
from training.micro.faces import SIDE, UNIT, Person
from training.micro.script import Script, Span, Touch, ease

WIDE, HIGH = 3.2, 3.6  # size of a picture in eye distances
MIDDLE = 0.5, 0.42  # the eyes' midpoint, in fractions of the picture
REACH = 0.2  # eye distances: standard deviation of a movement around a region's centre

_NODES = 49  # mesh nodes per side
_FIELD = 2.0  # eye distances from the midpoint to the mesh's edge
_MAINS_HZ = 100.0  # flicker of lamps on 50 Hz mains
_READOUT_S = 0.008  # a rolling shutter's first row to its last
_NOISES = 8
_WRINKLES, _ROUND = 12.0, 0.35  # gray levels across a finger; how much darker its edge is


class Renderer:
    """Gray pictures of *person* acting *script*; each depends only on its time."""

    def __init__(self, person: Person, script: Script) -> None:
        self.script = script
        rng = np.random.default_rng((script.seed, 3))
        # Not much larger than rendered, or fine detail aliases.
        self._unit = min(float(UNIT), 1.25 * script.eye_distance)
        side = round(SIDE * self._unit / UNIT)
        self._canvas = cv2.resize(person.canvas, (side, side), interpolation=cv2.INTER_AREA).astype(
            np.float32
        )
        self._closed = _without_eyes(self._canvas, self._unit)
        self.size = round(WIDE * script.eye_distance), round(HIGH * script.eye_distance)
        self._phases = rng.uniform(0, 2 * math.pi, 12)
        self._speeds = rng.uniform(0.08, 0.45, 12) * 2 * math.pi
        self._syllables = rng.uniform(3, 6), rng.uniform(1.5, 2.5)
        noise = rng.standard_normal((_NOISES, self.size[1] + 32, self.size[0] + 32)).astype(np.float32)
        self._noise = noise * script.noise
        self._draw = rng
        axis = np.linspace(-_FIELD, _FIELD, _NODES, dtype=np.float32)
        self._x, self._y = np.meshgrid(axis, axis)
        self._depth = np.sqrt(np.clip(1.3**2 - self._x**2 - (0.8 * (self._y - 0.4)) ** 2, 0, None))
        self._depth += 0.35 * np.exp(-((self._x / 0.16) ** 2) - ((self._y - 0.55) / 0.3) ** 2)  # a nose

    def frames(self, fps: float) -> Iterator[tuple[float, Image]]:
        """(seconds, picture) at *fps*."""
        for number in range(round(self.script.seconds * fps)):
            yield number / fps, self.frame(number / fps)

    def frame(self, at: float) -> Image:
        """The picture at *at* s, (height, width) uint8."""
        matrix = self._pose(at)
        inverse = cv2.invertAffineTransform(matrix)
        width, height = self.size
        # Mesh nodes are in picture coordinates; each looks up where its part of the face came from.
        u = (np.arange(_NODES, dtype=np.float32) + 0.5) * width / _NODES - 0.5
        v = (np.arange(_NODES, dtype=np.float32) + 0.5) * height / _NODES - 0.5
        x = inverse[0, 0] * u[None] + inverse[0, 1] * v[:, None] + inverse[0, 2]
        y = inverse[1, 0] * u[None] + inverse[1, 1] * v[:, None] + inverse[1, 2]
        moved = self._moved(at)
        step = (_NODES - 1) / (2 * _FIELD)
        shift = cv2.remap(
            moved, ((x + _FIELD) * step).astype(np.float32), ((y + _FIELD) * step).astype(np.float32),
            cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        where = (
            np.dstack([x - shift[..., 0], y - shift[..., 1]]) * self._unit + self._canvas.shape[0] / 2 - 0.5
        )
        full = cv2.resize(where.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        face = cv2.remap(self._lids(at), full, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        for touch in self.script.touches:
            if touch.start < at < touch.end:
                self._cover(face, touch, at)
        return self._sensed(face, at)

    def eyes(self, at: float) -> tuple[Point, Point]:
        """The eyes' positions in pixels at *at* s, ignoring head turns."""
        matrix = self._pose(at)
        left, right = matrix @ [-0.5, 0, 1], matrix @ [0.5, 0, 1]
        return (float(left[0]), float(left[1])), (float(right[0]), float(right[1]))

    def _pose(self, at: float) -> np.ndarray:
        """(2, 3): the map from face coordinates to pixels."""
        script, sway = self.script, np.sin(self._speeds * at + self._phases)
        scale = script.eye_distance * (1 + 0.3 * script.drift * sway[0])
        angle = 0.6 * script.drift * (sway[1] + 0.5 * sway[2])
        x = script.drift * script.eye_distance * (sway[3] + 0.6 * sway[4])
        y = script.drift * script.eye_distance * (sway[5] + 0.6 * sway[6])
        c, s = scale * math.cos(angle), scale * math.sin(angle)
        return np.array([
            [c, -s, MIDDLE[0] * self.size[0] + x],
            [s, c, MIDDLE[1] * self.size[1] + y],
        ])  # fmt: skip

    def _moved(self, at: float) -> np.ndarray:
        """(_NODES, _NODES, 2): displacement of the face at each node, in eye distances."""
        script = self.script
        moved = np.zeros((_NODES, _NODES, 2), np.float32)
        for movement in (*script.movements, *(touch.pull for touch in script.touches)):
            if size := movement.size(at) * movement.amplitude:
                region = REGIONS[movement.region]
                near = np.exp(
                    -(((self._x - region.x) / REACH) ** 2 + ((self._y - region.y) / REACH) ** 2) / 2
                )
                moved += near[..., None] * size * np.asarray(movement.way, np.float32)
        yaw = _turned(script.turns, at) + script.drift * float(np.sin(self._speeds[7] * at + self._phases[7]))
        pitch = _turned(script.nods, at) + script.drift * float(
            np.sin(self._speeds[8] * at + self._phases[8])
        )
        moved[..., 0] += self._depth * math.sin(yaw) + self._x * (math.cos(yaw) - 1)
        moved[..., 1] += self._depth * math.sin(pitch) + self._y * (math.cos(pitch) - 1)
        jaw = sum(self._spoken(span, at) for span in script.speech)
        if jaw:
            below = 1 / (1 + np.exp(-(self._y - 1.22) / 0.05)) * np.exp(-((self._x / 0.6) ** 2))
            corners = np.exp(-(((np.abs(self._x) - 0.38) / 0.15) ** 2) - ((self._y - 1.2) / 0.15) ** 2)
            moved[..., 1] += below * jaw
            moved[..., 0] -= 0.4 * corners * np.sign(self._x) * jaw
        lids = sum(_closed(blink, at) for blink in script.blinks)
        if lids:  # closing eyes pull the skin around them
            near = np.exp(-(((np.abs(self._x) - 0.5) / 0.25) ** 2) - ((self._y + 0.15) / 0.12) ** 2)
            moved[..., 1] += 0.006 * lids * near
        return moved

    def _spoken(self, span: Span, at: float) -> float:
        if not span.start < at < span.end:
            return 0.0
        since, fast, slow = at - span.start, *self._syllables
        voice = 0.6 + 0.4 * math.sin(2 * math.pi * slow * since + self._phases[9])
        edge = ease(since / 0.1) * ease((span.end - at) / 0.1)
        return span.size * edge * voice * (0.5 - 0.5 * math.cos(2 * math.pi * fast * since))

    def _lids(self, at: float) -> np.ndarray:
        closed = max((_closed(blink, at) for blink in self.script.blinks), default=0.0)
        if not closed:
            return self._canvas
        canvas, unit, middle = self._canvas.copy(), self._unit, self._canvas.shape[0] / 2
        for side in (-0.5, 0.5):
            top, bottom = round(middle - 0.2 * unit), round(middle + 0.2 * unit)
            left, right = round(middle + (side - 0.28) * unit), round(middle + (side + 0.28) * unit)
            y = (np.arange(top, bottom)[:, None] - middle) / unit
            x = (np.arange(left, right)[None] - middle) / unit - side
            edge = -0.13 + 0.24 * closed * np.clip(1 - (x / 0.26) ** 2, 0, 1)
            over = np.clip((edge - y) * unit, 0, 1).astype(np.float32)
            lash = 70 * np.exp(-(((y - edge) / 0.02) ** 2)) * (np.abs(x) < 0.24) * min(1.0, 2 * closed)
            part = canvas[top:bottom, left:right]
            lid = self._closed[top:bottom, left:right]
            part[:] = part * (1 - over) + lid * over - lash
        return canvas

    def _cover(self, face: np.ndarray, touch: Touch, at: float) -> None:
        """Draw *touch* over *face*; a hand does not follow the head."""
        inverse = cv2.invertAffineTransform(self._pose(touch.start))
        v, u = np.mgrid[0 : self.size[1], 0 : self.size[0]].astype(np.float32)
        tip = touch.tip(at)
        x, y = (inverse[i, 0] * u + inverse[i, 1] * v + inverse[i, 2] - tip[i] for i in (0, 1))
        along, across = x * touch.way[0] + y * touch.way[1], y * touch.way[0] - x * touch.way[1]
        off = np.hypot(np.minimum(along, 0), across) / touch.half_width  # 0 at its middle, 1 at its edge
        cover = np.clip((1 - off) * touch.half_width * self.script.eye_distance + 0.5, 0, 1)
        wrinkles = _WRINKLES * np.sin(along * (9 + 4 * np.sin(5 * along)))
        face += cover * ((touch.level + wrinkles) * (1 - _ROUND * np.minimum(off, 1) ** 2) - face)

    def _sensed(self, face: np.ndarray, at: float) -> Image:
        script, height = self.script, self.size[1]
        rows = at + np.arange(height, dtype=np.float32) / height * _READOUT_S
        light = 1 + script.flicker * np.sin(2 * math.pi * _MAINS_HZ * rows + self._phases[10])
        light += script.flicker * math.sin(self._speeds[11] * at + self._phases[11])
        # Seeded by time only, so that a picture does not depend on earlier ones.
        draw = np.random.default_rng((script.seed, 4, round(at * 1e6)))
        which, dy, dx = int(draw.integers(_NOISES)), *draw.integers(0, 32, 2)
        noise = self._noise[which, dy : dy + height, dx : dx + self.size[0]]
        return np.clip(np.rint(face * light[:, None].astype(np.float32) + noise), 0, 255).astype(np.uint8)


def _turned(spans: tuple[Span, ...], at: float) -> float:
    return sum(span.size * ease((at - span.start) / (span.end - span.start)) for span in spans)


def _closed(blink: Span, at: float) -> float:
    """How far the lids are closed, 0..1: they close faster than they open."""
    share = (at - blink.start) / (blink.end - blink.start)
    if not 0 < share < 1:
        return 0.0
    return blink.size * (ease(share / 0.35) if share < 0.35 else ease((1 - share) / 0.65))


def _without_eyes(canvas: np.ndarray, unit: float) -> np.ndarray:
    """*canvas* with the eyes replaced by smoothed surrounding skin."""
    middle = canvas.shape[0] / 2
    mask = np.zeros(canvas.shape, np.uint8)
    for side in (-0.5, 0.5):
        cv2.ellipse(
            mask, (round(middle + side * unit), round(middle)), (round(0.25 * unit), round(0.14 * unit)),
            0, 0, 360, 255, -1,
        )  # fmt: skip
    plain = cv2.inpaint(np.clip(canvas, 0, 255).astype(np.uint8), mask, 3, cv2.INPAINT_TELEA)
    return plain.astype(np.float32)
