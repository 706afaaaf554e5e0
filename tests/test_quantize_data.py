"""Calibration and evaluation data; one line for a damaged or unsuitable archive."""

from __future__ import annotations

import collections
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.labels import order
from edge.types import EdgeError
from quantize.data import read_data

LABELS = np.arange(280) % 7
USAGE = np.repeat(np.array([0, 1, 2], np.uint8), [175, 70, 35])


def archive(path: Path, **other: Any) -> Path:
    """25 Training, 10 PublicTest and 5 PrivateTest pictures per label, each uniform gray; *other* arrays."""
    images = np.broadcast_to(np.arange(280, dtype=np.uint8)[:, None, None], (280, 48, 48))
    arrays = {"images": images, "labels": LABELS, "usage": USAGE, **other}
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_calibration_is_balanced_training_data_and_deterministic(tmp_path: Path) -> None:
    path = archive(tmp_path / "data.npz")
    data = read_data(path, 48, 48, 73, seed=1)
    assert np.bincount(LABELS[data.rows]).tolist() == [11, 11, 11, 10, 10, 10, 10]
    assert len(set(data.rows.tolist())) == 73
    assert np.array_equal(data.calibration[:, 0, 0], data.rows)
    assert data.rows.max() < 175
    assert np.array_equal(read_data(path, 48, 48, 73, seed=1).rows, data.rows)
    assert not np.array_equal(read_data(path, 48, 48, 73, seed=2).rows, data.rows)
    assert len(read_data(path, 48, 48, 1000, seed=1).rows) == 175  # all there are


def test_numeric_labels_follow_the_order_and_others_are_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eight = np.where(np.arange(280) % 40 == 39, 7, LABELS)
    path = archive(tmp_path / "data.npz", labels=eight)
    with pytest.raises(EdgeError, match=r"labels 0 to 7; expected 0 to 6"):
        read_data(path, 48, 48, 70, seed=1)
    affectnet = order("neutral,happy,sad,surprise,fear,disgust,anger,contempt")
    data = read_data(path, 48, 48, 70, seed=1, order=affectnet)
    assert "skipped: 7 rows" in capsys.readouterr().out
    public = eight[(USAGE == 1) & (eight < 7)]
    assert data.labels.tolist() == [[6, 3, 4, 5, 2, 1, 0][number] for number in public]
    assert (eight[data.rows] < 7).all()


def test_evaluation_uses_publictest_in_network_size_and_majority(
    tmp_path: Path,
) -> None:
    votes = np.zeros((280, 10), np.uint8)
    votes[:, 0] = 5  # neutral
    votes[175] = [0, 9, 1, 0, 0, 0, 0, 0, 0, 0]  # happiness; single votes do not count
    votes[176] = [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]  # no majority
    votes[177] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]  # not a face
    data = read_data(archive(tmp_path / "data.npz", ferplus=votes), 64, 64, 70, seed=0)
    assert data.images.shape == (70, 64, 64)
    assert data.images[0, 32, 32] == 175
    assert np.array_equal(data.labels, LABELS[175:245])
    assert data.majority[:5].tolist() == [3, -1, -1, 6, 6]


def refusal(path: Path, calibrate: int = 70, seed: int = 0) -> str:
    with pytest.raises(EdgeError) as caught:
        read_data(path, 48, 48, calibrate, seed)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("arrays", "line"),
    [
        ({"labels": None}, "no array 'labels', found images, usage; expected a run's calibration.npz"),
        ({"images": np.uint8(3)}, "images uint8 (); expected uint8 (n, height, width)"),
        (
            {"images": np.zeros((280, 0, 48), np.uint8)},
            "images uint8 (280, 0, 48); expected uint8 (n, height, width)",
        ),
        (
            {"images": np.zeros((280, 48, 48), np.float32)},
            "images float32 (280, 48, 48); expected uint8 (n, height, width)",
        ),
        ({"labels": np.array(["happy"] * 280)}, "labels <U5; expected integers"),
        ({"labels": LABELS[:9]}, "labels (9,); expected (280,) for 280 images"),
        ({"labels": LABELS + 1}, "labels 1 to 7; expected 0 to 6"),
        ({"labels": LABELS - (LABELS == 2)}, "0 Training pictures of fear; expected 10 per label"),
        ({"usage": USAGE * 2}, "no PublicTest rows (usage 1); expected some to measure the loss on"),
        ({"ferplus": np.zeros((280, 9), np.uint8)},
         "ferplus (280, 9); expected (280, 10) for 280 images"),
    ],
)  # fmt: skip
def test_mismatched_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], line: str) -> None:
    assert refusal(archive(tmp_path / "data.npz", **arrays)) == line


def test_too_few_pictures_and_negative_seeds_are_rejected(tmp_path: Path) -> None:
    path = archive(tmp_path / "data.npz")
    assert refusal(path, calibrate=0) == "--calibrate 0: expected 70 pictures or more"
    assert refusal(path, seed=-1) == "--seed -1: expected 0 or more"


def test_file_that_is_not_an_archive_gets_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((280, 48, 48), np.uint8))
    (tmp_path / "empty.npz").touch()
    for name in ("images.npy", "empty.npz"):
        assert refusal(tmp_path / name) == "not an npz archive; expected a run's calibration.npz"
    assert refusal(tmp_path) == "Is a directory; expected a run's calibration.npz"


def test_damaged_archives_never_raise_a_traceback(tmp_path: Path) -> None:
    whole = archive(tmp_path / "data.npz", noise=np.random.default_rng(0).bytes(9999)).read_bytes()
    chance = random.Random(6)
    outcomes: collections.Counter[int] = collections.Counter()  # lines printed
    for number in range(200):
        changed = bytearray(whole)
        place = chance.randrange(len(changed))
        match number % 4:
            case 0:
                del changed[place:]
            case 1:
                changed[place] ^= 1 << chance.randrange(8)
            case 2:  # the central directory at its end
                changed[-chance.randrange(1, 500)] ^= 255
            case 3:  # the first array's header
                place = chance.randrange(600)
                changed[place : place + 8] = bytes(8)
        (tmp_path / "damaged.npz").write_bytes(changed)
        try:
            read_data(tmp_path / "damaged.npz", 48, 48, 70, 0)
            outcomes[0] += 1
        except EdgeError as error:
            outcomes[len(str(error).splitlines())] += 1
    assert set(outcomes) <= {0, 1}
    assert outcomes[1] > 120
