"""A run's figures for TensorBoard, with any backend and without TensorFlow."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_STARTED = time.time()


def log(folder: Path, epoch: int, figures: Mapping[str, float]) -> None:
    """Append *figures* at *epoch* to this process's file in *folder*.

    Does nothing if the package tensorboard is not installed; `warn_if_missing` reports that once.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        return
    folder.mkdir(exist_ok=True)
    # A new file per process, as TensorBoard expects; it shows steps repeated by a resumed run once.
    path = folder / f"events.out.tfevents.{int(_STARTED)}.{os.getpid()}"
    new = not path.exists()
    known = [Summary.Value(tag=tag, simple_value=x) for tag, x in figures.items() if math.isfinite(x)]
    with path.open("ab") as file:
        writer = RecordWriter(file)
        if new:
            writer.write(Event(wall_time=_STARTED, file_version="brain.Event:2").SerializeToString())
        event = Event(wall_time=time.time(), step=epoch, summary=Summary(value=known))
        writer.write(event.SerializeToString())


def warn_if_missing() -> None:
    """Print one line on stderr if `log` cannot log."""
    try:
        import tensorboard.compat.proto.event_pb2  # noqa: F401
    except ImportError:
        print("no TensorBoard log: the package tensorboard is not installed", file=sys.stderr, flush=True)
