"""Files that outlast the daemon, on a disk that may refuse, or hang without an error.

A card that dies often stops answering: a system call on it then never returns, and no deadline helps the
thread that made it. So what must not stop leaves the disk to another thread and watches the clock.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

HANG_S = 5.0  # without an answer; cards collect garbage for a second or two
READ_S = 3.0  # for a state file at the start
SETTLE_S = 1.0  # longest wait for a write
MAX_STATE_BYTES = 1 << 20
AGAIN_S = 10.0  # between two attempts to write what was refused
SILENT = "disk does not answer; kept in memory"


class DiskWatch:
    """How long one thread, in waiting(), has waited for the disk. *what* is the file, as the log names it."""

    def __init__(self, what: object) -> None:
        self._what = what
        self._since: float | None = None  # monotonic s
        self._logged = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        began = self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            if self._logged:
                self._logged = False
                log.info("%s: disk answers again, after %.0f s", self._what, time.monotonic() - began)

    @property
    def waited_s(self) -> float:
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def hangs(self) -> bool:
        """Whether the disk has not answered for HANG_S; logged once."""
        if self.waited_s < HANG_S:
            return False
        if not self._logged:
            self._logged = True
            log.warning("%s: %s", self._what, SILENT)
        return True


class StateFiles:
    """Writes small files whole, in its own thread; of several texts for one path only the last.

    What the disk refuses is logged once and tried again each AGAIN_S, for ever. Only flush() and close()
    block. *write* puts a text in a path's place and raises OSError.
    """

    def __init__(self, folder: Path, write: Callable[[Path, str], None] | None = None) -> None:
        self._write = write or write_whole
        self._watch = DiskWatch(folder)
        self._work = threading.Condition()  # guards all below
        self._wanted: dict[Path, str] = {}  # not on the disk yet
        self._refused: dict[Path, str] = {}  # why not
        self._asked = self._done = 0  # calls of write(); those that were carried out or refused
        self._closing = False
        self._thread = threading.Thread(target=self._write_on, name="state files", daemon=True)
        self._thread.start()

    def write(self, path: Path, text: str) -> int:
        """Have *text* (ASCII) in the place of what *path* holds; the number to ask settled() with."""
        with self._work:
            self._wanted[path] = text
            self._asked += 1
            self._work.notify_all()
            return self._asked

    def settled(self, number: int) -> bool:
        """Whether the wait is over: written, refused, or the disk takes too long."""
        return self._done >= number or self._watch.waited_s > SETTLE_S

    @property
    def storage(self) -> str:
        """``ok``, or why a file cannot be written for now."""
        if self._watch.hangs():
            return SILENT
        with self._work:
            return next((f"{reason}; kept in memory" for reason in self._refused.values()), "ok")

    def flush(self, timeout_s: float) -> bool:
        """Wait until all was carried out or refused; False where that takes longer than *timeout_s*."""
        with self._work:
            return self._work.wait_for(lambda: self._done == self._asked, timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is not written; a disk that hangs is given up after *timeout_s*."""
        with self._work:
            self._closing = True
            self._work.notify_all()
        self._thread.join(timeout_s)

    def _write_on(self) -> None:
        while not self._closing or self._done < self._asked:
            with self._work:
                again = AGAIN_S if self._wanted else None
                self._work.wait_for(lambda: self._closing or self._done < self._asked, again)
                number, texts = self._asked, dict(self._wanted)
            for path, text in texts.items():
                self._try(path, text)
            with self._work:
                self._done = number
                self._work.notify_all()

    def _try(self, path: Path, text: str) -> None:
        try:
            with self._watch.waiting():
                self._write(path, text)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            with self._work:
                known = self._refused.get(path) == reason
                self._refused[path] = reason
            if not known:
                log.warning("%s: %s; kept in memory, a restart forgets it", path, reason)
            return
        with self._work:
            if self._wanted.get(path) is text:
                del self._wanted[path]
            refused = self._refused.pop(path, None)
        if refused is not None:
            log.info("%s: written again", path)


@dataclass(frozen=True)
class StateFile(Generic[T]):
    """A file that remembers one value, as {"v": 2, *key*: value} in JSON."""

    path: Path
    key: str
    parse: Callable[[dict[str, Any]], T]  # of JSON's value; ValueError where it is none of ours
    loss: str  # what an unreadable file means

    def read(self) -> T:
        """The value; the empty one where there is no file or, with a warning, none that can be used."""
        try:
            content = json.loads(read_whole(self.path, MAX_STATE_BYTES))
            value = content.get(self.key) if isinstance(content, dict) and content.get("v") == 2 else None
            if isinstance(value, dict):
                return self.parse(value)
            raise ValueError("of another version")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else "damaged"
            log.warning("%s: %s; %s", self.path, str(reason).lower(), self.loss)
        return self.parse({})

    def text(self, value: Mapping[str, Any]) -> str:
        """What read() reads."""
        return json.dumps({"v": 2, self.key: value})


def write_whole(path: Path, content: str | bytes, mode: int = 0o666) -> None:
    """Put *content* (a text: ASCII) in the place of what *path* holds; OSError, and the old file, on failure.

    Even after a power cut *path* holds the old or the new, never a part. Its folder is made; the umask
    restricts *mode*. For one writer a path.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new_path = path.with_name(f"{path.name}.new")
    new_path.unlink(missing_ok=True)  # it would keep its mode
    with open(new_path, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content.encode("ascii") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new_path, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the rename is the folder's content
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that know no such thing
            raise
    finally:
        os.close(folder)


def read_whole(path: Path, most: int) -> bytes:
    """What *path* holds, at most *most* bytes; OSError, also where that takes longer than READ_S."""
    content: list[bytes | OSError] = []

    def read() -> None:
        try:
            with path.open("rb") as file:
                content.append(file.read(most))
        except OSError as error:
            content.append(error)

    reader = threading.Thread(target=read, name=f"read {path.name}", daemon=True)
    reader.start()
    reader.join(READ_S)
    if not content:
        raise TimeoutError(errno.ETIMEDOUT, "disk does not answer")
    if isinstance(content[0], OSError):
        raise content[0]
    return content[0]
