"""Moving skin is told apart from an object in front of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.analysis.micro import spotter as spotting
from edge.analysis.micro.align import SIZE
from edge.analysis.micro.motion import FaceMotion
from edge.analysis.micro.regions import REGIONS
from edge.analysis.micro.spotter import Spotted, Spotter
from edge.analysis.micro.texture import NEW, PARTS, novelty
from edge.types import Image, Point
from training.micro.faces import built_in
from training.micro.render import Renderer
from training.micro.script import Movement, Script, Span, Touch, with_touches, write_script
from training.micro.spot import seen_by_a_detector

FPS = 60.0
STILL = Movement("nose", 0.9, 1.0, 1.1, 0.0, (0, -1))


def script(*movements: Movement, touches: tuple[Touch, ...] = (), blinks: tuple[Span, ...] = ()) -> Script:
    made = Script(21, 2.2, 70.0, movements, touches=touches, noise=2.0, flicker=0.02, drift=0.03)
    return replace(made, blinks=blinks)


def crops(of: Script) -> list[tuple[float, Image]]:
    renderer = Renderer(built_in(of.seed), of)
    motion = FaceMotion(renderer.eyes(0.0))
    found = []
    for at, image in renderer.frames(30.0):
        moved = motion.step(image, at)
        assert moved is not None
        found.append((at, moved.crop))
    return found


def spotted(frames: list[tuple[float, Image]], eyes: tuple[Point, Point]) -> list[Spotted]:
    spotter = Spotter(eyes)
    found = []
    for at, image in frames:
        found += spotter.step(image, at) or []
    return found + spotter.finish()


@pytest.mark.parametrize("region", REGIONS)
def test_moving_skin_is_not_new(region: str) -> None:
    """The largest movement, with flickering light, noise, a drifting head and a blink."""
    movement = Movement(region, 0.9, 1.05, 1.2, 0.03, (0.7, -0.7))
    found = novelty(crops(script(movement, blinks=(Span(1.0, 1.25, 1.0),))), 0.9, 1.2)
    assert len(found) == len(PARTS)
    assert found.max() < 0.7 * NEW


@pytest.mark.parametrize(
    ("region", "half_width", "level"),
    [("brow_right", 0.03, 30.0), ("mouth_left", 0.1, 170.0), ("chin", 0.35, 60.0), ("nose", 0.2, 220.0)],
    ids=["hair", "finger", "mug", "paper"],
)
def test_object_in_front_of_the_face_is_new(region: str, half_width: float, level: float) -> None:
    touch = Touch(0.7, 1.7, half_width, level, (0.6, 0.8), 0.1, replace(STILL, region=region))
    found = novelty(crops(script(touches=(touch,))), 1.1, 1.3)
    assert found[list(REGIONS).index(region)] > 1.2 * NEW


def test_noise_without_texture_is_not_new() -> None:
    rng = np.random.default_rng(0)
    pictures = [
        (n / FPS, np.clip(rng.normal(120, 4, SIZE[::-1]), 0, 255).astype(np.uint8)) for n in range(90)
    ]
    assert novelty(pictures, 0.6, 0.9).max() < NEW


@pytest.mark.parametrize("seed", [3_000_008, 3_000_021])
def test_objects_in_front_of_the_face_are_not_movements(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In clips that no other rule rejects."""
    renderer = Renderer(built_in(seed), with_touches(write_script(seed, moving=False)))
    frames, eyes = list(renderer.frames(FPS)), seen_by_a_detector(renderer)
    assert spotted(frames, eyes) == []
    monkeypatch.setattr(spotting, "NEW", 9.0)
    assert spotted(frames, eyes)
