"""The outbox file: permissions, disk faults, damage, a second daemon."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.host import disk as disk_module
from edge.mqtt import outbox as outbox_module
from edge.mqtt import store as store_module
from edge.mqtt.health import OutboxHealth
from edge.mqtt.store import Store
from tests.broker import eventually
from tests.disk import disk_that_freezes, fill, frozen, small_disk
from tests.outbox import FILE, append, outbox, send, stored


def test_outbox_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "state"
    with outbox(folder) as box:
        append(box, 1)
        assert eventually(lambda: stored(folder) == [1])
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob(f"{FILE}*")}
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600}


def full_outbox(folder: Path) -> bytes:
    """The bytes of an outbox with 200 messages."""
    with outbox(folder) as box:
        append(box, *range(200))
    return (folder / FILE).read_bytes()


def garbage(content: bytes) -> bytes:
    return bytes(range(256)) * 100


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_hole(content: bytes) -> bytes:
    return content[:4096] + bytes(4096) + content[8192:]


def of_a_newer_version(content: bytes) -> bytes:
    return content[:60] + (99).to_bytes(4, "big") + content[64:]  # user_version


@pytest.mark.parametrize("damage", [garbage, truncated, with_hole, of_a_newer_version])
@pytest.mark.quiet_clock
def test_damaged_file_is_set_aside_and_counted(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = damage(full_outbox(tmp_path))
    (tmp_path / FILE).write_bytes(damaged)
    began = time.monotonic()
    with outbox(tmp_path) as box:
        assert time.monotonic() - began < 10
        assert box.health() == OutboxHealth(0, 0, 0, 1, "ok")
        assert (tmp_path / f"{FILE}.corrupt").read_bytes() == damaged
        append(box, 1)
    assert stored(tmp_path) == [1]
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    with outbox(tmp_path) as box:
        assert box.health().corrupt == 1


def test_only_the_last_damaged_file_is_kept(tmp_path: Path) -> None:
    for number in range(1, 4):
        (tmp_path / FILE).write_bytes(b"no database %d" % number)
        with outbox(tmp_path) as box:
            assert box.health().corrupt == min(number, 2)  # this one and the existing one
    (kept,) = tmp_path.glob("*.corrupt*")
    assert (kept.name, kept.read_bytes()) == (f"{FILE}.corrupt", b"no database 3")
    kept.unlink()
    with outbox(tmp_path) as box:
        assert box.health().corrupt == 0


def test_foreign_database_is_set_aside(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("CREATE TABLE messages (text)")
    other.commit()
    other.close()
    with outbox(tmp_path) as box:
        assert box.health() == OutboxHealth(0, 0, 0, 1, "ok")


def test_file_damaged_while_open_loses_nothing_in_memory(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        append(box, *range(100))
        assert eventually(lambda: len(stored(tmp_path)) == 100)
        # Makes sqlite fail on the next write, as with a damaged page.
        assert box._store is not None
        box._store._connection.execute("DROP TABLE messages")
        append(box, 100)
        assert eventually(lambda: box.health().corrupt == 1)
        assert eventually(lambda: stored(tmp_path) == list(range(101)))
        assert box.health() == OutboxHealth(101, box.health().bytes, 0, 1, "ok")


def test_unwritable_folder_keeps_messages_in_memory_and_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.1)
    (tmp_path / "state").write_text("a file where a folder should be")
    with outbox(tmp_path / "state") as box:
        assert box.health().storage == "file exists; kept in memory"
        append(box, 1, 2)
        (tmp_path / "state").unlink()
        assert eventually(lambda: box.health().storage == "ok")
        assert eventually(lambda: stored(tmp_path / "state") == [1, 2])
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [f"{tmp_path / 'state' / FILE}: file exists; kept in memory"]


def test_second_daemon_waits_for_the_file_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.1)
    with outbox(tmp_path) as first:
        append(first, 1)
        with outbox(tmp_path) as second:
            assert second.health().storage == "in use by another process; kept in memory"
            append(second, 2)
            first.close()
            assert eventually(lambda: second.health().storage == "ok")
            second.begin()
            assert send(second) == [(1, True), (2, True)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with small_disk(tmp_path / "disk"):
        yield tmp_path / "disk"


def test_full_disk_is_reported_and_loses_nothing(disk: Path) -> None:
    with outbox(disk) as box:
        append(box, *range(500))
        assert eventually(lambda: len(stored_on(disk)) == 500)
        foreign = fill(disk)
        began = time.monotonic()
        append(box, *range(500, 1500))
        assert eventually(lambda: box.health().storage != "ok")
        print(f"reported after {time.monotonic() - began:.1f} s: {box.health().storage}")
        assert box.health().storage.endswith("full; kept in memory")
        assert box.health().depth == 1500
        foreign.unlink()
        assert eventually(lambda: box.health().storage == "ok")
        assert eventually(lambda: stored_on(disk) == list(range(1500)))
    assert stored_on(disk) == list(range(1500))


def test_disk_that_fills_up_is_reported_without_a_write(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "PROBE_S", 0.2)
    with outbox(disk) as box:
        foreign = fill(disk)
        assert eventually(lambda: box.health().storage == "disk full")
        foreign.unlink()
        assert eventually(lambda: box.health().storage == "ok")


def test_daemon_started_on_a_full_disk_finds_its_backlog_later(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RETRY_S", 0.1)
    with outbox(disk) as box:
        append(box, *range(100))
    foreign = fill(disk)
    with outbox(disk) as box:
        append(box, *range(100, 1500))
        assert eventually(lambda: box.health().storage.endswith("full; kept in memory"))
        foreign.unlink()
        assert eventually(lambda: box.health().storage == "ok")
        box.begin()
        assert [number for number, _ in send(box, 300)] == list(range(300))


def stored_on(disk: Path) -> list[int]:
    """stored() on a copy where there is room."""
    elsewhere = disk.parent / "elsewhere"
    shutil.rmtree(elsewhere, ignore_errors=True)
    elsewhere.mkdir()
    for path in disk.glob(f"{FILE}*"):
        shutil.copy(path, elsewhere)
    return stored(elsewhere)


@pytest.fixture
def freezable(tmp_path: Path) -> Iterator[Path]:
    with disk_that_freezes(tmp_path / "ext4"):
        yield tmp_path / "ext4"


def test_hung_disk_is_reported_within_10_s_and_delays_no_message(
    freezable: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with outbox(freezable) as box:
        box.begin()
        append(box, 0)
        assert eventually(lambda: stored_on(freezable) == [0])
        with frozen(freezable):
            append(box, *range(1, 500))
            began = time.monotonic()
            assert eventually(lambda: box.health().storage != "ok", 10)
            print(f"reported after {time.monotonic() - began:.1f} s: {box.health().storage}")
            assert box.health().storage == "disk does not answer; kept in memory"
            assert [number for number, _ in send(box)] == list(range(500))
            append(box, 500, 501)
        assert eventually(lambda: box.health().storage == "ok")
        assert eventually(lambda: stored_on(freezable) == [500, 501])
    message = [record.getMessage() for record in caplog.records]
    assert message[0] == f"{freezable / FILE}: disk does not answer; kept in memory"
    assert message[1].startswith(f"{freezable / FILE}: disk answers again, after ")
    assert len(message) == 2


def test_unwritten_messages_of_a_hung_disk_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    write = Store.write

    def hang(self: Store, *arguments: Any) -> list[int]:
        release.wait()
        return write(self, *arguments)

    monkeypatch.setattr(Store, "write", hang)
    monkeypatch.setattr(disk_module, "HANG_S", 0.1)
    with outbox(tmp_path, max_rows=10) as box:
        box.begin()
        append(box, -1)
        assert eventually(lambda: box.health().storage == "disk does not answer; kept in memory")
        assert [it for it, _ in send(box)] == [-1]
        for number in range(500):
            append(box, number)
            assert [it for it, _ in send(box)] == [number]
        assert len(box._unsaved) <= 21
        release.set()
    assert stored(tmp_path) == []


def test_startup_ignores_a_silent_disk_and_sends_its_backlog_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with outbox(tmp_path) as box:
        append(box, 1, 2)
    os.mkfifo(tmp_path / "boot_id")  # read when opening the file; a pipe without a writer blocks
    monkeypatch.setattr(store_module, "BOOT_ID", tmp_path / "boot_id")
    monkeypatch.setattr(disk_module, "HANG_S", 0.2)
    monkeypatch.setattr(outbox_module, "OPEN_S", 0.1)
    with outbox(tmp_path) as box:
        assert eventually(lambda: box.health().storage == "disk does not answer; kept in memory")
        box.begin()
        append(box, 3)
        assert send(box) == [(3, False)]
        (tmp_path / "boot_id").write_text("another")
        assert eventually(lambda: box.health().depth == 2)
        assert send(box) == [(1, True), (2, True)]
