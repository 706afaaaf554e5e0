"""From noisy per-frame scores to what is reported: pure functions over one track.

A raw label flips many times a minute. Scores are averaged per track over *blend_s*, a label is left only for
one that leads by *margin* (hysteresis), and a new label must last *hold_s* (dwell) before it is reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge.types import LABELS, NONE, UNCERTAIN, Event, Track


@dataclass(frozen=True, slots=True)
class Rules:
    """When a label is reported: the [report] table of the configuration."""

    min_confidence: float = 0.5  # probability below which a label is not reported
    margin: float = 0.08  # probability by which a new label must lead the reported one
    hold_s: float = 0.6  # s that a new label must last
    appear_s: float = 0.3  # s that a face must have been seen, so that one false detection reports nothing
    blend_s: float = 0.5  # s, time constant of the exponential average


def blend(
    track: Track, scores: Sequence[float], elapsed: float, rules: Rules, labels: tuple[str, ...] = LABELS
) -> Track:
    """*track* with *scores* (probabilities in *labels*' order) averaged in, *elapsed* s after the last."""
    if not track.scores or track.labels != labels:  # the model was changed
        return replace(track, labels=labels, scores=tuple(float(score) for score in scores))
    weight = 1 - math.exp(-max(elapsed, 0.0) / rules.blend_s) if rules.blend_s > 0 else 1.0
    return replace(
        track,
        scores=tuple(
            old + weight * (float(new) - old) for old, new in zip(track.scores, scores, strict=True)
        ),
    )


def verdict(track: Track, rules: Rules) -> str:
    """The label that the blended scores favor, given the reported one."""
    labels = track.labels
    best = max(range(len(labels)), key=track.scores.__getitem__)
    floor = rules.min_confidence
    if track.emotion in labels:
        own = track.scores[labels.index(track.emotion)]
        if own >= floor and track.scores[best] < own + rules.margin:
            return track.emotion
    elif track.announced:
        # After an uncertain the margin lies on top of the floor, or the two would alternate there; of a floor
        # near 1 half of what is left.
        floor += min(rules.margin, (1 - floor) / 2)
    return labels[best] if track.scores[best] >= floor else UNCERTAIN


def settle(track: Track, camera: str, now: float, wall: float, rules: Rules) -> tuple[Track, Event | None]:
    """*track* brought up to date at *now* (monotonic s), and the transition to publish at *wall*, if any."""
    if not track.announced:
        if track.sightings < 2 or now - track.since < rules.appear_s:
            return track, None
        # The time it took to be announced was dwell enough for the first label.
        first = verdict(track, rules)
        track = replace(track, announced=True, emotion=first, emotion_since=now, rival=first, rival_since=now)
        return track, Event("face_appeared", camera, track.number, NONE, first, track.confidence, wall)
    label = verdict(track, rules)
    if label != track.rival:
        track = replace(track, rival=label, rival_since=now)
    doubted = track.emotion in track.labels and track.confidence < rules.min_confidence
    if doubted != track.doubted:
        track = replace(track, doubted=doubted)
    if label == track.emotion or now - track.rival_since < rules.hold_s:
        return track, None
    before = track.emotion
    track = replace(track, emotion=label, emotion_since=now, doubted=False)
    return track, Event("emotion_changed", camera, track.number, before, label, track.confidence, wall)


def depart(track: Track, camera: str, wall: float) -> Event | None:
    """The transition to publish for a forgotten track; None for one that was never announced."""
    if not track.announced:
        return None
    return Event("face_left", camera, track.number, track.emotion, NONE, track.confidence, wall)
