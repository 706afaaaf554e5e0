"""Damaged model files and the daemon's reaction to them (row 17)."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edge.analysis.detectors import FACES, open_detector
from edge.analysis.engine import open_chain
from edge.settings.tables import MODEL_FILE
from edge.types import EdgeError
from tests.chaos import Figure


def damaged(folder: Path, mutants: int, seed: int = 1) -> list[Figure]:
    """Row 17: load *mutants* damaged classifiers and detectors, and one of 1 GB."""
    slowest, lines, reached, count = 0.0, 0, 0, 0
    for shipped, load in ((MODEL_FILE, open_chain), (FACES, lambda path: open_detector("ssd", file=path))):
        path = folder / shipped.name
        shutil.copy(shipped.with_suffix(".json"), path.with_suffix(".json"))
        for _ in mutations(path, shipped.read_bytes(), mutants // 2, random.Random(seed)):
            began = time.monotonic()
            try:
                load(path)
                reason = "it was taken"
            except EdgeError as error:
                reason = str(error)
            slowest = max(slowest, time.monotonic() - began)
            count += 1
            lines = max(lines, reason.count("\n") + 1)
            # An interpreter's error starts with its package name instead.
            reached += not reason.startswith(f"{path}: ")
    return [
        Figure("17", f"of {count} mutants not refused before an interpreter saw them", reached, 0),
        Figure("17", "s until refused, the slowest", slowest, 5),
        Figure("17", "lines of a reason, the longest", lines, 1),
    ]


def mutations(path: Path, content: bytes, count: int, chance: random.Random) -> Iterator[None]:
    """Write *content* to *path* truncated, with flipped bits, replaced by noise, then grown to 1 GB."""
    for number in range(count):
        match number % 3:
            case 0:
                wrong = content[: chance.randrange(len(content))]
            case 1:
                flipped = bytearray(content)
                for _ in range(chance.choice((1, 1, 8, 1000))):
                    at = chance.randrange(len(content))
                    flipped[at] ^= 1 << chance.randrange(8)
                wrong = bytes(flipped) if flipped != content else b""
            case _:
                wrong = chance.randbytes(chance.choice((1, 100, len(content))))
        path.write_bytes(wrong)
        yield
    with path.open("wb") as file:
        file.write(content)
        file.truncate(10**9)
    yield
    path.unlink()
