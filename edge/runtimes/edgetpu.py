"""Compiled TFLite models on a Coral Edge TPU, by ai-edge-litert and libedgetpu.

Written after their documentation; no Edge TPU was at hand to run it on.
"""

from __future__ import annotations

from typing import Any

from edge.host.child import failure_of
from edge.host.quiet import quiet
from edge.runtimes.litert import LiteRT
from edge.types import EdgeError

LIBRARY = "libedgetpu.so.1"
_TRIAL = (
    "import sys; from edge.runtimes.edgetpu import run_trial; sys.exit(run_trial(sys.stdin.buffer.read()))"
)


def open_edgetpu(content: bytes, *, threads: int = 1) -> LiteRT:
    """A runtime for *content*, compiled by edgetpu_compiler; EdgeError where library or chip is missing."""
    check_library()
    # A libedgetpu made for another TFLite takes the whole process with it (google-coral/edgetpu, issue
    # 812): the first try is a child's.
    failure = failure_of(_TRIAL, content)
    if failure:
        raise EdgeError(
            f"Edge TPU: {failure}; plug the chip in, install a libedgetpu made for this TFLite, "
            'or set model.runtime = "cpu"'
        )
    return _open(content, threads)


def check_library() -> None:
    """EdgeError unless the library is there and does not crash what loads it."""
    failure = failure_of(f"import ctypes; ctypes.CDLL({LIBRARY!r})")
    if failure:
        what = f"{LIBRARY} not found" if "cannot open shared object" in failure else failure
        raise EdgeError(f'Edge TPU: {what}; install libedgetpu1-std or set model.runtime = "cpu"')


def run_trial(content: bytes) -> str:
    """Open *content* in this process: why that fails in one line, or nothing."""
    try:
        _open(content, threads=1)
    except EdgeError as error:
        return str(error)
    return ""


def _open(content: bytes, threads: int) -> LiteRT:
    return LiteRT(content, threads=threads, delegate=_delegate(), chip="edgetpu")


def _delegate() -> Any:
    from ai_edge_litert.interpreter import load_delegate

    try:
        with quiet(show_on_error=False):
            return load_delegate(LIBRARY)
    # OSError: no such library. AttributeError: no delegate in it. ValueError: it finds no chip.
    except (OSError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split()) or "no chip found"
        raise EdgeError(f"{LIBRARY} gives no delegate: {reason}") from error
