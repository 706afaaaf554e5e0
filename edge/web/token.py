"""The page's token: a file of the state directory, made at the first start."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from edge.host.disk import write_whole
from edge.host.places import WITHOUT_HOME, state_file
from edge.types import EdgeError

NAME = "web_token"
_LONGEST = 256  # bytes of the file that are read


class Token:
    """The token in *path*, reread when the file changes; *cookie* is the name of a browser's."""

    def __init__(self, path: Path, cookie: str) -> None:
        self.cookie = cookie
        self._path = path
        self._seen: tuple[int, int, int] | None = None  # of the file that was read
        self._digest = b""

    def matches(self, given: str) -> bool:
        """Whether *given* is the token; nothing is while the file cannot be read."""
        digest = self._current()
        return bool(digest) and hmac.compare_digest(_digest(given), digest)

    def session(self) -> str:
        """What a browser's cookie carries instead of the token; another one after a rotation."""
        return hashlib.sha256(b"session " + self._current()).hexdigest()

    def opens(self, cookie: str) -> bool:
        """Whether *cookie* is session()."""
        return bool(self._current()) and hmac.compare_digest(cookie.encode(), self.session().encode())

    def _current(self) -> bytes:
        """The token's digest; empty where there is no readable token."""
        try:
            found = self._path.stat()
            seen = found.st_mtime_ns, found.st_ino, found.st_size
            if seen != self._seen:
                self._digest, self._seen = _digest(_read(self._path)), seen
        except (OSError, EdgeError):
            self._digest, self._seen = b"", None
        return self._digest


def write_token(path: Path) -> str:
    """Put a new token into *path*, readable by its owner alone; OSError."""
    token = secrets.token_urlsafe(24)
    write_whole(path, token + "\n", mode=0o600)
    return token


def rotate_token(path: Path) -> str:
    """As write_token(); as root the process becomes the file's owner first, and stays so.

    The daemon must be able to read it, and root must follow no link that is laid in the daemon's folder.
    """
    owner = path.lstat()
    if os.geteuid() == 0:
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
    return write_token(path)


def find_token(node: str) -> Path:
    """The file of *node*'s token; EdgeError where no daemon has made one yet."""
    own = state_file(NAME, node)
    places = (own, WITHOUT_HOME / own.name)
    for path in places:
        try:
            if path.exists():
                return path
        except PermissionError as error:
            raise EdgeError(f"{path}: permission denied; run this as root or as the daemon's user") from error
    raise EdgeError(f"{own}: no token yet; set web.enabled = true and start the daemon")


def read_token(path: Path) -> str:
    """The token in *path*; EdgeError."""
    try:
        return _read(path)
    except OSError as error:
        raise EdgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _read(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(_LONGEST).decode("ascii", "replace").strip()
    if len(text) < 16:
        raise EdgeError(f"{path}: not a token; make another with `emotion-edge web token --new`")
    return text


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
