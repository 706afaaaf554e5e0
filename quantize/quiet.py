"""Where the noise of machine-learning libraries goes."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what C++ and Python code print meanwhile off the terminal; shown only if it raises.

    TensorFlow's log lines come from C++ before any setting is read, so the descriptors are turned away.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
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
            os.write(saved[1], kept.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, number)
                os.close(copy)
