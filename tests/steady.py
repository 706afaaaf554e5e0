"""Stability of the reported emotion: `python -m tests.steady [--minutes M] [--model FILE]`.

A face of each label, held still before a noisy camera whose gain hunts a little: changes an hour, of which
none is true. Then faces that do change: seconds from half-way of a change to the event that reports it.
The motion gate is off, so that every frame is analyzed.
"""

from __future__ import annotations

import argparse
import statistics

import cv2
import numpy as np

from edge.analysis.detectors import open_detector
from edge.analysis.pipeline import Pipeline
from edge.node.build import build_pipeline, open_engine
from edge.settings import Settings
from edge.sources.portraits import BLEND_S, SHOW_S, Portraits
from edge.types import LABELS, Frame, Image

FPS = 10
NOISE, GAIN = 4.0, 0.04  # gray levels of standard deviation; share by which the gain swings in 11 s


def _pipeline(detector: str, model: str) -> Pipeline:
    settings = Settings.model_validate({"model": {"file": model}, "analysis": {"skip_still": False}})
    return build_pipeline("hall", settings, open_detector(detector), open_engine(settings).classifier)


def false_changes(detector: str, model: str, minutes: float) -> dict[str, float]:
    """Changes an hour of a still face, by the label that it shows."""
    found = {}
    camera = Portraits(width=320, height=240, faces=1, fps=FPS, paced=False)
    for turn in range(len(LABELS)):
        still, (shown, *_) = camera.render(round((turn + 0.3) * (SHOW_S + BLEND_S) * FPS))
        pipeline = _pipeline(detector, model)
        cv2.setRNGSeed(turn)
        changes = 0
        for n in range(round(minutes * 60 * FPS)):
            events = pipeline.step(Frame(_seen(still, n), n / FPS, 0.0, n, "hall")).events
            # Ignore the first two seconds, which establish the emotion.
            changes += sum(event.event_type == "emotion_changed" for event in events) if n > 2 * FPS else 0
        found[shown.label] = changes * 60 / minutes
    return found


def delays(detector: str, model: str) -> tuple[list[float], int]:
    """Seconds from halfway through each true change to its report, and the number never reported."""
    camera = Portraits(faces=3, fps=FPS, paced=False)
    pipeline = _pipeline(detector, model)
    cv2.setRNGSeed(0)
    waiting: dict[int, tuple[str, float]] = {}
    before: dict[int, str] = {}
    found, missed = [], 0
    for n in range(round(len(LABELS) * (SHOW_S + BLEND_S) * FPS)):
        image, truth = camera.render(n)
        now = n / FPS
        tracks = pipeline.step(Frame(_seen(image, n), now, 0.0, n, "hall")).tracks
        for k, portrait in enumerate(truth):
            if portrait.label != before.get(k, portrait.label):
                missed += k in waiting
                waiting[k] = portrait.label, now
            before[k] = portrait.label
            track = max(tracks, key=lambda t: t.face.box.iou(portrait.box), default=None)
            if k in waiting and track is not None and track.emotion == waiting[k][0]:
                found.append(now - waiting.pop(k)[1])
    return found, missed


def _seen(image: Image, n: int) -> Image:
    gain = 1 + GAIN * np.sin(2 * np.pi * n / (11 * FPS))
    grain = cv2.randn(np.empty(image.shape, np.int16), 0, NOISE)
    return np.asarray(cv2.add(cv2.convertScaleAbs(image, alpha=gain), grain, dtype=cv2.CV_8U), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="of each label's still face (default 20)")
    parser.add_argument("--model", default="emotion")
    parser.add_argument("--detectors", nargs="+", default=["ssd", "haar"])
    given = parser.parse_args()
    for detector in given.detectors:
        found, missed = delays(detector, given.model)
        print(
            f"{detector}: a true change reported after {statistics.median(found):.1f} s (median), "
            f"{max(found):.1f} s at most; {missed} of {len(found) + missed} not before the next one",
            flush=True,
        )
        still = false_changes(detector, given.model, given.minutes)
        by_label = ", ".join(f"{label} {rate:.0f}" for label, rate in still.items())
        print(
            f"{detector}: false changes an hour {np.mean(list(still.values())):.1f} ({by_label})", flush=True
        )


if __name__ == "__main__":
    main()
