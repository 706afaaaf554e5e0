"""CPU cost and savings of the motion gate, per detector."""

from __future__ import annotations

import time

import cv2
import numpy as np
import numpy.typing as npt

from edge.analysis.detectors import Kind, open_detector
from edge.analysis.motion import MotionGate
from edge.analysis.pipeline import Pipeline
from edge.analysis.report import Rules
from edge.analysis.track import Tracker
from edge.node.build import open_engine
from edge.settings import Settings
from edge.sources.portraits import Portraits
from edge.types import Frame, Image
from tests.chaos import Figure

FPS = 10  # pictures a second
SIGMA = 4.0  # of the sensor's noise, gray levels


def costs(kind: Kind, frames: int) -> list[Figure]:
    """Detection and classification with and without a gate, on a still scene and on two that pan."""
    figures = []
    scenes = [
        ("a still scene with two faces", still_faces(), False),
        ("two faces, always moving", still_faces(), True),
        ("nobody, always moving", nobody(), True),
    ]
    for scene, picture, moves in scenes:
        calls, ratio = compared(kind, pictures(picture, moves), frames)
        if not moves:
            figures.append(Figure("gate", f"{kind}, {scene}: % of the calls left", 100 * calls, 10))
        figures.append(Figure("gate", f"{kind}, {scene}: CPU with the gate / without", ratio, 1.01))
    return figures


def compared(kind: Kind, shown: list[Image], frames: int) -> tuple[float, float]:
    """(share of the frames that were analyzed, ratio of thread CPU time) with a gate.

    Alternates per frame on one detector and one classifier: two of the same kind differ by up to 3 %,
    depending on their memory layout.
    """
    detector, classifier = open_detector(kind), open_engine(Settings()).classifier
    plain, gated = (
        Pipeline("hall", detector, classifier, Tracker(), Rules(), time.perf_counter, gate)
        for gate in (None, MotionGate())
    )
    took = [0.0, 0.0]  # s, without and with a gate
    for n in range(frames):
        frame = Frame(shown[n % len(shown)], n / FPS, n / FPS, n, "hall")
        for line in (plain, gated) if n % 2 else (gated, plain):
            began = time.thread_time()
            line.step(frame)
            took[line is gated] += time.thread_time() - began
    return 1 - gated.skipped / frames, took[1] / took[0]


def still_faces() -> npt.NDArray[np.float64]:
    return np.asarray(cv2.resize(Portraits(faces=2, paced=False).read(), (640, 480)), np.float64)


def nobody() -> npt.NDArray[np.float64]:
    coarse = np.random.default_rng(1).uniform(40, 200, (24, 32, 1))
    room = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    return np.repeat(room[:, :, None], 3, 2)


def pictures(picture: npt.NDArray[np.float64], moves: bool) -> list[Image]:
    """*picture* (480, 640, 3) with noise, panned by 16 pixels a time if it *moves*."""
    wide = np.hstack([picture, picture[:, ::-1]])
    panned = (np.roll(wide, -16 * n * moves, 1)[:, :640] for n in range(80))
    return [noisy(view, n) for n, view in enumerate(panned)]


def noisy(picture: npt.NDArray[np.float64], seed: int) -> Image:
    noise = np.random.default_rng(seed).normal(0, SIGMA, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)
