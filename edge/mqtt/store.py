"""The outbox's file: an sqlite database (WAL) that belongs to one process at a time.

A commit survives the process's death at any moment. It is not flushed at once (synchronous = NORMAL), for the
SD card's sake: a power cut may cost what the kernel had not written yet, some 30 s.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from edge.host.places import content_of

MIN_FREE_BYTES = 256 * 1024  # on the disk; less is reported before a commit fails
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_VERSION = 1  # of the schema, in user_version
_SCHEMA = (
    "CREATE TABLE messages (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL,"
    " taken REAL NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "INSERT INTO facts VALUES ('dropped', 0), ('boot', '')",
    f"PRAGMA user_version = {_VERSION}",
)


class DamagedError(Exception):
    """The file is not an outbox, or damaged."""


class Row(NamedTuple):
    topic: str
    payload: bytes
    taken: float  # s since the machine was booted (CLOCK_BOOTTIME)


class Store:
    """The open file at *path*, made where there is none, for its owner alone; *now* is CLOCK_BOOTTIME in s.

    Every method raises DamagedError where the file must be set aside, sqlite3.OperationalError or OSError
    where it may be tried again (disk full, no permission, another process has it).
    """

    def __init__(self, path: Path, now: float) -> None:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.fchmod(descriptor, 0o600)  # sqlite gives its other files the same
        os.close(descriptor)
        # Opened in one thread and used in another one afterwards, never by two.
        self._connection = sqlite3.connect(path, 0.5, isolation_level=None, check_same_thread=False)
        try:
            with _damage():
                self._prepare()
                self._count_age_from(now)
                ((last,),) = self._connection.execute("SELECT max(number) FROM messages")
                ((dropped,),) = self._connection.execute("SELECT value FROM facts WHERE name = 'dropped'")
                self._next, self.dropped = (last or 0) + 1, int(dropped)
        except BaseException:
            self.close()
            raise

    def rows(self) -> list[tuple[int, Row]]:
        """(number, row), oldest first."""
        with _damage():
            found = self._connection.execute("SELECT * FROM messages ORDER BY number").fetchall()
            return [
                (number, Row(topic.decode(), bytes(memoryview(payload)), float(taken)))
                for number, topic, payload, taken in found
            ]

    def write(self, add: Iterable[Row], remove: Iterable[int], dropped: int) -> list[int]:
        """In one commit: the numbers under which *add* was stored, rising from commit to commit."""
        rows = [(number, *row) for number, row in enumerate(add, self._next)]
        with _damage(), self._transaction():
            self._connection.executemany("DELETE FROM messages WHERE number = ?", [(it,) for it in remove])
            self._connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
            if dropped != self.dropped:
                self._connection.execute("UPDATE facts SET value = ? WHERE name = 'dropped'", (dropped,))
        self.dropped = dropped
        self._next += len(rows)
        return [number for number, *_ in rows]

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # what was committed stays, in the WAL at least
            self._connection.close()

    def _prepare(self) -> None:
        execute = self._connection.execute
        self._connection.text_factory = bytes  # a damaged text is then found in rows(), not in sqlite3
        execute("PRAGMA locking_mode = EXCLUSIVE")  # two daemons must not both send this
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA journal_size_limit = 1048576")
        if execute("PRAGMA quick_check(1)").fetchone()[0] != b"ok":
            raise DamagedError("sqlite's check failed")
        ((version,),) = execute("PRAGMA user_version").fetchall()
        if version == 0 and not execute("SELECT * FROM sqlite_master").fetchall():
            with self._transaction():
                for statement in _SCHEMA:
                    execute(statement)
        elif version != _VERSION:
            raise DamagedError(f"its schema has version {version}, not {_VERSION}")

    def _count_age_from(self, now: float) -> None:
        """Keep the rows' ages over a reboot of the machine, when CLOCK_BOOTTIME begins again.

        Only the wall clock knows how long the machine was off, and it may be years wrong: that time does not
        count, so that nothing expires early.
        """
        boot = content_of(BOOT_ID).encode()
        execute = self._connection.execute
        (known,) = execute("SELECT value FROM facts WHERE name = 'boot'").fetchone()
        (last,) = execute("SELECT max(taken) FROM messages").fetchone()
        if known == boot and (last is None or last <= now):
            return
        with self._transaction():
            execute("UPDATE facts SET value = ? WHERE name = 'boot'", (boot.decode(),))
            if last is not None:
                execute("UPDATE messages SET taken = taken + ?", (now - last,))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # sqlite may have rolled back by itself
                self._connection.execute("ROLLBACK")
            raise


def aside(path: Path) -> Path:
    """Where a damaged file at *path* goes."""
    return path.with_name(f"{path.name}.corrupt")


def set_aside(path: Path) -> None:
    """Rename the damaged file at *path*, with its log, over an earlier one."""
    for suffix in ("", "-wal"):
        Path(f"{aside(path)}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{aside(path)}{suffix}")
    Path(f"{path}-shm").unlink(missing_ok=True)


def space(path: Path) -> str:
    """``ok``, or that the disk of *path* is about to be full; OSError."""
    disk = os.statvfs(path.parent)
    return "ok" if disk.f_bavail * disk.f_frsize >= MIN_FREE_BYTES else "disk full"


def refusal(error: Exception) -> str:
    """Why the file cannot be used for now, in a few words."""
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "in use by another process" if "locked" in str(error) else str(error)


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Turn what sqlite or a foreign value says of the content into DamagedError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "no such" in str(error):  # a table or a column
            raise DamagedError(str(error)) from error
        raise
    except (sqlite3.DatabaseError, AttributeError, TypeError, ValueError) as error:
        raise DamagedError(str(error)) from error
