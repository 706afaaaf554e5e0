"""Where the noise of native libraries goes."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*, show_on_error: bool = True) -> Iterator[None]:
    """Keep what C++ and Python code print meanwhile off the terminal.

    If it raises, that is shown after all, unless *show_on_error* is false because one line says it better.

    TensorFlow's log lines come from C++ before any setting is read, so the descriptors are turned away.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # A device may have no place for files: what is not shown anyway goes nowhere.
    with tempfile.TemporaryFile() if show_on_error else open(os.devnull, "w+b") as kept:
        saved = os.dup(1), os.dup(2)
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
                os.close(copy)
