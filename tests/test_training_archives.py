"""Damaged npz data sets, and those with invalid pictures, labels, splits or votes: one line each."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from edge.types import EdgeError
from training import data
from training.__main__ import main

IMAGES = np.random.default_rng(0).integers(0, 255, (4, 48, 48), np.uint8)
GOOD = {
    "images": IMAGES,
    "labels": np.array([0, 1, 2, 3]),
    "usage": np.array([0, 0, 1, 1], np.uint8),
    "ferplus": np.full((4, 10), 1, np.uint8),
}
DAMAGED = "not an npz archive, or damaged; expected np.savez's format"


def archive(folder: Path, **other: object) -> Path:
    """GOOD with *other* arrays replaced; None removes one."""
    path = folder / "a.npz"
    np.savez(path, **{name: array for name, array in {**GOOD, **other}.items() if array is not None})
    return path


def error_line(path: Path) -> str:
    with pytest.raises(EdgeError) as caught:
        data.read([path])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("other", "reported"),
    [
        ({"labels": np.array(["happy"] * 4)}, "labels <U5; expected whole numbers"),
        ({"labels": np.array([0.7, 1, 2, 3])}, "labels float64; expected whole numbers"),
        ({"labels": np.full(4, np.nan)}, "labels float64; expected whole numbers"),
        ({"labels": np.array(["happy", 1, 2, 3], object)}, DAMAGED),
        ({"usage": np.array(["Training"] * 4)}, "usage <U8; expected whole numbers"),
        ({"ferplus": GOOD["ferplus"] / 10}, "ferplus float64; expected whole numbers"),
        (
            {"images": None, "delta": np.zeros(5, np.uint8)},
            "delta uint8 (5,); expected uint8 (n, height, width)",
        ),
        (
            {"images": None, "delta": IMAGES / 255},
            "delta float64 (4, 48, 48); expected uint8 (n, height, width)",
        ),
        ({"images": IMAGES[:, :0]}, "images uint8 (4, 0, 48); expected uint8 (n, height, width)"),
    ],
)
def test_arrays_of_wrong_type_or_shape_are_rejected(
    tmp_path: Path, other: dict[str, object], reported: str
) -> None:
    assert error_line(archive(tmp_path, **other)).startswith(reported)


@pytest.mark.parametrize(
    ("name", "at_row_1", "reported"),
    [
        ("labels", 2**63, f"label {2**63}, usage 0; expected 0 to 6 and 0 to 2"),
        ("labels", 7, "label 7, usage 0; expected 0 to 6 and 0 to 2"),
        ("usage", 256, "label 1, usage 256; expected 0 to 6 and 0 to 2"),  # uint8 would make it a 0
        ("usage", -1, "label 1, usage -1; expected 0 to 6 and 0 to 2"),
        ("ferplus", 256, f"votes {[256] * 10}; expected ten numbers 0 to 255"),
    ],
)
def test_out_of_range_value_is_not_wrapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, at_row_1: int, reported: str
) -> None:
    array = GOOD[name].astype(np.uint64 if at_row_1 > 2**62 else np.int64)
    array[1] = at_row_1
    path = archive(tmp_path, **{name: array})
    assert error_line(path) == f"row 1: {reported}; fix it, or skip it with --skip-bad"
    assert data.read([path], skip_bad=True).labels.tolist() == [0, 2, 3]
    assert capsys.readouterr().err == f"{path}: row 1: {reported}\nskipped: 1 bad row (--skip-bad)\n"


def test_damaged_archive_is_reported_without_numpy_hints(tmp_path: Path) -> None:
    whole = archive(tmp_path).read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    np.save(tmp_path / "alone.npy", IMAGES)
    alone = (tmp_path / "alone.npy").read_bytes()
    for content in (b"", b"hello", pickle.dumps({}), whole[:middle], flipped, alone):
        path = tmp_path / "b.npz"
        path.write_bytes(content)
        assert error_line(path) == DAMAGED


def test_command_reports_a_damaged_archive_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.npz"
    path.touch()
    assert main(["portraits", "--data", str(path), "--out", str(tmp_path / "faces.npz")]) == 1
    assert capsys.readouterr().err == f"{path}: {DAMAGED}\n"


def test_unused_array_may_be_anything(tmp_path: Path) -> None:
    path = archive(tmp_path, names=np.array(["a", None], object))
    assert len(data.read([path])) == 4


def test_larger_pictures_are_cropped_and_an_empty_archive_is_reported(tmp_path: Path) -> None:
    path = archive(tmp_path, images=np.zeros((4, 64, 64), np.uint8))
    assert data.read([path]).images.shape == (4, 48, 48)
    none = {name: array[:0] for name, array in GOOD.items()}
    path = archive(tmp_path, **{**none, "images": np.zeros((0, 64, 64), np.uint8)})
    assert error_line(path) == "no usable row"
