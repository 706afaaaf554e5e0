"""Spotting of brief movements, on synthetic clips with ground truth and on hand-made signals."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge.analysis.micro.align import Aligned
from edge.analysis.micro.bumps import STEP_S, evenly, find_bumps
from edge.analysis.micro.regions import REGIONS
from edge.analysis.micro.spotter import Spotted, Spotter, find_blinks, spot
from training.micro.faces import built_in
from training.micro.render import Renderer
from training.micro.script import Movement, Script, Span, ease, write_script

FPS = 60.0


def signal(seconds: float = 3.0) -> np.ndarray:
    """Motionless regions with realistic measurement noise."""
    noise = np.random.default_rng(0).normal(0, 3e-4, (round(seconds / STEP_S), len(REGIONS), 2))
    return noise.astype(np.float32)


def add_bump(of: np.ndarray, region: str, onset: float, offset: float, size: float) -> np.ndarray:
    """*of* with a bump in *region*'s y."""
    at = np.arange(len(of)) * STEP_S
    share = np.interp(at, (onset, (onset + offset) / 2, offset), (0, 1, 0), 0, 0)
    of[:, list(REGIONS).index(region), 1] += size * share * share * (3 - 2 * share)
    return of


def clip(script: Script) -> list[Spotted]:
    renderer = Renderer(built_in(script.seed), script)
    spotter = Spotter(renderer.eyes(0.0))
    found = []
    for at, image in renderer.frames(FPS):
        reported = spotter.step(image, at)
        assert reported is not None
        found += reported
    return found + spotter.finish()


def overlap(one: Movement, other: Spotted) -> float:
    both = min(one.offset, other.offset) - max(one.onset, other.onset)
    return both / (max(one.offset, other.offset) - min(one.onset, other.onset))


# Signals


@pytest.mark.parametrize("length", [0.08, 0.2, 0.5])
@pytest.mark.parametrize("region", ["brow_right", "nose", "chin"])
def test_bump_is_found_with_region_and_time(region: str, length: float) -> None:
    (found,) = spot(add_bump(signal(), region, 1.2, 1.2 + length, 0.006), [])
    assert found.region == region
    assert found.onset == pytest.approx(1.2, abs=0.15 * length + 0.02)
    assert found.offset == pytest.approx(1.2 + length, abs=0.15 * length + 0.02)
    assert found.amplitude == pytest.approx(0.006, rel=0.25)


def test_lasting_displacement_is_not_a_movement() -> None:
    of = signal()
    of[:, 0, 0] += 0.02 * np.array([ease((at * STEP_S - 1.2) / 0.4) for at in range(len(of))])
    assert spot(of, []) == []


def test_long_movement_is_not_brief() -> None:
    assert spot(add_bump(signal(4.0), "brow_left", 1.0, 2.4, 0.02), []) == []


def test_speech_is_not_a_movement() -> None:
    of = signal()
    for start in np.arange(0.8, 2.0, 0.25):
        of = add_bump(of, "chin", start, start + 0.2, 0.012)
    assert spot(of, []) == []
    alone = spot(add_bump(signal(), "chin", 0.8, 1.0, 0.012), [])
    assert [one.region for one in alone] == ["chin"]


def test_joint_motion_of_all_regions_is_head_motion() -> None:
    of = signal()
    for region in REGIONS:
        of = add_bump(of, region, 1.0, 1.2, 0.006)
    assert spot(of, []) == []


@pytest.mark.parametrize(("others", "length"), [(4, 0.9), (3, 1.4)])
def test_small_bump_during_a_head_turn_is_rejected(others: int, length: float) -> None:
    """As when a head turn starts and ends: the affine map leaves residual motion in brow, nose and mouth."""
    of = add_bump(signal(), "brow_left", 1.0, 1.25, 0.009)
    turn = np.array([ease((at * STEP_S - 0.7) / length) for at in range(len(of))], np.float32)
    assert [one.region for one in spot(of, [])] == ["brow_left"]
    for region in ("nose", "mouth_left", "mouth_right", "chin")[:others]:
        of[:, list(REGIONS).index(region), 0] += 0.06 * turn
    if others == 4:
        assert spot(of, []) == []
    else:  # speech moves three of the six regions
        assert [one.region for one in spot(of, [])] == ["brow_left"]


def test_small_bump_in_a_region_that_moves_far_is_rejected() -> None:
    of = add_bump(signal(), "nose", 1.0, 1.25, 0.012)
    assert len(spot(of, [])) == 1
    of[:, list(REGIONS).index("nose"), 0] += 0.05 * np.array(
        [ease((n * STEP_S - 0.5) / 1.4) for n in range(len(of))]
    )
    assert spot(of, []) == []


def test_brow_movement_during_a_blink_is_ignored() -> None:
    of = add_bump(signal(), "brow_left", 1.0, 1.2, 0.004)
    assert len(spot(of, [])) == 1
    assert spot(of, [(0.95, 1.2)]) == []


def test_blink_needs_both_eyes_and_counts_once() -> None:
    times = np.arange(0, 2, 1 / FPS)
    eyes = np.full((len(times), 2), 1.5, np.float32)
    closing, opening = (times > 1.0) & (times < 1.06), (times > 1.1) & (times < 1.2)
    eyes[closing | opening] = 25
    ((start, end),) = find_blinks(times, eyes)
    assert 0.9 < start < 1.0
    assert 1.2 < end < 1.3
    eyes[:, 0] = 1.5
    assert find_blinks(times, eyes) == []


