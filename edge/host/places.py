"""Where the daemon keeps what must outlast it: one folder, systemd's where there is one.

A file there is one node's alone and has the node's id in its name: a machine may run two daemons as one
user, and no lock holds between them.
"""

from __future__ import annotations

import os
from pathlib import Path

WITHOUT_HOME = Path("/var/lib/emotion-edge")


def state_file(name: str, node: str) -> Path:
    """*node*'s own ``NAME.suffix`` in the state directory: ``NAME-NODE.suffix``."""
    stem, dot, suffix = name.partition(".")
    return state_directory() / f"{stem}-{node}{dot}{suffix}"


def state_directory() -> Path:
    """systemd's state directory, else ``emotion-edge`` in the user's data directory; it may not exist yet.

    A user without a home (a container's, who has no passwd entry) has the system's, if it lets him.
    """
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
