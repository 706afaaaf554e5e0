"""A CPU quota for the daemon, and the age of its frames under it (row 23)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
import pytest

from edge.sources.portraits import Portraits
from tests.broker import Subscriber, eventually, subscriber
from tests.chaos import Figure, running
from tests.chaos_daemon import NODE, daemon

CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 100_000
CAMERAS = ("hall", "porch", "door")
SIZE, FPS = (1280, 720), 25


@contextmanager
def cpu_quota(share: float) -> Iterator[Path]:
    """A cgroup limited to *share* of one processor, independent of other load.

    Skips without the privilege to create one.
    """
    name = f"emotion-edge-test-{time.time_ns()}"
    quota = round(share * PERIOD_US)
    try:
        if (CGROUPS / "cgroup.controllers").exists():
            group = CGROUPS / name
            group.mkdir()
            (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
            (group / "cpu.weight").write_text("10000")
        else:
            group = CGROUPS / "cpu" / name
            group.mkdir()
            (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
            (group / "cpu.shares").write_text("262144")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"a CPU quota needs a cgroup with the cpu controller of our own (root): {error}")
    try:
        yield group
    finally:
        assert eventually(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def throttled(group: Path) -> tuple[int, int]:
    """(throttled periods, all periods in which it ran) so far."""
    lines = (line.split() for line in (group / "cpu.stat").read_text().splitlines())
    output = {key: int(value) for key, value in lines}
    return output["nr_throttled"], output["nr_periods"]


def film(path: Path) -> Path:
    """Two seconds of H.264, 1280x720, with two moving faces and sensor noise."""
    portraits = Portraits(width=SIZE[0], height=SIZE[1], faces=2, paced=False)
    noise = np.random.default_rng(0).integers(0, 12, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for n in range(2 * FPS):
            image = cv2.add(portraits.read(), np.roll(noise, 7 * n, 0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(stream.encode())
    return path


def cpu_limited(folder: Path, seconds: float, share: float = 0.25) -> list[Figure]:
    """Row 23: three cameras of 720p, 25 pictures a second, the shipped detector and no gate, for *seconds*.

    They need more than *share* of a processor; a figure checks that the quota was reached.
    """
    shown = film(folder / "film.mp4")
    cameras = "".join(
        f'[[camera]]\nname = "{name}"\nsource = "{shown}"\nloop = true\nfps = {FPS}\n' for name in CAMERAS
    )
    with (
        cpu_quota(share) as group,
        running(folder) as mosquitto,
        subscriber(mosquitto.port, f"{NODE}/#") as listening,
    ):
        text = f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\nfaces_hz = 10\n'
        with daemon(
            folder, f'{text}[detector]\nkind = "ssd"\n[analysis]\nskip_still = false\n{cameras}'
        ) as process:
            assert eventually(lambda: all(listening.payloads(f"{NODE}/{name}/faces") for name in CAMERAS))
            (group / "cgroup.procs").write_text(str(process.process.pid))
            time.sleep(5)  # the rate takes a while to fall
            measured = psutil.Process(process.process.pid)
            began, took, before = time.time(), sum(measured.cpu_times()[:2]), throttled(group)
            time.sleep(seconds)
            reported = ages(listening, began)
            took = sum(measured.cpu_times()[:2]) - took
            short, periods = (late - early for late, early in zip(throttled(group), before, strict=True))
    print(f"{len(reported) / seconds / len(CAMERAS):.1f} messages with faces a second and camera, of 10; "
          f"{took / seconds:.3f} of a processor, throttled in {short} of {periods} periods")  # fmt: skip
    return [
        Figure("23", "frame age p95 in s, from its reading to the subscriber",
               reported[round(0.95 * len(reported)) - 1], 1.0),
        Figure("23", "cameras without a message meanwhile",
               len(CAMERAS) - active_cameras(listening, began), 0),
        Figure("23", "the quota was never reached", not short, 0),
        Figure("23", "share of a processor that it took", took / seconds, 1.2 * share),
    ]  # fmt: skip


def active_cameras(listening: Subscriber, since: float) -> int:
    """Number of cameras that published faces."""
    received = zip(list(listening.messages), list(listening.times), strict=False)
    return len({message[0] for message, at in received if at >= since and message[0].endswith("/faces")})


def ages(listening: Subscriber, since: float) -> list[float]:
    """Ages of the frames in messages with faces on arrival, in s, sorted."""
    received = zip(list(listening.messages), list(listening.times), strict=False)
    return sorted(
        at - datetime.fromisoformat(json.loads(payload)["ts"]).timestamp()
        for (topic, payload, _), at in received
        if at >= since and topic.endswith("/faces")
    )