def test_resampling_is_independent_of_frame_times() -> None:
    rng = np.random.default_rng(1)
    regular = np.arange(0, 2, 1 / FPS)
    ragged = np.sort(regular + rng.uniform(-0.2, 0.2, len(regular)) / FPS)
    one, other = (
        evenly(at, np.sin(4 * at)[:, None].astype(np.float32), 0.1, 1.9) for at in (regular, ragged)
    )
    assert np.abs(one - other).max() < 0.03


def test_two_bumps_of_a_region_are_two_movements() -> None:
    of = add_bump(add_bump(signal(), "nose", 0.8, 1.0, 0.006), "nose", 1.8, 2.1, 0.006)
    assert [region for region, _ in find_bumps(of, 0.003, 0.7)] == [list(REGIONS).index("nose")] * 2


# Pictures


@pytest.mark.parametrize(("shift", "angle", "scale"), [((7, -5), 0, 1), ((2, 3), 4, 1.0), ((0, 0), 0, 1.05)])
def test_crop_follows_the_head(shift: tuple[float, float], angle: float, scale: float) -> None:
    script = Script(3, 1.0, 100.0, ())
    renderer = Renderer(built_in(3), script)
    image = renderer.frame(0.0)
    eyes = renderer.eyes(0.0)
    aligned = Aligned(eyes)
    matrix = cv2.getRotationMatrix2D((160, 150), angle, scale)
    matrix[:, 2] += shift
    assert aligned.follow(image) is not None
    for share in np.linspace(0, 1, 5)[1:]:
        part = np.eye(2, 3) + share * (matrix - np.eye(2, 3))
        assert aligned.follow(cv2.warpAffine(image, part, renderer.size, borderMode=1)) is not None
    expected = (matrix @ np.column_stack([eyes, [1, 1]]).T).T
    assert np.abs(np.array(aligned.eyes) - expected).max() < 0.5  # of 100 pixels


def test_light_changes_are_not_motion() -> None:
    script = Script(4, 1.0, 100.0, ())
    renderer = Renderer(built_in(4), script)
    image = renderer.frame(0.0)
    aligned = Aligned(renderer.eyes(0.0))
    aligned.follow(image)
    before = np.array(aligned.eyes)
    aligned.follow(np.clip(image * np.linspace(0.9, 1.05, len(image))[:, None], 0, 255).astype(np.uint8))
    assert np.abs(np.array(aligned.eyes) - before).max() < 0.3


@pytest.mark.parametrize("region", ["brow_left", "mouth_right"])
def test_movement_of_a_synthetic_face_is_found(region: str) -> None:
    movement = Movement(region, 1.0, 1.1, 1.25, 0.02, (0, -1))
    script = replace(write_script(7, seconds=2.4, moving=False), movements=(movement,))
    script = replace(script, speech=(), turns=(), nods=(), blinks=(Span(1.7, 1.9, 1.0),))
    (found,) = clip(script)
    assert found.region == region
    assert overlap(movement, found) > 0.5


def test_movement_with_forgotten_surroundings_is_rejected() -> None:
    """Of two movements of a mouth, the second stays rejected once the first is forgotten."""
    first = Movement("mouth_left", 0.75, 0.82, 0.9, 0.025, (-1, 0))
    second = Movement("chin", 1.3, 1.37, 1.45, 0.02, (0, -1))
    assert clip(Script(9, 3.7, 60.0, (first, second), noise=0.5)) == []
    assert [one.region for one in clip(Script(9, 3.7, 60.0, (second,), noise=0.5))] == ["chin"]


@pytest.mark.parametrize("onset", [0.3, 1.7])
def test_movement_at_the_start_or_end_is_rejected(onset: float) -> None:
    movement = Movement("nose", onset, onset + 0.1, onset + 0.2, 0.02, (0, -1))
    assert clip(Script(9, 2.2, 70.0, (movement,), noise=0.5)) == []
    later = replace(movement, onset=1.1, apex=1.2, offset=1.3)
    assert len(clip(Script(9, 2.7, 70.0, (later,), noise=0.5))) == 1


def test_replaced_face_is_lost_or_elsewhere() -> None:
    script = Script(5, 1.0, 80.0, ())
    renderer = Renderer(built_in(5), script)
    spotter = Spotter(renderer.eyes(0.0))
    spotter.step(renderer.frame(0.0), 0.0)
    assert not spotter.elsewhere(renderer.eyes(0.0))
    (x0, y0), (x1, y1) = renderer.eyes(0.0)
    assert spotter.elsewhere(((x0 + 60, y0), (x1 + 60, y1)))
    noise = np.random.default_rng(0).integers(0, 255, (renderer.size[1], renderer.size[0]), np.uint8)
    assert spotter.step(noise, 0.1) is None


def test_face_outside_the_picture_is_lost() -> None:
    spotter = Spotter(((-50.0, 10.0), (10.0, 10.0)))
    assert spotter.step(np.zeros((60, 60), np.uint8), 0.0) is None


@pytest.mark.quiet_clock
def test_spotter_step_costs_at_most_2_ms() -> None:
    script = replace(write_script(8, seconds=2.0, moving=False), eye_distance=160.0)
    renderer = Renderer(built_in(8), script)
    pictures = [cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) for _, image in renderer.frames(FPS)]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        spotter = Spotter(renderer.eyes(0.0))
        costs = []
        for number, image in enumerate(pictures):
            began = time.thread_time()
            spotter.step(image, number / FPS)
            costs.append(time.thread_time() - began)
    finally:
        cv2.setNumThreads(threads)
    assert np.mean(costs[len(costs) // 2 :]) < 2e-3
