"""Brief movements of one face, as they are over: what moved, from when to when, how far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge.analysis.micro import bumps
from edge.analysis.micro.bumps import AROUND_S, LONGEST_S, Bump
from edge.analysis.micro.motion import FaceMotion, Moved
from edge.analysis.micro.regions import REGIONS
from edge.analysis.micro.texture import NEW, novelty
from edge.types import Floats, Image, Point

# All sizes are of the motion as it is measured: a region's mean, in eye distances, about half its center's.
LEAST = 0.0035  # that a region must go
MOST = 0.02  # that it may: a hand, a grimace
MEANWHILE = 0.025  # that it may go meanwhile in any way, and most of the face: a turn's end looks small
ALONE = 0.7  # of all that the region does around it
SPEECH_S = 0.5  # around a movement of the mouth: who speaks moves it again and again
LOOK_S = 0.25  # from one look at the signal to the next
# A longer movement that begins within this one, or with it, must be over before one of them is believed.
WAIT_S = LONGEST_S + max(AROUND_S, SPEECH_S)
GAP_S = 0.1  # without a picture: what came before is not continued

_MEMORY_S = WAIT_S + LONGEST_S + SPEECH_S + 2 * LOOK_S
_NAMES = tuple(REGIONS)
_MOUTH = frozenset({"mouth_left", "mouth_right", "chin"})
_MOUTHS = [number for number, name in enumerate(_NAMES) if name in _MOUTH]
_UPPER = [number for number in range(len(_NAMES)) if number not in _MOUTHS]
_BROWS = frozenset({"brow_left", "brow_right"})
_SPOKEN, _QUIET = 0.4, 0.004  # of a movement's size, and at least: what else a mouth does that does not speak
_VIVID = 0.6  # of a movement's size: what else brows and nose do in a face at rest
_DRAWN = 1.5  # times a nose's movement: a mouth's that moves the nose along
_BLINK_BROW = 0.0045  # that a brow may go with a blink
_BLINK = 6.0, 4.0  # gray levels, and times the usual, by which both eyes change
_BLINK_EDGE_S = 0.06
_BLINK_OVER_S = 0.2  # from lids that close to lids that open
_MOST_REGIONS = 4  # that move at once: then it was the head, or the picture
_ELSEWHERE = 0.3  # eye distances from where a detector has the eyes


class Spotted(NamedTuple):
    """A movement; times in the clock of the pictures, *amplitude* in eye distances."""

    region: str
    onset: float
    apex: float
    offset: float
    amplitude: float


class Spotter:
    """Watches one face from its *eyes* in the first picture on; give it every picture, in order."""

    def __init__(self, eyes: tuple[Point, Point]) -> None:
        self.blinks = 0  # since the start
        self._motion = FaceMotion(eyes)
        self._moved: deque[tuple[float, Moved]] = deque()
        self._looked = -math.inf
        self._until = -math.inf  # what began before it was reported, or is not to be
        self._blinks_until = -math.inf

    @property
    def eyes(self) -> tuple[Point, Point]:
        """Where the eyes are by now, in the picture's pixels."""
        return self._motion.aligned.eyes

    def elsewhere(self, eyes: tuple[Point, Point]) -> bool:
        """Whether the face is not where a detector has just seen its *eyes*."""
        here, there = np.array(self.eyes), np.array(eyes)
        apart = float(np.hypot(*(there[1] - there[0])))
        return bool(np.hypot(*(here - there).T).max() > _ELSEWHERE * apart)

    def step(self, image: Image, taken: float) -> list[Spotted] | None:
        """What is over, up to WAIT_S + LOOK_S later; None where the face was lost: use another Spotter."""
        moved = self._motion.step(image, taken)
        if moved is None:
            return None
        if self._moved and taken - self._moved[-1][0] > GAP_S:
            self._moved.clear()
        self._moved.append((taken, moved))
        while taken - self._moved[0][0] > _MEMORY_S:
            self._moved.popleft()
        if taken - self._looked < LOOK_S:
            return []
        return self._look(taken, taken - WAIT_S)

    def finish(self) -> list[Spotted]:
        """What is over when no picture follows; what was not seen to its end and SPEECH_S on is not."""
        return self._look(last := self._moved[-1][0], last - SPEECH_S) if self._moved else []

    def _look(self, now: float, before: float) -> list[Spotted]:
        self._looked = now
        if len(self._moved) < 3 or now - (begin := self._moved[0][0]) < LONGEST_S:
            return []
        times = np.array([taken for taken, _ in self._moved])
        blinks = find_blinks(times - begin, np.stack([moved.eyes for _, moved in self._moved]))
        self._count(blinks, begin, now)
        signal = bumps.evenly(times, np.stack([moved.regions for _, moved in self._moved]), begin, now)
        over = []
        for one in spot(signal, blinks):
            onset, apex, offset = (begin + at for at in one[1:4])
            # Judged only while its surroundings are remembered: without them a syllable looks alone.
            if onset >= max(self._until, begin + SPEECH_S) and offset <= before:
                over.append(Spotted(one.region, onset, apex, offset, one.amplitude))
        self._until = max([self._until, *(one.offset for one in over)])
        return [one for one in over if not self._is_touched(one)]

    def _is_touched(self, one: Spotted) -> bool:
        """Whether something came before the face around *one*, or went: anywhere, for it moves the skin and
        misleads what holds the face still."""
        pictures = [(taken, moved.crop) for taken, moved in self._moved]
        return float(novelty(pictures, one.onset, one.offset).max()) > NEW

    def _count(self, blinks: Sequence[tuple[float, float]], begin: float, now: float) -> None:
        for start, end in blinks:
            if begin + start > self._blinks_until and begin + end < now - _BLINK_OVER_S:
                self.blinks += 1
                self._blinks_until = begin + end


