"""Brief movements in a video, for `emotion-edge analyze --movements`; imported with it alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge.analysis.micro.pace import LEAST_FPS, Verdict
from edge.analysis.micro.spotter import Spotted, Spotter
from edge.node.micro import LEAST_EYES, apart, eyes_of
from edge.types import EdgeError, Frame, Track


class Seen(NamedTuple):
    """A movement of one face; times in seconds from the first picture."""

    track: int
    what: Spotted

    def values(self) -> dict[str, Any]:
        """For JSON."""
        region, onset, apex, offset, amplitude = self.what
        times = {"onset": round(onset, 3), "apex": round(apex, 3), "offset": round(offset, 3)}
        return {"track": self.track, "region": region, **times, "amplitude": round(amplitude, 4)}

    def text(self) -> str:
        what = self.what
        length_ms = 1e3 * (what.offset - what.onset)
        return (
            f"face {self.track}  {what.onset:.2f} s {what.region}, {length_ms:.0f} ms, {what.amplitude:.1%}"
        )


class Movements:
    """Watches every face of *video* whose eyes are far enough apart."""

    def __init__(self, video: Path) -> None:
        self.seen: list[Seen] = []
        self.blinks = 0
        self.small: set[int] = set()  # faces that were left out at least once
        self._video = video
        self._spotters: dict[int, Spotter] = {}

    def add(self, frame: Frame, tracks: Sequence[Track], period: float) -> None:
        """A picture and the faces in it; EdgeError where the video's *period* s is too long."""
        verdict = Verdict(1 / period if period > 0 else 0.0, 0.0)
        if not verdict.good:
            words = f"{verdict.fps:.1f} pictures a second; expected at least {LEAST_FPS:g}"
            raise EdgeError(f"{self._video}: --movements: {words}")
        for number in self._spotters.keys() - {track.number for track in tracks}:
            self._end(number)
        for track in tracks:
            eyes, number = eyes_of(track), track.number
            if apart(eyes) < LEAST_EYES:
                self.small.add(number)
                continue
            if number in self._spotters and self._spotters[number].elsewhere(eyes):
                self._end(number)
            spotter = self._spotters.setdefault(number, Spotter(eyes))
            found = spotter.step(frame.image, frame.taken)
            if found is None:
                self._end(number)
            else:
                self.seen += [Seen(number, one) for one in found]

    @property
    def watching(self) -> int:
        """How many faces are watched now."""
        return len(self._spotters)

    def close(self) -> None:
        """The video ended."""
        for number in list(self._spotters):
            self._end(number)
        self.seen.sort(key=lambda it: it.what.onset)

    def lines(self) -> list[str]:
        left_out = f", {len(self.small)} faces too small at times" if self.small else ""
        return [f"  {len(self.seen)} brief movements, {self.blinks} blinks{left_out}"] + [
            f"  {one.text()}" for one in self.seen
        ]

    def values(self) -> dict[str, Any]:
        """For JSON."""
        movements = [one.values() for one in self.seen]
        return {"movements": movements, "blinks": self.blinks, "faces_too_small": sorted(self.small)}

    def _end(self, number: int) -> None:
        spotter = self._spotters.pop(number)
        self.seen += [Seen(number, one) for one in spotter.finish()]
        self.blinks += spotter.blinks
