"""A small disk to fill, and one that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(at: Path, size: str = "1m") -> Iterator[None]:
    """Mount a disk of *size* at *at*; skips the test without the privilege."""
    at.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk to fill needs the right to mount a tmpfs (root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk with another file; its path."""
    foreign = disk / "foreign"
    with foreign.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return foreign


@contextmanager
def disk_that_freezes(at: Path) -> Iterator[None]:
    """Mount a new ext4 at *at*, for frozen(); skips the test without the privilege."""
    at.mkdir(parents=True)
    image = at.with_name(f"{at.name}.img")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    try:
        for command in (["mkfs.ext4", "-qF", image], ["mount", "-o", "loop", image, at]):
            subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk to freeze needs mkfs.ext4 and the right to mount a loop device (root)")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@contextmanager
def frozen(at: Path) -> Iterator[None]:
    """Writes to the disk at *at* hang meanwhile, without an error."""
    # Thaw even if the test is killed, or sync(1) hangs on this machine forever.
    script = ["sh", "-c", 'sleep 60; fsfreeze -u "$0"', at]
    thaw = subprocess.Popen(script, start_new_session=True)
    try:
        subprocess.run(["fsfreeze", "-f", at], check=True)
        yield
    finally:
        os.killpg(thaw.pid, signal.SIGKILL)
        thaw.wait()
        subprocess.run(["fsfreeze", "-u", at], check=True)
