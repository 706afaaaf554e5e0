"""`emotion-edge demo`: its output and a clean exit."""

import re
import signal
import subprocess
import sys
import threading

import pytest

from tests.broker import eventually
from tests.process import environment


def changes(lines: list[str]) -> list[tuple[str, str]]:
    """(face, previous emotion) of the lines that show a change, not an arrival."""
    reported = re.findall(r"face (\d) +(\w+) →", "".join(lines))
    return [(face, before) for face, before in reported if before != "none"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_shows_changing_faces_and_stops_on_signal(number: signal.Signals) -> None:
    lines: list[str] = []
    # amqtt's own imports warn; the demo's user sees none of it, but -W error would end it.
    quiet = {**environment(), "PYTHONWARNINGS": "default", "PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(
        [sys.executable, "-m", "edge", "demo"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet,
    )  # fmt: skip
    try:
        assert demo.stdout is not None
        assert demo.stderr is not None
        reader = threading.Thread(target=lines.extend, args=(demo.stdout,))
        reader.start()
        assert eventually(lambda: len({face for face, _ in changes(lines)}) >= 2), lines
        demo.send_signal(number)
        assert demo.wait(30) == 0
        reader.join()
        assert demo.stderr.read() == ""
    finally:
        demo.kill()
        demo.communicate()
    assert lines[-1].rstrip().endswith("emotion-edge/demo/status")
    assert not any("\x1b[" in line for line in lines)  # no terminal, no colors
