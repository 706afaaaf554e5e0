"""State files: old or new content, never partial."""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge.contract.switches import switches_file
from edge.host import disk
from edge.host.disk import SILENT, StateFiles, read_whole, write_whole
from edge.host.places import state_file
from tests.broker import eventually


def test_write_creates_the_folder_and_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state" / "deep" / "file.json"
    write_whole(path, "old and long")
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert [file.name for file in path.parent.iterdir()] == ["file.json"]
    assert path.parent.stat().st_mode & 0o077 == 0


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_whole(path, "old")
    (tmp_path / "file.json.new").mkdir()  # makes the write fail even for root
    with pytest.raises(OSError, match="Is a directory"):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_read_is_bounded_and_gives_up_on_a_silent_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert read_whole(tmp_path / "file", 4) == b"cont"
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "none", 4)
    monkeypatch.setattr(disk, "READ_S", 0.1)
    os.mkfifo(tmp_path / "pipe")  # opening a pipe blocks until there is a writer, like a dead SD card
    with pytest.raises(TimeoutError, match="disk does not answer"):
        read_whole(tmp_path / "pipe", 4)


def test_last_of_several_texts_is_written_and_each_settles(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    for number in range(100):
        last = files.write(tmp_path / "a", f"{number}")
    other = files.write(tmp_path / "b", "b")
    assert eventually(lambda: files.settled(last))
    assert (tmp_path / "a").read_text() == "99"
    assert eventually(lambda: files.settled(other))
    assert (tmp_path / "b").read_text() == "b"
    assert files.storage == "ok"
    files.write(tmp_path / "a", "the end")
    files.close()
    assert (tmp_path / "a").read_text() == "the end"


@pytest.mark.quiet_clock
def test_hung_write_blocks_nothing_and_ends_with_the_newest_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(disk, "HANG_S", 0.3)
    monkeypatch.setattr(disk, "SETTLE_S", 0.1)
    release = threading.Event()

    def hang(path: Path, text: str) -> None:
        release.wait()
        write_whole(path, text)

    files = StateFiles(tmp_path, hang)
    began = time.monotonic()
    number = files.write(tmp_path / "file", "first")
    assert not files.settled(number)
    files.write(tmp_path / "file", "second")
    assert time.monotonic() - began < 0.1
    assert eventually(lambda: files.settled(number))
    assert eventually(lambda: files.storage == SILENT)
    assert not files.flush(0.1)
    assert not (tmp_path / "file").exists()
    release.set()
    assert files.flush(5)
    assert (files.storage, (tmp_path / "file").read_text()) == ("ok", "second")
    files.close()
    message = [record.getMessage() for record in caplog.records]
    assert message == [f"{tmp_path}: {SILENT}", f"{tmp_path}: disk answers again, after 0 s"]


def test_refused_write_is_reported_once_and_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(disk, "AGAIN_S", 0.05)
    folder = tmp_path / "state"
    folder.write_text("in the way")
    files = StateFiles(folder)
    files.write(folder / "file", "text")
    assert files.flush(5)
    assert files.storage == "file exists; kept in memory"
    time.sleep(0.2)
    folder.unlink()
    assert eventually(lambda: files.storage == "ok")
    assert (folder / "file").read_text() == "text"
    files.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder / 'file'}: file exists; kept in memory, a restart forgets it",
        f"{folder / 'file'}: written again",
    ]


WRITER = """
import sys
from edge.host.disk import StateFiles
from edge.host.places import state_file
from edge.contract.switches import Switches, switches_file, texts
path = state_file("switches.json", sys.argv[1])
files = StateFiles(path.parent)
turned = {}
for number in range(150):
    turned[f"c{number}"] = Switches(hold=float(number % 60))
    files.write(path, switches_file(path).text(texts(turned)))
    assert files.flush(10) and files.storage == "ok", files.storage
files.close()
"""


def test_two_nodes_in_one_folder_do_not_lose_each_others_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    nodes = ("kitchen", "kitchen-pi")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, node]) for node in nodes]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "switches-kitchen-pi.json", "switches-kitchen.json",
    ]  # fmt: skip
    for node in nodes:
        assert len(switches_file(state_file("switches.json", node)).read()) == 150
