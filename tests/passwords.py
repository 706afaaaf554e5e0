"""User names and passwords for a broker under test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Part of mosquitto.
TOOL = shutil.which("mosquitto_passwd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/bin")


def password_file(folder: Path, **users: str) -> Path:
    """A file in *folder* for mosquitto's password_file, with each name's password; - is _ in *users*."""
    assert TOOL, "mosquitto is not installed: apt-get install mosquitto"
    path = folder / "passwords"
    path.touch(0o600)
    for name, password in users.items():
        subprocess.run(
            [TOOL, "-b", str(path), name.replace("_", "-"), password], check=True, capture_output=True
        )
    return path
