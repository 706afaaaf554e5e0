"""Shared by the three command lines: exit codes, and options that are numbers."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edge.host.addresses import has_scheme
from edge.host.redaction import masked
from edge.types import EdgeError

N = TypeVar("N", int, float)

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def ended(work: Callable[[], int], interrupted: str = "") -> int:
    """Run *work*; its exit code, or that of its error, which is one line on stderr.

    *interrupted* is printed after Ctrl-C. An unexpected error shows its traceback with PYTHONDEVMODE=1.
    """
    open_standard_streams()
    try:
        code = work()
        sys.stdout.flush()
    except EdgeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) is gone; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        words = " ".join(masked(str(error)).split())
        print(
            f"unexpected {type(error).__name__}: {words}; this is a bug, please report it with the log",
            file=sys.stderr,
        )
        return 1
    return code


def open_standard_streams() -> None:
    """Open /dev/null for a closed standard stream (``>&-``), or output goes into the next socket or camera.

    Characters that the terminal's encoding lacks, and bytes of file names that are no text, are escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def file_path(text: str) -> Path:
    """The type of an option that is a file or folder; refuses addresses, which may hold a password."""
    if has_scheme(text):
        raise argparse.ArgumentTypeError(f"found {masked(text)}; expected a file or folder of this machine")
    return Path(text)


def whole(least: int = 0, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number from *least* to *most*."""
    return _bounded(int, "a whole number", least, math.inf if most is None else most)


def number(least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """The type of an option that is a finite number from *least* to *most*."""
    return _bounded(float, "a number", least, most)


def _bounded(kind: Callable[[str], N], words: str, least: float, most: float) -> Callable[[str], N]:
    upwards = "on" if most == math.inf else f"to {most:.15g}"
    bounds = "" if least == -math.inf else f" from {least:g} {upwards}"

    def parse(text: str) -> N:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if least <= value <= most and abs(value) < math.inf:
                return value
        raise argparse.ArgumentTypeError(f"found {text!a}; expected {words}{bounds}")

    return parse
