"""The daemon as a process with a configuration file and signals. Import the fixture ``start``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """This environment without the daemon's variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EMOTION_EDGE_")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "error"}


def emotion_edge(*arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edge", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, env=environment(), check=False,
    )  # fmt: skip


Start = Callable[[str], "Process"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons with a given configuration and stops them after the test."""
    running: list[Process] = []

    def begin(configuration: str) -> Process:
        running.append(Process(tmp_path, configuration))
        return running[-1]

    yield begin
    for process in running:
        process.close()


class Process:
    """`emotion-edge run` in its own process with its state in *folder*; *more* extends its environment.

    *under*: a command that runs it by exec, in *folder*. ``log`` holds its stderr once it has ended.
    """

    def __init__(
        self,
        folder: Path,
        configuration: str,
        more: Mapping[str, str] = MappingProxyType({}),
        under: Sequence[str] = (),
    ) -> None:
        self.config = folder / "config.toml"
        self.config.write_text(configuration)
        self.log = ""
        self._stderr = (folder / "stderr.txt").open("w+")
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "edge", "run", "--config", str(self.config)],
            stderr=self._stderr, cwd=folder if under else None, stdout=subprocess.DEVNULL,
            env={**environment(), "STATE_DIRECTORY": str(folder / "state"), **more},
        )  # fmt: skip

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Stop by signal: (exit code, seconds it took)."""
        start = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(10)
        finally:
            self.close()
        return code, time.monotonic() - start

    def log_so_far(self) -> str:
        return Path(self._stderr.name).read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self._stderr.closed:
            self._stderr.seek(0)
            self.log = self._stderr.read()
            self._stderr.close()
