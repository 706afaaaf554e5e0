"""A share of the processor for the daemon, and how old its frames become with it (RELIABILITY's row 23)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from tests.broker import Subscriber, eventually, subscriber
from tests.chaos import Figure, running
from tests.chaos_daemon import NODE, daemon

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
CAMERAS = ("hall", "porch")
# More than the quota, on any machine: Haar's cascade over 60 pictures a second.
LOAD = "".join(f'[[camera]]\nname = "{name}"\nsource = "portraits"\nfps = 30\n' for name in CAMERAS)


@contextmanager
def cpu_quota(share: float) -> Iterator[Path]:
    """A cgroup whose processes get *share* of one processor; skips where none may be made."""
    name = f"emotion-edge-test-{time.time_ns()}"
    quota = round(share * PERIOD_US)
    try:
        if (CGROUPS / "cgroup.controllers").exists():
            group = CGROUPS / name
            group.mkdir()
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            group = CGROUPS / "cpu" / name
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"a CPU quota needs a cgroup with the cpu controller of our own (root): {error}")
    try:
        yield group
    finally:
        assert eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def little_processor(folder: Path, seconds: float, share: float = 0.25) -> list[Figure]:
    """Row 23: two cameras that want several times *share* of a processor, for *seconds*."""
    with (
        cpu_quota(share) as group,
        running(folder) as mosquitto,
        subscriber(mosquitto.port, f"{NODE}/#") as listening,
    ):
        text = f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\nfaces_hz = 10\n'
        with daemon(folder, f'{text}[detector]\nkind = "haar"\n{LOAD}') as process:
            assert eventually(lambda: all(listening.payloads(f"{NODE}/{name}/faces") for name in CAMERAS))
            (group / "cgroup.procs").write_text(str(process.process.pid))
            time.sleep(5)  # the rate takes some looks to fall
            measured = psutil.Process(process.process.pid)
            began, took = time.time(), sum(measured.cpu_times()[:2])
            time.sleep(seconds)
            told = ages(listening, began)
            took = sum(measured.cpu_times()[:2]) - took
    print(f"{len(told) / seconds / len(CAMERAS):.1f} messages with faces a second and camera, of 10 wanted")
    return [
        Figure("23", "frame age p95 in s, from its reading to the subscriber",
               told[round(0.95 * len(told)) - 1], 1.0),
        Figure("23", "cameras without a message meanwhile", len(CAMERAS) - heard_of(listening, began), 0),
        Figure("23", "share of a processor that it took", took / seconds, 1.2 * share),
    ]  # fmt: skip


def heard_of(listening: Subscriber, since: float) -> int:
    """Of how many cameras faces were published."""
    heard = zip(list(listening.messages), list(listening.times), strict=False)
    return len({message[0] for message, at in heard if at >= since and message[0].endswith("/faces")})


def ages(listening: Subscriber, since: float) -> list[float]:
    """How old the frames behind the messages with faces were when those arrived, in s, sorted."""
    heard = zip(list(listening.messages), list(listening.times), strict=False)
    return sorted(
        at - datetime.fromisoformat(json.loads(payload)["ts"]).timestamp()
        for (topic, payload, _), at in heard
        if at >= since and topic.endswith("/faces")
    )
