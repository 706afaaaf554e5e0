"""All files in place or none: full disks, folders that cannot be written, names that are taken."""

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


def test_the_card_comes_last_so_that_an_old_one_refuses_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[str] = []
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        placed.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write(tmp_path, FILES)
    assert placed == ["emotion.tflite", "emotion.golden.npz", "emotion.json"]


# No file of the process may grow over 4096 bytes: the system refuses as it does when a disk is full. In a
# process of its own, because the limit holds for what the tests themselves write, too.
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


def test_a_full_disk_keeps_the_old_files(tmp_path: Path) -> None:
    (tmp_path / "emotion.json").write_bytes(b"old")
    command = [sys.executable, "-c", SMALL_FILES, str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{tmp_path}: File too large; nothing was written\n"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("emotion.json", b"old")]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_whole_command_on_a_full_disk_ends_with_1_and_one_line(
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


def test_a_name_that_is_taken_by_a_folder_brings_back_what_was_replaced(tmp_path: Path) -> None:
    (tmp_path / "emotion.tflite").write_bytes(b"old")
    (tmp_path / "emotion.json").mkdir()
    (tmp_path / "emotion.json" / "mine").touch()
    assert refusal(tmp_path) == f"{tmp_path}: emotion.json is a folder; nothing was written"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["emotion.json", "emotion.tflite"]
    assert (tmp_path / "emotion.tflite").read_bytes() == b"old"
    assert (tmp_path / "emotion.json" / "mine").exists()


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Path]:
    """A folder that this user cannot write to."""
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    if os.geteuid():
        yield folder
        return
    # Root may write anywhere, but for a disk that is mounted to be read.
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], capture_output=True).returncode:
        pytest.skip("root may write anywhere, and cannot mount a disk here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_an_unwritable_folder_is_reported_before_the_work(
    sealed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_model = tmp_path / "no.keras"  # the next error
    for out in (sealed, sealed / "new" / "out"):
        assert quantize(tmp_path, out, model=no_model) == 1
        assert capsys.readouterr().err == f"{sealed}: not writable; expected a writable folder for --out\n"


def test_a_folder_that_was_not_there_is_gone_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"nothing was written$"):
        write(tmp_path / "new", FILES | {"no/such/folder": b""})
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_folder_gets_one_line_even_for_root() -> None:
    out = Path("/proc/emotion-edge")
    assert refusal(out) == f"{out}: No such file or directory; nothing was written"
