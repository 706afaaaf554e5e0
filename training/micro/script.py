"""The script of a synthetic clip: movements (the ground truth) and nuisances."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from edge.analysis.micro.regions import REGIONS

BRIEF_S = 0.08, 0.5  # onset to offset
AMPLITUDE = 0.005, 0.03  # of the eye distance, at a region's centre
EYE_DISTANCE = 60.0, 160.0  # pixels
MOUTH = frozenset({"mouth_left", "mouth_right", "chin"})  # also moved by speech
TOUCH_S = 0.3  # how long an object takes to come, and to go
HALF_WIDTH = 0.02, 0.4  # of an object before the face, in eye distances: a hair to a hand
AFAR = 1.5  # eye distances from where it is then to where it was
APART_S = 0.45  # minimum gap between speech and a movement of MOUTH, and between two movements

# Directions (x, y) of a region's movements; right regions mirror left ones.
_WAYS = {
    "brow_left": ((0, -1), (0, 1), (0.7, 0.7)),
    "nose": ((0, -1),),
    "mouth_left": ((-0.7, -0.7), (-0.3, 0.95), (-1, 0)),
    "chin": ((0, -1),),
}


@dataclass(frozen=True, slots=True)
class Movement:
    """A region's centre moves *amplitude* eye distances along *way* and back; times in s."""

    region: str
    onset: float
    apex: float
    offset: float
    amplitude: float
    way: tuple[float, float]

    def size(self, at: float) -> float:
        """Displacement at *at* s, 0..1 of the amplitude."""
        if not self.onset < at < self.offset:
            return 0.0
        if at <= self.apex:
            return ease((at - self.onset) / (self.apex - self.onset))
        return ease((self.offset - at) / (self.offset - self.apex))


@dataclass(frozen=True, slots=True)
class Span:
    """A blink, a head turn or speech; *size* in the respective unit."""

    start: float
    end: float
    size: float


@dataclass(frozen=True, slots=True)
class Touch:
    """A finger, a strand of hair, a mug: a bar with a round tip that comes over a region and goes.

    It enters from *way* (x, y), reaches *past* eye distances beyond the region's centre and pulls the skin
    along: *pull*, which is no movement of the face. *half_width* in eye distances, *level* in gray levels.
    """

    start: float
    end: float
    half_width: float
    level: float
    way: tuple[float, float]
    past: float
    pull: Movement

    def tip(self, at: float) -> tuple[float, float]:
        """(x, y) of the tip in face coordinates at *at* s."""
        region, pulled = REGIONS[self.pull.region], self.pull.size(at) * self.pull.amplitude
        near = min(ease((at - self.start) / TOUCH_S), ease((self.end - at) / TOUCH_S))
        away = AFAR * (1 - near) - self.past
        return (
            region.x + away * self.way[0] + pulled * self.pull.way[0],
            region.y + away * self.way[1] + pulled * self.pull.way[1],
        )


@dataclass(frozen=True, slots=True)
class Script:
    """A clip. Motion in eye distances, angles in radians, light as a fraction, noise in gray levels."""

    seed: int
    seconds: float
    eye_distance: float
    movements: tuple[Movement, ...]
    blinks: tuple[Span, ...] = ()
    speech: tuple[Span, ...] = ()
    turns: tuple[Span, ...] = ()  # sideways
    nods: tuple[Span, ...] = ()
    drift: float = 0.0
    flicker: float = 0.0
    noise: float = 0.0
    touches: tuple[Touch, ...] = ()

    def truth(self) -> dict[str, Any]:
        """The clip's ground truth, for JSON."""
        return asdict(self)


