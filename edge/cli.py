"""What the three command lines share: how they end, and the numbers that an option takes."""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Callable

from edge.host.redaction import masked
from edge.types import EdgeError

INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def ended(work: Callable[[], int], interrupted: str = "") -> int:
    """The exit code of *work*, which an error ends with one line on stderr and its own code.

    *interrupted* is said after Ctrl-C. What nobody foresaw shows its traceback with PYTHONDEVMODE=1; the
    daemon's is in its log as well.
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
        # The reader (head, less) has gone; keep the interpreter's last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        told = " ".join(masked(str(error)).split())
        print(
            f"unexpected {type(error).__name__}: {told}; this is a bug, please report it with the log",
            file=sys.stderr,
        )
        return 1
    return code


def open_standard_streams() -> None:
    """Let what was started without a standard stream (``>&-``) print into nothing.

    Else what is opened next, a socket or a camera, would take its descriptor and be printed into. What a
    terminal's encoding lacks, also a file name that is no text, comes out as its number: output never ends
    over a character.
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


def whole(least: int = 0, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number from *least* on, up to *most*."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            upwards = "on" if most is None else f"to {most}"
            raise argparse.ArgumentTypeError(
                f"found {text!a}; expected a whole number from {least} {upwards}"
            )
        return value

    return parse


def number(least: float = -math.inf) -> Callable[[str], float]:
    """The type of an option that is a finite number of at least *least*."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= least):
            upwards = "" if least == -math.inf else f" from {least:g} on"
            raise argparse.ArgumentTypeError(f"found {text!a}; expected a number{upwards}")
        return value

    return parse
