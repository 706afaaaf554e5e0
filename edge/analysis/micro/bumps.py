"""Brief there-and-back in a signal, found by its shape: where it began, was furthest and ended.

A signal has one pair of (x, y) a region, STEP_S apart. What the head's own motion leaves in it is slow: a
polynomial of third degree takes it away.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from edge.types import Floats

STEP_S = 0.01  # between samples
SHORTEST_S, LONGEST_S = 0.08, 0.5
AROUND_S = 0.2  # before and after it the region does nothing like it

_LENGTHS = 9
_APEXES = 0.35, 0.5, 0.6  # of the length
_DEGREE = 3
_RAMPS_S = 0.1, 0.18, 0.3, 0.45, 0.65, 0.9, 1.2  # how long a way takes that is not gone back
_RANGE = 3.5  # from a slope's standard deviation to its ends' distance
_OF_SWING = 0.12  # of what goes on slowly meanwhile: a head that begins or ends a turn
_SOFT_S = 0.05  # at a bump's ends that may be taken for what is beyond it
_SMOOTH_S = 0.012  # standard deviation of a sample's surroundings


class Bump(NamedTuple):
    """Times in s of the signal; *size* in its unit; *alone*: its share of all that moved then."""

    onset: float
    apex: float
    offset: float
    size: float
    alone: float


class _Length(NamedTuple):
    """All shapes that take one time; in samples from their window's begin."""

    onset: int
    offset: int
    apexes: tuple[int, ...]
    gains: Floats  # (apexes,): what a bump of size 1 gives
    columns: Floats  # (samples, apexes + 1 + _DEGREE): shapes, each of length 1, then what is slow


@cache
def _lengths() -> tuple[_Length, ...]:
    made = []
    around = round(AROUND_S / STEP_S)
    for length in np.geomspace(SHORTEST_S, LONGEST_S, _LENGTHS) / STEP_S:
        count = round(length) + 2 * around + 1
        slow = _slow(count)
        shapes = [_shape(np.arange(count) - around, 0.0, share * length, length, slow) for share in _APEXES]
        gains = np.array([np.linalg.norm(shape) for shape in shapes], np.float32)
        units = np.stack(shapes, 1) / gains
        apexes = tuple(around + round(share * length) for share in _APEXES)
        columns = np.concatenate([units, slow], 1).astype(np.float32)
        made.append(_Length(around, around + round(length), apexes, gains, columns))
    return tuple(made)


@cache
def _slow(count: int) -> Floats:
    """(count, 1 + _DEGREE), orthonormal: what the head's own motion looks like within so many samples."""
    powers = np.linspace(-1, 1, count)[:, None] ** np.arange(1 + _DEGREE)
    return np.asarray(np.linalg.qr(powers)[0], np.float32)


def _shape(at: np.ndarray, onset: float, apex: float, offset: float, slow: Floats) -> np.ndarray:
    """A bump of size 1 at the times *at*, without what is slow."""
    share = np.interp(at, (onset, apex, offset), (0, 1, 0), 0, 0)
    shape = share * share * (3 - 2 * share)
    return np.asarray(shape - slow @ (slow.T @ shape))


def find_bumps(signal: Floats, least: float, alone: float) -> list[tuple[int, Bump]]:
    """(region, bump) for the bumps in *signal* (samples, regions, 2) that go *least* far or more, by time.

    *alone*: the least share of what the region does around it that it must explain. Of a region's overlapping
    bumps, the one that explains most.
    """
    found: list[tuple[float, int, Bump]] = []
    for length in _lengths():
        count, shapes = len(length.columns), len(length.apexes)
        if len(signal) < count:
            continue
        # (places, regions, 2, count), copied: with a view there is no fast product.
        windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(signal, count, axis=0))
        parts = (windows.reshape(-1, count) @ length.columns).reshape(*windows.shape[:3], -1) ** 2
        slow = parts[..., shapes:].sum(2)
        total = np.maximum(np.einsum("prxc,prxc->pr", windows, windows) - slow.sum(2), 1e-12)
        swing = _RANGE * np.sqrt(slow[..., 1:].sum(2) / count)
        explained = parts[..., :shapes].sum(2)  # (places, regions, shapes)
        share = explained / total[..., None]
        sizes = np.sqrt(explained) / length.gains
        hits = (sizes >= least + _OF_SWING * swing[..., None]) & (share >= alone)
        for place, region, which in np.argwhere(hits):
            on, apex, off = (
                (place + part) * STEP_S for part in (length.onset, length.apexes[which], length.offset)
            )
            at = place, region, which
            bump = Bump(float(on), float(apex), float(off), float(sizes[at]), float(share[at]))
            found.append((float(share[at] * explained[at]), int(region), bump))
    return _strongest(found)