def ease(share: float) -> float:
    """Smooth step from 0..1 to 0..1."""
    share = min(max(share, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def write_script(
    seed: int,
    *,
    seconds: float = 4.0,
    moving: bool = True,
    amplitude: tuple[float, float] = AMPLITUDE,
    nuisances: bool = True,
    region: str | None = None,
) -> Script:
    """The clip of *seed*: no, one or two movements of *amplitude* (min, max) eye distances.

    With *nuisances* all at once: drift, turns, nods, blinks, speech, flicker, noise; without, only a little
    noise.
    """
    rng = np.random.default_rng((seed, 2))
    distance = float(rng.uniform(*EYE_DISTANCE))
    speech = blinks = turns = nods = ()
    if nuisances:
        speech = _spans(rng, seconds, rng.integers(0, 2), (0.7, 1.6), (0.01, 0.04))
        blinks = _spans(rng, seconds, rng.integers(0, 3), (0.12, 0.35), (0.8, 1.0))
        turns = _spans(rng, seconds, rng.integers(0, 2), (0.5, 1.2), (0.03, 0.15), signed=True)
        nods = _spans(rng, seconds, rng.integers(0, 2), (0.5, 1.2), (0.02, 0.08), signed=True)
    movements: list[Movement] = []
    for _ in range(int(rng.integers(1, 3)) if moving else 0):
        movement = _movement(rng, seconds, amplitude, region)
        if all(_fits(movement, other) for other in movements) and _is_seen(movement, speech):
            movements.append(movement)
    while moving and not movements:
        movement = _movement(rng, seconds, amplitude, region)
        if _is_seen(movement, speech):
            movements.append(movement)
    return Script(
        seed, seconds, distance, tuple(sorted(movements, key=lambda it: it.onset)),
        blinks, speech, turns, nods,
        drift=float(rng.uniform(0.01, 0.05)) if nuisances else 0.0,
        flicker=float(rng.uniform(0.0, 0.03)) if nuisances else 0.0,
        noise=float(rng.uniform(1.0, 2.5)) if nuisances else 0.5,
    )  # fmt: skip


def with_touches(script: Script) -> Script:
    """*script* without movements, but with one or two objects before the face, half of which pull at it."""
    rng = np.random.default_rng((script.seed, 6))
    touches = []
    for _ in range(int(rng.integers(1, 3))):
        pull = _movement(rng, script.seconds, (0.01, 0.03), None)
        if rng.random() < 0.5:
            pull = replace(pull, amplitude=0.0)
        before, after = (float(rng.uniform(0.0, 0.3)) for _ in range(2))
        angle, wide = rng.uniform(0, 2 * math.pi), math.exp(rng.uniform(*np.log(HALF_WIDTH)))
        touches.append(Touch(
            pull.onset - TOUCH_S - before, pull.offset + TOUCH_S + after, wide, float(rng.uniform(20, 220)),
            (math.cos(angle), math.sin(angle)), float(rng.uniform(-0.2, 0.2)), pull,
        ))  # fmt: skip
    return replace(script, movements=(), touches=tuple(touches))


def _movement(
    rng: np.random.Generator, seconds: float, amplitude: tuple[float, float], region: str | None
) -> Movement:
    name = region or str(rng.choice(list(REGIONS)))
    length = float(math.exp(rng.uniform(*np.log(BRIEF_S))))
    onset = float(rng.uniform(0.7, seconds - 0.7 - length))
    apex = onset + length * float(rng.uniform(0.3, 0.6))
    left = name.replace("right", "left")
    x, y = _WAYS[left][int(rng.integers(len(_WAYS[left])))]
    size = float(math.exp(rng.uniform(*np.log(amplitude))))
    return Movement(name, onset, apex, onset + length, size, (-x if name.endswith("right") else x, y))


def _is_seen(movement: Movement, speech: tuple[Span, ...]) -> bool:
    """Whether *movement* is distinct from *speech*, which moves the mouth much more, repeatedly."""
    return movement.region not in MOUTH or all(
        movement.offset + APART_S < span.start or span.end + APART_S < movement.onset for span in speech
    )


def _fits(movement: Movement, other: Movement) -> bool:
    return movement.offset + APART_S < other.onset or other.offset + APART_S < movement.onset


def _spans(
    rng: np.random.Generator,
    seconds: float,
    count: int,
    lengths: tuple[float, float],
    sizes: tuple[float, float],
    *,
    signed: bool = False,
) -> tuple[Span, ...]:
    spans = []
    for _ in range(count):
        length, size = float(rng.uniform(*lengths)), float(rng.uniform(*sizes))
        start = float(rng.uniform(0.0, max(seconds - length, 0.01)))
        spans.append(Span(start, start + length, size * (float(rng.choice((-1, 1))) if signed else 1.0)))
    return tuple(sorted(spans, key=lambda it: it.start))
