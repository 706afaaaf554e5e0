"""The folder for persistent state, systemd's where there is one; and what the system's own files say.

Each file has its node's id in the name: two daemons may run as one user, and nothing locks between them.
"""

from __future__ import annotations

import os
from pathlib import Path

WITHOUT_HOME = Path("/var/lib/emotion-edge")  # for a container's user, who has no passwd entry


def state_file(name: str, node: str) -> Path:
    """*node*'s own ``NAME.suffix`` in the state directory: ``NAME-NODE.suffix``."""
    stem, dot, suffix = name.partition(".")
    return state_directory() / f"{stem}-{node}{dot}{suffix}"


def state_directory() -> Path:
    """systemd's state directory, else one in the user's data directory, else WITHOUT_HOME; maybe missing."""
    # StateDirectory= may name several, separated by colons; the first is the unit's own.
    state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if state:
        return Path(state)
    # The XDG specification: a relative path is to be ignored.
    data = os.environ.get("XDG_DATA_HOME", "")
    if data.startswith("/"):
        return Path(data) / "emotion-edge"
    home = os.path.expanduser("~") if os.environ.get("HOME", "/") else "~"
    return Path(home, ".local/share/emotion-edge") if home.startswith("/") else WITHOUT_HOME


def content_of(path: Path) -> str:
    """The text of *path*, a small file of the system, stripped; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
