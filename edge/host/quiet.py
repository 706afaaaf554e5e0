"""Silences native libraries."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

import cv2

SILENT = 0  # OpenCV's LOG_LEVEL_SILENT, which only newer versions name

_turning = threading.RLock()  # the descriptors are the whole process's


@contextlib.contextmanager
def quiet(*, show_on_error: bool = True) -> Iterator[None]:
    """Keep what C++ and Python code print meanwhile off the terminal; log lines still come through.

    If it raises, that is shown after all, if *show_on_error*. Another thread's quiet() waits.

    TensorFlow's log lines come from C++ before any setting is read, so the descriptors are turned away: for
    every thread, since a process has but one pair of them. Log lines go to a copy of the true one meanwhile.
    """
    with _turning:
        sys.stdout.flush()
        sys.stderr.flush()
        # Without room for a temporary file the output is dropped.
        with tempfile.TemporaryFile() if show_on_error else open(os.devnull, "w+b") as kept:
            saved = os.dup(1), os.dup(2)
            with _log_to(saved[1]):
                os.dup2(kept.fileno(), 1)
                os.dup2(kept.fileno(), 2)
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # theirs about themselves
                        yield
                except BaseException:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    kept.seek(0)
                    if show_on_error:
                        os.write(saved[1], kept.read())
                    raise
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    for number, copy in zip((1, 2), saved, strict=True):
                        os.dup2(copy, number)
            for copy in saved:
                os.close(copy)


@contextlib.contextmanager
def _log_to(descriptor: int) -> Iterator[None]:
    """The root logger's handlers that write to stderr write to *descriptor*."""
    turned: list[tuple[logging.StreamHandler[Any], TextIO]] = []
    # Not closed with the file: the descriptor has an owner.
    with open(descriptor, "w", buffering=1, errors="backslashreplace", closefd=False) as stream:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and _descriptor_of(handler.stream) == 2:
                turned.append((handler, handler.stream))
                handler.setStream(stream)
        try:
            yield
        finally:
            for handler, before in turned:
                handler.setStream(before)


def log_level(level: int) -> int:
    """Set OpenCV's log level; the level before."""
    # Seen: 4.14 has cv2.utils.logging; 4.11, the last that works with numpy 1, has the two in cv2 itself.
    home: Any = getattr(cv2.utils, "logging", cv2)
    before = int(home.getLogLevel())
    home.setLogLevel(level)
    return before


def _descriptor_of(stream: Any) -> int | None:
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):  # a stream in memory, or a closed one
        return None
