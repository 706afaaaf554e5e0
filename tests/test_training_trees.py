"""Folder trees with links, unreadable and unrelated files: read, reported and counted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.types import LABELS, EdgeError
from training import data

IMAGE = (np.arange(48 * 48) % 256).astype(np.uint8).reshape(48, 48)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), IMAGE)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A happy face in train and a sad one in validation."""
    picture(tmp_path / "tree/train/happy/a.png")
    picture(tmp_path / "tree/validation/sad/a.png")
    return tmp_path / "tree"


def error_lines(path: Path) -> list[str]:
    with pytest.raises(EdgeError) as caught:
        data.read([path])
    return str(caught.value).splitlines()


@contextlib.contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Drop root's privileges, if any; the working directory is *folder*."""
    before, user = Path.cwd(), os.geteuid()
    folder.chmod(0o755)
    os.chdir(folder)  # its parent is readable by root only
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        os.chdir(before)


def test_unreadable_picture_is_named_and_can_be_skipped(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tree / "train/fear/shut.png").chmod(0)
    (tree / "train/angry").mkdir(mode=0)
    with unprivileged(tree.parent):
        assert error_lines(Path("tree")) == [
            "tree/train/angry: Permission denied",
            "tree/train/fear/shut.png: Permission denied",
            "1 folder, 1 file; fix them, or skip them with --skip-bad",
        ]
        assert len(data.read([Path("tree")], skip_bad=True)) == 2
    assert capsys.readouterr().err.endswith("\nskipped: 1 folder, 1 file (--skip-bad)\n")


def test_unreadable_folder_is_not_reported_as_empty(tree: Path) -> None:
    (tree / "a.csv").touch()
    tree.chmod(0)
    with unprivileged(tree.parent):
        assert error_lines(Path("tree")) == ["tree: Permission denied"]
        assert error_lines(Path("tree/a.csv")) == ["tree/a.csv: Permission denied"]
    tree.chmod(0o755)


def test_links_to_folders_are_followed_without_cycles(tree: Path) -> None:
    linked = tree.parent / "linked"
    linked.mkdir()
    for split in ("train", "validation"):
        (linked / split).symlink_to(tree / split)
    (tree / "train/up").symlink_to("..")
    (linked / "itself").symlink_to(".")
    assert data.read([tree]).labels.tolist() == [3, 4]
    dataset = data.read([linked])
    # Through train/up the tree's other split is found a second time.
    assert sorted(set(zip(dataset.usage.tolist(), dataset.labels.tolist(), strict=True))) == [(0, 3), (1, 4)]


def test_broken_links_and_special_files_are_named(tree: Path) -> None:
    (tree / "train/happy/b.png").symlink_to(tree / "gone.png")
    (tree / "train/happy/c.png").symlink_to("c.png")
    os.mkfifo(tree / "train/happy/d.png")
    assert error_lines(tree) == [
        f"{tree}/train/happy/b.png: a broken link",
        f"{tree}/train/happy/c.png: Too many levels of symbolic links",
        f"{tree}/train/happy/d.png: neither a file nor a folder",
        "3 files; fix them, or skip them with --skip-bad",
    ]


def test_pictures_of_an_unknown_folder_are_counted(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        picture(tree / f"train/contempt/{number}.png")
    (tree / "train/sad").mkdir()
    assert len(data.read([tree], skip_bad=True)) == 2
    assert capsys.readouterr().err == (
        f"{tree}/train/sad: empty folder\n"
        f"{tree}/train/contempt: not one of the labels {', '.join(LABELS)}\n"
        "skipped: 1 folder, 5 files (--skip-bad)\n"
    )


def test_hidden_files_and_folders_are_ignored(tree: Path) -> None:
    picture(tree / "train/.cache/happy/a.png")
    (tree / "train/happy/.DS_Store").touch()
    assert len(data.read([tree])) == 2


def test_opencv_messages_about_damaged_pictures_are_suppressed(
    tree: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = picture(tree / "train/happy/b.png").read_bytes()
    (tree / "train/happy/b.png").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(tree / "train/happy/c.tiff"), np.zeros((9, 9), np.float32))
    assert error_lines(tree) == [
        f"{tree}/train/happy/b.png: not a readable image",
        f"{tree}/train/happy/c.tiff: not a readable image",
        "2 files; fix them, or skip them with --skip-bad",
    ]
    assert capfd.readouterr() == ("", "")


def test_rows_given_twice_are_rejected(tree: Path) -> None:
    train = tree / "train"
    for paths in ([tree, tree], [tree, train], [train, tree], [tree, tree.parent / "x/../tree"]):
        (tree.parent / "x").mkdir(exist_ok=True)
        with pytest.raises(EdgeError) as caught:
            data.read(paths)
        assert str(caught.value) == f"{paths[1]}: the same rows as in {paths[0]}; name each once"
    packed = tree.parent / "packed"
    packed.mkdir()
    np.savez(packed / "training.npz", images=IMAGE[None], labels=[1])
    with pytest.raises(
        EdgeError, match=r"training\.npz: the same rows as in .*training\.npz; name each once"
    ):
        data.read([packed, packed / "training.npz"])
    assert len(data.read([tree, packed])) == 3


def test_row_labels_are_named_by_their_source(tree: Path) -> None:
    np.savez(tree.parent / "rows.npz", images=IMAGE[None], labels=[1])
    pixels = " ".join(map(str, IMAGE.ravel()))
    for name in ("fer2013.csv", "icml_face_data.csv", "others.CSV"):
        (tree.parent / name).write_text(f"emotion,pixels\n3,{pixels}\n")
    names = ["tree", "rows.npz", "fer2013.csv", "icml_face_data.csv", "others.CSV"]
    dataset = data.read([tree.parent / name for name in names])
    assert dataset.source.tolist() == ["tree", "tree", "FER2013", "FER2013", "FER2013", "others"]
