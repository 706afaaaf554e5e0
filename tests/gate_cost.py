"""What the motion gate costs and saves, detector by detector, in processor time of one run in turn."""

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

FPS, TURN = 10, 40  # pictures a second; pictures that the one and the other pipeline see in turn
SIGMA = 4.0  # of the sensor's noise, gray levels


def costs(kind: Kind, turns: int) -> list[Figure]:
    """Detection and classification with and without a gate, on a still scene and on one that pans."""
    figures = []
    for moves in (False, True):
        calls, ratio = compared(kind, pictures(moves), turns)
        scene = f"{kind}, {'an always moving' if moves else 'a still'} scene"
        if not moves:
            figures.append(Figure("gate", f"{scene}: % of the calls left", 100 * calls, 10))
        # Two pipelines without a gate differ by up to 3 %.
        figures.append(Figure("gate", f"{scene}: CPU with the gate / without", ratio, 1.03))
    return figures


def compared(kind: Kind, shown: list[Image], turns: int) -> tuple[float, float]:
    """(share of the frames that were analysed, median ratio of thread CPU time) with a gate."""
    settings = Settings()
    classifier = open_engine(settings).classifier
    plain, gated = (
        Pipeline("hall", open_detector(kind), classifier, Tracker(), Rules(), time.perf_counter, gate)
        for gate in (None, MotionGate())
    )
    ratios = []
    for turn in range(turns):
        took = {}
        for line in (plain, gated) if turn % 2 else (gated, plain):
            began = time.thread_time()
            for n in range(turn * TURN, (turn + 1) * TURN):
                line.step(Frame(shown[n % len(shown)], n / FPS, n / FPS, n, "hall"))
            took[line is gated] = time.thread_time() - began
        ratios.append(took[True] / took[False])
    return 1 - gated.skipped / (turns * TURN), float(np.median(ratios))


def pictures(moves: bool) -> list[Image]:
    """640x480 with two faces and noise, panned by 16 pixels a picture if it *moves*."""
    still = np.asarray(cv2.resize(Portraits(faces=2, paced=False).read(), (640, 480)), np.float64)
    wide = np.hstack([still, still[:, ::-1]])
    panned = [np.roll(wide, -16 * n * moves, 1)[:, :640] for n in range(80)]
    return [noisy(picture, n) for n, picture in enumerate(panned)]


def noisy(picture: npt.NDArray[np.float64], seed: int) -> Image:
    noise = np.random.default_rng(seed).normal(0, SIGMA, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)
