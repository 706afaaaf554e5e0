"""Trying something in a process of its own: what a foreign library does there cannot end this one."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

TIMEOUT_S = 60


def failure_of(statement: str, given: bytes = b"") -> str:
    """Why the Python *statement* fails in a process of its own, in one line; empty when it does not.

    It finds *given* on its standard input.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-c", statement], input=given, capture_output=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    if child.returncode == 0:
        return ""
    if child.returncode < 0:
        return f"crashes ({signal.Signals(-child.returncode).name})"
    last_line = child.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return re.sub(r"^\w+Error: ", "", last_line) or f"exit code {child.returncode}"