def spot(signal: Floats, blinks: Sequence[tuple[float, float]]) -> list[Spotted]:
    """The movements in *signal* (samples, regions, 2), in s from its start, as *blinks* are."""
    found = [
        (bump, name)
        for number, bump in bumps.find_bumps(signal, LEAST, ALONE)
        if not bumps.stays(bump, signal[:, number])
        and not _is_of_a_large_one(bump, number, signal)
        and _is_its_own(bump, name := _NAMES[number], signal)
        and not _is_of_a_blink(bump, name, blinks)
    ]
    kept: list[Spotted] = []  # of regions that moved at once, the one that moved most
    for bump, name in sorted(found, key=lambda it: -it[0].size * it[0].alone):
        together = [other for one, other in found if _shared(bump, one) > 0.5]
        overlaps = any(bump.onset < one.offset and one.onset < bump.offset for one in kept)
        if not overlaps and len(together) < _MOST_REGIONS:
            kept.append(Spotted(name, bump.onset, bump.apex, bump.offset, bump.size))
    return sorted(kept, key=lambda it: it.onset)


def find_blinks(times: np.ndarray, eyes: Floats) -> list[tuple[float, float]]:
    """When both *eyes* (pictures, 2) changed fast, first and last moment each."""
    least, usual = _BLINK
    both = eyes.min(1)
    spans: list[tuple[float, float]] = []
    for at in times[both > max(least, usual * float(np.median(both)))]:
        if spans and at - spans[-1][1] < _BLINK_OVER_S:
            spans[-1] = spans[-1][0], float(at)
        else:
            spans.append((float(at), float(at)))
    return [(start - _BLINK_EDGE_S, end + _BLINK_EDGE_S) for start, end in spans]


def _is_of_a_large_one(bump: Bump, number: int, signal: Floats) -> bool:
    """Whether its region goes further than any brief movement meanwhile, or most of the face does: a turn."""
    far = bumps.ways(bump, signal) > MEANWHILE
    return bool(far[number]) or int(far.sum()) >= _MOST_REGIONS


def _is_its_own(bump: Bump, name: str, signal: Floats) -> bool:
    """Whether it is small and alone: no syllable of the mouth's, not drawn along by one, no vivid talk."""
    if bump.size > MOST:
        return False
    if name in _MOUTH:
        return bumps.unrest(bump, signal[:, _MOUTHS], SPEECH_S) < max(_SPOKEN * bump.size, _QUIET)
    if bumps.unrest(bump, signal[:, _UPPER], SPEECH_S) > max(_VIVID * bump.size, _QUIET):
        return False
    return name != "nose" or bumps.excursion(bump, signal[:, _MOUTHS]) < _DRAWN * bump.size


def _is_of_a_blink(bump: Bump, name: str, blinks: Sequence[tuple[float, float]]) -> bool:
    meets = any(bump.onset < end and start < bump.offset for start, end in blinks)
    return name in _BROWS and meets and bump.size < _BLINK_BROW


def _shared(one: Bump, other: Bump) -> float:
    """Intersection over union of their times."""
    both = min(one.offset, other.offset) - max(one.onset, other.onset)
    return max(both, 0.0) / (max(one.offset, other.offset) - min(one.onset, other.onset))
