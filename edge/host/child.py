"""Child processes for native libraries, whose crashes and hangs stay there."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys

TIMEOUT_S = 60
# A child's environment: no passwords, none of systemd's credentials.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "LANG", "LC_ALL", "TZ")
_PR_SET_PDEATHSIG = 1


def failure_of(statement: str) -> str:
    """Why the Python *statement* fails in a process of its own, in one line; empty when it does not."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", statement], stdin=subprocess.DEVNULL, capture_output=True,
            timeout=TIMEOUT_S, env=clean_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    return "" if child.returncode == 0 else why_ended(child.returncode, child.stderr)


def why_ended(code: int, stderr: bytes) -> str:
    """Why a child ended with *code* (negative: the signal), and its last output, in one line."""
    last_line = stderr.decode(errors="replace").strip().rpartition("\n")[2][-200:]
    if code < 0:
        crash = f"crashes ({signal.Signals(-code).name})"
        return f"{crash}: {last_line}" if last_line else crash
    return re.sub(r"^\w+Error: ", "", last_line) or f"exit code {code}"


def clean_environment() -> dict[str, str]:
    """The environment for a child: paths of Python, our modules and libraries; nothing secret."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(os.path.abspath(place) for place in sys.path)}


def die_with(parent: int) -> None:
    """Have the kernel kill this process, without a core, once the thread of *parent* that started it ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it had ended already
        os._exit(1)
