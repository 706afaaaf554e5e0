"""Scripted sources, and a log of what a capture reports."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edge.types import EdgeError, Image
from tests.broker import PATIENCE_S, eventually


class ScriptedSource:
    """A source that returns picture(n) every *period* seconds until interrupted."""

    still = False

    def __init__(self, picture: Callable[[int], Image], period: float = 0.01) -> None:
        self.picture = picture
        self.period = period
        self.count = 0
        self.interrupted = threading.Event()
        self.closed = threading.Event()
        self.closed_by: str | None = None

    def read(self) -> Image:
        if self.interrupted.wait(self.period):
            raise EdgeError("closed while it was read")
        self.count += 1
        return self.picture(self.count)

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.interrupted.set()
        self.closed.set()
        self.closed_by = threading.current_thread().name


class Hanging(ScriptedSource):
    """Hangs in its third read until the test ends, like a driver that interrupt() cannot wake."""

    over = threading.Event()

    def read(self) -> Image:
        if self.count == 2:
            self.over.wait(60)
        return super().read()


class FailingAtThree(ScriptedSource):
    """Fails in its third read, like an unplugged camera."""

    def read(self) -> Image:
        if self.count == 2:
            raise EdgeError("no picture came; unplugged?")
        return super().read()


class HangingInClose(FailingAtThree):
    """Fails, then hangs in close() until the test ends."""

    def close(self) -> None:
        Hanging.over.wait(60)
        super().close()


class RaisingInClose(FailingAtThree):
    def close(self) -> None:
        super().close()
        raise RuntimeError("VIDIOC_STREAMOFF: no such device")


@pytest.fixture(autouse=True)
def no_reader_outlives_its_test() -> Iterator[None]:
    Hanging.over.clear()
    yield
    Hanging.over.set()
    for thread in threading.enumerate():
        if thread.name.startswith(("capture ", "watch ")):
            thread.join(10)
            assert not thread.is_alive()


class StatusLog:
    """Statuses reported by a capture, with their times."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.reported: list[tuple[str, str]] = []
        self.at: list[float] = []

    def __call__(self, status: str, reason: str) -> None:
        self.reported.append((status, reason))
        self.at.append(time.monotonic() - self.began)

    @property
    def statuses(self) -> list[str]:
        return [status for status, _ in self.reported]


def moving(n: int) -> Image:
    return np.full((48, 64), n % 256, np.uint8)


def until(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait until *condition* is true; fail after *timeout_s*."""
    assert eventually(condition, timeout_s), "condition did not come true"


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
