"""An outbox in a folder, and helpers to fill, drain and inspect it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge.mqtt.outbox import Outbox
from edge.types import Message

FILE = "outbox.sqlite3"
BODY = b'{"id":"%d","replayed":false}'


@contextmanager
def outbox(folder: Path, wake: Callable[[], None] = lambda: None, **keywords: object) -> Iterator[Outbox]:
    box = Outbox(folder / FILE, **keywords)  # type: ignore[arg-type]
    box.start(wake)
    try:
        yield box
    finally:
        box.close()


def message(number: int, padding: int = 0) -> Message:
    return Message("p/n/hall/log", BODY % number + b" " * padding, qos=1, durable=True)


def append(box: Outbox, *numbers: int) -> None:
    for number in numbers:
        box.append(message(number))


def send(box: Outbox, limit: int = 100_000) -> list[tuple[int, bool]]:
    """Send and acknowledge everything: (number, replayed) in order of sending."""
    reported: list[tuple[int, bool]] = []
    while len(reported) < limit and (box.health().depth or box.in_flight):
        if (found := box.next(10)) is None:
            time.sleep(0.002)
            continue
        entry, sending = found
        body = json.loads(sending.payload)
        reported.append((int(body["id"]), body["replayed"]))
        box.sent(len(reported), entry)
        box.acknowledged(len(reported))
    return reported


def stored(folder: Path) -> list[int]:
    """The numbers committed so far, as a SIGKILL would leave them."""
    return [int(json.loads(payload)["id"]) for payload in payloads_in(folder)]


def payloads_in(folder: Path) -> list[bytes]:
    """The payloads in the outbox in *folder*, read from a copy of its files."""
    copy = folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in folder.glob(f"{FILE}*"):
        shutil.copy(path, copy)
    with closing(sqlite3.connect(copy / FILE)) as connection:
        try:
            rows = connection.execute("SELECT payload FROM messages ORDER BY number").fetchall()
        except sqlite3.OperationalError:  # copied before the first commit
            return []
    return [payload for (payload,) in rows]
