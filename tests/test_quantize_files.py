"""All files or none: full disks, unwritable folders, names already taken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.types import EdgeError
from quantize.files import write
from tests.squares import quantize

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = {"emotion.tflite": b"x" * 5000, "emotion.golden.npz": b"y" * 200, "emotion.json": b"{}"}


def refusal(out: Path) -> str:
    with pytest.raises(EdgeError) as caught:
        write(out, FILES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_appear_with_their_content_and_no_others(tmp_path: Path) -> None:
    write(tmp_path / "new" / "out", FILES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "new/out").iterdir()} == FILES


def test_card_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[str] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        placed.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write(tmp_path, FILES)
    assert placed == ["emotion.tflite", "emotion.golden.npz", "emotion.json"]


# RLIMIT_FSIZE of 4096 bytes makes writes fail as on a full disk. In a
# separate process, because the limit applies to everything the process writes.
SMALL_FILES = """
import resource, sys
from pathlib import Path
from edge.types import EdgeError
from quantize.files import write
from tests.test_quantize_files import FILES
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write(Path(sys.argv[1]), FILES)
except EdgeError as error:
    print(error)
"""


def test_full_disk_keeps_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "emotion.json").write_bytes(b"old")
    command = [sys.executable, "-c", SMALL_FILES, str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{tmp_path}: File too large; nothing was written\n"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("emotion.json", b"old")]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_command_on_a_full_disk_exits_1_with_one_line(
    squares_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "none", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        assert quantize(squares_run, disk) == 1
        assert capsys.readouterr().err == f"{disk}: No space left on device; nothing was written\n"
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_target_name_taken_by_a_folder_restores_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "emotion.tflite").write_bytes(b"old")
    (tmp_path / "emotion.json").mkdir()
    (tmp_path / "emotion.json" / "mine").touch()
    assert refusal(tmp_path) == f"{tmp_path}: emotion.json is a folder; nothing was written"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emotion.json", "emotion.tflite"]
    assert (tmp_path / "emotion.tflite").read_bytes() == b"old"
    assert (tmp_path / "emotion.json" / "mine").exists()


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that this user cannot write to."""
    folder = tmp_path / "read_only_folder"
    folder.mkdir(mode=0o500)
    if os.geteuid():
        yield folder
        return
    # Root may write anywhere except on a read-only mount.
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], capture_output=True).returncode:
        pytest.skip("root may write anywhere, and cannot mount a disk here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_unwritable_folder_is_reported_before_the_work(
    read_only_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_model = tmp_path / "no.keras"  # the next error
    for out in (read_only_folder, read_only_folder / "new" / "out"):
        assert quantize(tmp_path, out, model=no_model) == 1
        assert (
            capsys.readouterr().err
            == f"{read_only_folder}: not writable; expected a writable folder for --out\n"
        )


def test_new_folder_is_removed_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"nothing was written$"):
        write(tmp_path / "new", FILES | {"no/such/folder": b""})
    assert list(tmp_path.iterdir()) == []


def test_read_only_folder_gets_one_line_even_for_root() -> None:
    out = Path("/proc/emotion-edge")
    assert refusal(out) == f"{out}: No such file or directory; nothing was written"
