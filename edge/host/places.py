"""Where the daemon keeps what must outlast it: one folder, systemd's where there is one."""

from __future__ import annotations

import os
from pathlib import Path


def state_directory() -> Path:
    """systemd's state directory, else ``emotion-edge`` in the user's data directory; it may not exist yet."""
    # StateDirectory= may name several, separated by colons; the first is the unit's own.
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state)
    # The XDG specification: a relative path is to be ignored.
    data = os.environ.get("XDG_DATA_HOME", "")
    base = Path(data) if data.startswith("/") else Path.home() / ".local" / "share"
    return base / "emotion-edge"


def write_whole(path: Path, text: str) -> None:
    """Put *text* (ASCII) in the place of what *path* holds; OSError, and the old file, where that fails.

    Whoever reads *path*, also after a crash, finds the old or the new, never a part. Its folder is made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