def _strongest(found: list[tuple[float, int, Bump]]) -> list[tuple[int, Bump]]:
    kept: list[tuple[int, Bump]] = []
    for _, region, bump in sorted(found, reverse=True):
        if all(
            one != region or bump.offset < other.onset or other.offset < bump.onset for one, other in kept
        ):
            kept.append((region, bump))
    return sorted(kept, key=lambda it: it[1])


def stays(bump: Bump, signal: Floats) -> bool:
    """Whether *signal* (samples, 2) around *bump* is better explained by a move that stays."""
    at, parts = _around(bump, signal, AROUND_S)
    residual = _left(_shape(at, bump.onset, bump.apex, bump.offset, _slow(len(at))), parts)
    whole = signal[round(at[0] / STEP_S) :][: len(at)].reshape(len(at), -1)
    line = _slow(len(at))[:, :2]  # mean and slope
    ramps = _ramps(len(at)) - line @ (line.T @ _ramps(len(at)))
    left = whole - line @ (line.T @ whole)
    return bool(min(_left(ramp, left) for ramp in ramps.T) < residual)


def _left(shape: np.ndarray, parts: np.ndarray) -> float:
    """What *shape* does not explain of *parts* (samples, signals), as a sum of squares."""
    return float((parts**2).sum() - ((shape @ parts) ** 2).sum() / max(float(shape @ shape), 1e-12))


@cache
def _ramps(count: int) -> Floats:
    """(count, ramps): 0, then smoothly to 1, at different times and speeds."""
    at, ramps = np.arange(count) * STEP_S, []
    for length in _RAMPS_S:
        for start in np.arange(-0.8 * length, at[-1], 0.04):
            share = np.clip((at - start) / length, 0, 1)
            if np.ptp(share) > 0.5:
                ramps.append(share * share * (3 - 2 * share))
    return np.stack(ramps, 1).astype(np.float32)


def unrest(bump: Bump, signal: Floats, around_s: float) -> float:
    """How far *signal* (samples, regions, 2) goes around *bump*, except it and what is slow; furthest."""
    at, parts = _around(bump, signal, around_s)
    shape = _shape(at, bump.onset, bump.apex, bump.offset, _slow(len(at)))
    shape /= np.linalg.norm(shape)
    outside = (at < bump.onset - _SOFT_S) | (at > bump.offset + _SOFT_S)
    return _furthest((parts - shape[:, None] * (shape @ parts))[outside])


def excursion(bump: Bump, signal: Floats) -> float:
    """How far *signal* (samples, regions, 2) goes during *bump*, but for what is slow; the furthest."""
    at, parts = _around(bump, signal, AROUND_S)
    return _furthest(parts[(at >= bump.onset) & (at <= bump.offset)])


def ways(bump: Bump, signal: Floats) -> Floats:
    """(regions,): how far each of *signal* (samples, regions, 2) goes around *bump*, slow or not."""
    first, last = _span(bump, signal, AROUND_S)
    return np.asarray(np.hypot(*np.ptp(signal[first:last], axis=0).T), np.float32)


def _span(bump: Bump, signal: Floats, around_s: float) -> tuple[int, int]:
    """(first sample, one after the last) from *around_s* before *bump* to so long after it."""
    first = max(round((bump.onset - around_s) / STEP_S), 0)
    return first, min(round((bump.offset + around_s) / STEP_S) + 1, len(signal))


def _around(bump: Bump, signal: Floats, around_s: float) -> tuple[np.ndarray, Floats]:
    """(times, *signal* flat and without what is slow) from *around_s* before *bump* to so long after it."""
    first, last = _span(bump, signal, around_s)
    slow = _slow(last - first)
    parts = signal[first:last].reshape(last - first, -1)
    return np.arange(first, last) * STEP_S, parts - slow @ (slow.T @ parts)


def _furthest(parts: np.ndarray) -> float:
    if not len(parts):
        return 0.0
    return float(np.hypot(*np.ptp(parts.reshape(len(parts), -1, 2), axis=0).T).max())


def evenly(times: np.ndarray, values: Floats, begin: float, end: float) -> Floats:
    """*values* (pictures, …) at *times* as samples STEP_S apart, each the mean of its surroundings."""
    at = np.arange(begin, end, STEP_S)
    sigma = max(_SMOOTH_S, 0.5 * float(np.median(np.diff(times))))
    weights = np.exp(-0.5 * ((at[:, None] - times[None]) / sigma) ** 2)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-9)
    flat = values.reshape(len(values), -1)
    return np.asarray((weights @ flat).reshape(len(at), *values.shape[1:]), np.float32)
