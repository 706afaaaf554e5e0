"""Which face is which over time: detections of one camera become numbered tracks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from edge.types import Box, Face, Point, Track

# Gates in face widths. A head that walks past at 10 frames a second moves about one width a frame,
# most of which the predicted motion takes away; the allowance grows while a face is not seen.
REACH = 0.7  # off the predicted place
REACH_PER_S = 1.0  # more for each second unseen
SIZE_RATIO = 1.8  # between one sighting and the next
MOTION_S = 0.3  # time constant of the speed's average; prediction fades out over the same time


class Tracker:
    """Numbers the faces of one camera.

    Time is counted in seconds, so that ids survive any frame rate: a face that is missed (by the detector,
    behind a hand) keeps its number for *forget_s*. Matching is greedy by distance to the predicted place plus
    difference in size; the few faces a camera sees do not justify an assignment solver.
    """

    def __init__(self, *, forget_s: float = 1.0) -> None:
        self.forget_s = forget_s
        self._tracks: dict[int, Track] = {}
        self._motion: dict[int, Point] = {}  # pixels per second
        self._last_number = 0

    @property
    def tracks(self) -> list[Track]:
        """All tracks that are not forgotten, oldest first."""
        return list(self._tracks.values())

    def update(self, faces: Sequence[Face], now: float) -> list[Track]:
        """The tracks of *faces*, in their order, with known faces recognized and new ones numbered."""
        matches = self._match(faces, now)
        seen = []
        for index, face in enumerate(faces):
            known = self._tracks.get(matches.get(index, 0))
            if known is None:
                self._last_number += 1
                track = Track(number=self._last_number, face=face, since=now, seen=now)
                self._motion[track.number] = (0.0, 0.0)
            else:
                self._measure_motion(known, face, now)
                track = replace(known, face=face, seen=now, sightings=known.sightings + 1)
            self._tracks[track.number] = track
            seen.append(track)
        return seen

    def store(self, track: Track) -> None:
        """Put back a track that was changed outside."""
        self._tracks[track.number] = track

    def forget(self, now: float) -> list[Track]:
        """Drop and return the tracks not seen for longer than *forget_s*."""
        gone = [track for track in self._tracks.values() if now - track.seen > self.forget_s]
        for track in gone:
            del self._tracks[track.number], self._motion[track.number]
        return gone

    def _match(self, faces: Sequence[Face], now: float) -> dict[int, int]:
        """Index of a face -> number of its track, the closest pairs first."""
        pairs = []
        for track in self._tracks.values():
            place = self._predict(track, now)
            reach = REACH + REACH_PER_S * (now - track.seen)
            for index, face in enumerate(faces):
                cost = _distance(place, face.box)
                if cost is not None and cost <= reach:
                    pairs.append((cost, track.number, index))
        matches: dict[int, int] = {}
        for _, number, index in sorted(pairs):
            if index not in matches and number not in matches.values():
                matches[index] = number
        return matches

    def _predict(self, track: Track, now: float) -> Box:
        speed_x, speed_y = self._motion[track.number]
        # The prediction fades: after MOTION_S the face is expected to have stopped.
        ahead = MOTION_S * (1 - math.exp(-(now - track.seen) / MOTION_S))
        box = track.face.box
        return box._replace(x=box.x + speed_x * ahead, y=box.y + speed_y * ahead)

    def _measure_motion(self, track: Track, face: Face, now: float) -> None:
        elapsed = now - track.seen
        if elapsed <= 0:
            return
        weight = 1 - math.exp(-elapsed / MOTION_S)
        before, after = track.face.box.center, face.box.center
        old = self._motion[track.number]
        self._motion[track.number] = (
            old[0] + weight * ((after[0] - before[0]) / elapsed - old[0]),
            old[1] + weight * ((after[1] - before[1]) / elapsed - old[1]),
        )


def _distance(expected: Box, found: Box) -> float | None:
    """Center distance in mean face widths + half the log of the size ratio; None where sizes do not fit."""
    old, new = math.sqrt(expected.area), math.sqrt(found.area)
    if old <= 0 or new <= 0:
        return None
    ratio = abs(math.log(new / old))
    if ratio > math.log(SIZE_RATIO):
        return None
    (x0, y0), (x1, y1) = expected.center, found.center
    return math.hypot(x1 - x0, y1 - y0) / math.sqrt(old * new) + ratio / 2
