"""Evaluates the spotter on synthetic clips with ground truth, and on any videos."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edge.analysis.micro.spotter import Spotted, Spotter
from training.micro.faces import Person, built_in
from training.micro.render import Renderer
from training.micro.script import AMPLITUDE, Movement, Script, with_touches, write_script

OVERLAP = 0.5  # minimum intersection over union of the times of a found movement
SMALL, LARGE = (0.01, 0.01), (0.015, AMPLITUDE[1])  # amplitudes reported separately
JITTER = 0.04  # error of a detector's eyes, in eye distances


@dataclass(slots=True)
class Tally:
    """Counts over some clips."""

    clips: int = 0
    seconds: float = 0.0
    found: int = 0
    missed: int = 0
    false: int = 0
    regions: int = 0  # found with the correct region
    blinks: tuple[int, int] = (0, 0)  # shown, counted
    cost_ms: list[float] = field(default_factory=list)  # CPU time per picture, one entry per clip

    @property
    def f1(self) -> float:
        """0..1; 1 if there was nothing to find and nothing was found."""
        return 2 * self.found / max(2 * self.found + self.missed + self.false, 1e-9)

    @property
    def false_a_minute(self) -> float:
        return 60 * self.false / self.seconds if self.seconds else 0.0

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "clips": self.clips, "seconds": round(self.seconds, 1),
            "found": self.found, "missed": self.missed, "false": self.false,
            "f1": round(self.f1, 3), "false_a_minute": round(self.false_a_minute, 2),
            "region_right": self.regions, "blinks_shown": self.blinks[0], "blinks_counted": self.blinks[1],
            "ms_a_picture": round(float(np.median(self.cost_ms)), 2) if self.cost_ms else None,
        }  # fmt: skip


@dataclass(slots=True)
class Figures:
    """Clips with large and with small movements, each with as many without; all without; some of these again
    without speech and turns (only blinks, drift, flicker and noise), and some with objects before the face.
    """

    large: Tally = field(default_factory=Tally)
    small: Tally = field(default_factory=Tally)
    still: Tally = field(default_factory=Tally)
    calm: Tally = field(default_factory=Tally)
    touched: Tally = field(default_factory=Tally)

    def text(self) -> str:
        rows = [
            ("1.5 to 3 %", self.large),
            ("1 %", self.small),
            ("none", self.still),
            ("none, calm", self.calm),
            ("touched", self.touched),
        ]
        lines = ["amplitude   clips  found  missed  false  F1    false a minute"]
        for name, tally in rows:
            f1 = f"{tally.f1:.2f}" if "%" in name else "    "
            lines.append(
                f"{name:<10}  {tally.clips:>5}  {tally.found:>5}  {tally.missed:>6}  {tally.false:>5}  {f1}  "
                f"{tally.false_a_minute:.2f}"
            )
        both = self.large.cost_ms + self.small.cost_ms
        shown, counted = (self.large.blinks[i] + self.small.blinks[i] for i in (0, 1))
        lines.append(f"blinks: {counted} of {shown} counted")
        lines.append(f"{float(np.median(both)):.2f} ms of CPU time per picture (median clip)")
        return "\n".join(lines)


def measure(seeds: Sequence[int], fps: float, people: Sequence[Person] = (), *, show=print) -> Figures:
    """Run the spotter on one clip per seed with all nuisances: of four, one large, one small, two without.

    *people*: the faces, in turn; default: the built-in ones. Callers must not pass seeds used for tuning.
    """
    figures = Figures()
    for number, seed in enumerate(seeds):
        amplitude = (LARGE, SMALL)[number % 4 // 2]
        script = write_script(seed, moving=number % 2 == 0, amplitude=amplitude)
        person = people[number % len(people)] if people else built_in(seed)
        renderer = Renderer(person, script)
        tally = (figures.large, figures.small)[number % 4 // 2]
        _clip(renderer, fps, [tally] if number % 2 == 0 else [tally, figures.still])
        if number % 4 == 1:
            calm = replace(script, speech=(), turns=(), nods=())
            _clip(Renderer(person, calm), fps, [figures.calm])
        if number % 4 == 3:
            _clip(Renderer(person, with_touches(script)), fps, [figures.touched])
        if (number + 1) % 20 == 0:
            show(f"{number + 1} of {len(seeds)} clips")
    return figures


def _clip(renderer: Renderer, fps: float, tallies: Sequence[Tally]) -> None:
    script = renderer.script
    spotted, blinks, cost_ms = watch(renderer.frames(fps), seen_by_a_detector(renderer))
    found, regions = matched(script.movements, spotted)
    for tally in tallies:
        tally.clips += 1
        tally.seconds += script.seconds
        tally.found += found
        tally.missed += len(script.movements) - found
        tally.false += len(spotted) - found
        tally.regions += regions
        tally.blinks = tally.blinks[0] + shown(script), tally.blinks[1] + blinks
        tally.cost_ms.append(cost_ms)


def watch(frames: Iterator[tuple[float, np.ndarray]], eyes: Any) -> tuple[list[Spotted], int, float]:
    """(movements, blinks, CPU ms per picture) in *frames* of (s, picture); *eyes* in the first."""
    spotter, spotted, blinks = Spotter(eyes), [], 0
    spent, pictures = 0.0, 0
    for at, image in frames:
        began = time.thread_time()
        closed = spotter.step(image, at)
        spent += time.thread_time() - began
        pictures += 1
        if closed is None:
            blinks += spotter.blinks
            spotter = Spotter(spotter.eyes)
        else:
            spotted += closed
    spotted += spotter.finish()
    return spotted, blinks + spotter.blinks, 1e3 * spent / max(pictures, 1)


def seen_by_a_detector(renderer: Renderer) -> Any:
    """The eyes in the first picture with a detector's error."""
    rng = np.random.default_rng((renderer.script.seed, 5))
    eyes = np.array(renderer.eyes(0.0)) + rng.uniform(-JITTER, JITTER, (2, 2)) * renderer.script.eye_distance
    return tuple((float(x), float(y)) for x, y in eyes)


def matched(truth: Sequence[Movement], spotted: Sequence[Spotted]) -> tuple[int, int]:
    """(how many of *truth* were found, each *spotted* used once; how many with the correct region)."""
    left, found, regions = list(spotted), 0, 0
    for movement in truth:
        best = max(left, key=lambda one: _overlap(movement, one), default=None)
        if best is not None and _overlap(movement, best) >= OVERLAP:
            left.remove(best)
            found, regions = found + 1, regions + (best.region == movement.region)
    return found, regions


def _overlap(movement: Movement, one: Spotted) -> float:
    both = min(movement.offset, one.offset) - max(movement.onset, one.onset)
    return max(both, 0.0) / (max(movement.offset, one.offset) - min(movement.onset, one.onset))


def shown(script: Script) -> int:
    """The number of blinks in *script*; overlapping ones count as one."""
    count, until = 0, -1.0
    for blink in script.blinks:
        count += blink.start > until
        until = max(until, blink.end)
    return count
