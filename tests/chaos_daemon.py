"""Faults as in tests/chaos.py, injected into the whole daemon with its built-in camera."""

from __future__ import annotations

import gc
import json
import math
import socket
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from edge.mqtt.client import MqttSink
from edge.node.announce import Announcer, EventIds
from edge.node.build import build_pipeline, open_configured_detector, open_engine
from edge.settings import Settings
from edge.sources import open_source
from edge.types import Frame
from tests.broker import Mosquitto, Subscriber, eventually, subscriber
from tests.chaos import Figure, ids, running
from tests.disk import disk_that_freezes, fill, frozen, small_disk
from tests.process import Process
from tests.publisher import TOPICS
from tests.sink import idle_sink

NODE = "emotion-edge/pi"
CAMERA = 'name = "hall"\nsource = "portraits"\nfaces = 2\n'


def configuration(port: int, camera: str = CAMERA, kind: str = "haar") -> str:
    return (
        f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\nfaces_hz = 10\n'
        f'[detector]\nkind = "{kind}"\n[[camera]]\n{camera}'
    )


@contextmanager
def daemon(folder: Path, text: str) -> Iterator[Process]:
    process = Process(folder, text)
    try:
        yield process
    finally:
        process.close()


def health(listening: Subscriber) -> dict[str, Any]:
    reported = listening.last(f"{NODE}/health")
    return dict(json.loads(reported)) if reported else {}


def outbox_health(listening: Subscriber) -> dict[str, Any]:
    return dict(health(listening).get("mqtt", {}).get("outbox", {}))


# Row 3: unresponsive brokers


def silent_broker(seconds: float, limit: float = 5.0) -> list[Figure]:
    """Row 3: a broker that accepts connections but never answers must not cost a frame, at 15 fps.

    *limit* is in % of the frames: in a short run other load costs some.
    """
    with socket.create_server(("127.0.0.1", 0)) as hole:  # the kernel accepts, nothing ever reads
        port = int(hole.getsockname()[1])
        frames: dict[str, list[int]] = {"none": [], "silent": [], "silent TLS": []}
        slowest = 0.0
        # Each twice, alternating: other load costs frames, too.
        for name, tls in (("none", None), ("silent", False), ("silent TLS", True)) * 2:
            sink = idle_sink(port, tls=bool(tls), connect_timeout_s=1.0)
            if tls is not None:
                sink.start()
            count, publish_s = analyzed(sink, seconds)
            frames[name].append(count)
            slowest = max(slowest, publish_s)
            assert not sink.connected
            sink.stop(1.0)
        gc.collect()  # paho leaves closing a failed handshake to Python: do that here
    print(", ".join(f"{name}: {counts} frames in {seconds:g} s" for name, counts in frames.items()))
    alone = min(frames["none"])
    others = min(max(frames["silent"]), max(frames["silent TLS"]))
    missing = 100 * (alone - others) / alone
    return [
        Figure("3", "% of the frames lost to a broker that never answers", missing, limit),
        Figure("3", "slowest publish() in ms", 1000 * slowest, 100),
    ]


def analyzed(sink: MqttSink, seconds: float) -> tuple[int, float]:
    """(frames analyzed and published, slowest publish() in s) within *seconds*."""
    settings = Settings.model_validate({"detector": {"kind": "haar"}})
    engine = open_engine(settings)
    pipeline = build_pipeline("hall", settings, open_configured_detector(settings), engine.classifier)
    announcer = Announcer("hall", TOPICS, 10.0, EventIds(), time.monotonic())
    source = open_source("portraits", fps=15, width=320, height=240)
    until = time.monotonic() + seconds
    count, slowest = 0, 0.0
    while (now := time.monotonic()) < until:
        frame = Frame(source.read(), now, time.time(), count, "hall")
        analysis = pipeline.step(frame)
        for message in announcer.frame(frame, analysis.tracks, analysis.events):
            began = time.perf_counter()
            sink.publish(message)
            slowest = max(slowest, time.perf_counter() - began)
        count += 1
    source.close()
    return count, slowest


# Rows 8 and 9: the disk


def disk_full(folder: Path) -> list[Figure]:
    """Row 8: another file fills the disk of the state directory."""
    disk = folder / "state"
    with (
        small_disk(disk),
        running(folder) as mosquitto,
        subscriber(mosquitto.port, f"{NODE}/#") as listening,
        daemon(folder, configuration(mosquitto.port)) as process,
    ):
        assert eventually(lambda: listening.payloads(f"{NODE}/hall/log"))
        assert outbox_health(listening)["storage"] == "ok"
        before = faces_a_second(listening, 2)
        foreign, began = fill(disk), time.monotonic()
        assert eventually(lambda: outbox_health(listening)["storage"] != "ok")
        reported = time.monotonic() - began
        print(f"health says: {outbox_health(listening)['storage']}")
        missing = 100 * (1 - faces_a_second(listening, 2) / before)
        foreign.unlink()
        assert eventually(lambda: outbox_health(listening)["storage"] == "ok")
        process.stop()
        assert eventually(lambda: listening.last(f"{NODE}/status") == "offline")
        events, log = ids(listening, f"{NODE}/hall/event"), ids(listening, f"{NODE}/hall/log")
    return [
        Figure("8", "s until health reports it", reported, 10),
        Figure("8", "% fewer messages with faces", missing, 50),
        Figure("8", f"of {len(events)} events not in the log", len(set(events) - set(log)), 0),
    ]


def disk_silent(folder: Path) -> list[Figure]:
    """Row 8: the disk of the state directory hangs without an error."""
    disk = folder / "state"
    with (
        disk_that_freezes(disk),
        running(folder) as mosquitto,
        subscriber(mosquitto.port, f"{NODE}/#") as listening,
        daemon(folder, configuration(mosquitto.port)) as process,
    ):
        assert eventually(lambda: listening.payloads(f"{NODE}/hall/log"))
        before = faces_a_second(listening, 2)
        with frozen(disk):
            # A hang is only noticed when there is something to write.
            listening.publish(f"{NODE}/hall/hold/set", b"0.5")
            began = time.monotonic()
            assert eventually(lambda: health(listening).get("storage", "ok") != "ok")
            reported = time.monotonic() - began
            assert eventually(lambda: listening.last(f"{NODE}/hall/hold/state") == "0.5")
            missing = 100 * (1 - faces_a_second(listening, 2) / before)
            # The outbox never writes messages acknowledged at once; tests/test_store.py makes it hang.
            seen = len(listening.payloads(f"{NODE}/hall/log"))
            assert eventually(lambda: len(listening.payloads(f"{NODE}/hall/log")) > seen)
            print(f"health says: {health(listening)['storage']}")
        assert eventually(lambda: outbox_health(listening)["storage"] == "ok")
        assert eventually(lambda: health(listening)["storage"] == "ok")
        process.stop()
        assert eventually(lambda: listening.last(f"{NODE}/status") == "offline")
        events, log = ids(listening, f"{NODE}/hall/event"), ids(listening, f"{NODE}/hall/log")
    return [
        Figure("8", "s until health reports a disk that hangs", reported, 10),
        Figure("8", "% fewer messages with faces over it", missing, 50),
        Figure("8", f"of {len(events)} events not in the log", len(set(events) - set(log)), 0),
    ]


def faces_a_second(listening: Subscriber, seconds: float) -> float:
    count = len(listening.payloads(f"{NODE}/hall/faces"))
    time.sleep(seconds)
    return (len(listening.payloads(f"{NODE}/hall/faces")) - count) / seconds


def corrupt_file(folder: Path) -> list[Figure]:
    """Row 9: the outbox is garbage when the daemon starts."""
    (folder / "state").mkdir()
    (folder / "state" / "outbox-pi.sqlite3").write_bytes(bytes(range(256)) * 64)
    with running(folder) as mosquitto, subscriber(mosquitto.port, f"{NODE}/#") as listening:
        began = time.monotonic()
        with daemon(folder, configuration(mosquitto.port)) as process:
            assert eventually(lambda: listening.last(f"{NODE}/status") == "online")
            started = time.monotonic() - began
            assert eventually(lambda: listening.payloads(f"{NODE}/hall/log"))
            process.stop()
        reported = outbox_health(listening)
    aside = list((folder / "state").glob("*.corrupt"))
    return [
        Figure("9", "s from the start to online", started, 60),  # .4 on an idle machine
        Figure("9", "files set aside besides the one", abs(len(aside) - 1), 0),
        Figure("9", "counted besides the one", abs(reported["corrupt"] - 1), 0),
        Figure("9", "storage is not ok", reported["storage"] != "ok", 0),
    ]


# Row 22: long runs


def soak(
    folder: Path, frames: int, broker_cycles: int, camera_cycles: int, daemons: int = 1, fps: int = 120
) -> list[Figure]:
    """Row 22: *daemons* in parallel, each over *frames* pictures, with broker and camera restarts.

    Each has its own broker. The slope of resident memory is fitted through the samples after
    the first 10,000 pictures; fewer than 40,000 do not show one. A broker that restarts again at once is
    waited for up to 30 s, so that cycles take their time.
    """
    folders = [folder / str(number) for number in range(daemons)]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(daemons) as pool:
        soaks = [pool.submit(_soak_one, each, frames, broker_cycles, camera_cycles, fps) for each in folders]
        return [figure for soak in soaks for figure in soak.result()]


def _soak_one(folder: Path, frames: int, broker_cycles: int, camera_cycles: int, fps: int) -> list[Figure]:
    camera = f'name = "hall"\nsource = "portraits"\nfaces = 1\nfps = {fps}\nwidth = 320\nheight = 240\n'
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    samples: list[Sample] = []
    done = seen = brokers = cameras = 0
    began = reported = time.monotonic()
    text = configuration(mosquitto.port, camera, kind="auto")
    with daemon(folder, text) as running_daemon:
        process = psutil.Process(running_daemon.process.pid)
        while done < frames or brokers < broker_cycles or cameras < camera_cycles:
            with subscriber(mosquitto.port, f"{NODE}/hall/#") as listening:
                while True:
                    newest = next_picture(listening)
                    done += newest - seen if newest >= seen else newest  # a restarted camera counts from 0
                    seen = newest
                    samples.append(Sample(done, process.memory_info().rss / 1024, process.num_fds(),
                                          process.num_threads()))  # fmt: skip
                    if cameras < min(camera_cycles, camera_cycles * done / frames):
                        restart_camera(listening)
                        cameras += 1
                    if done >= frames or brokers < broker_cycles * done / frames:
                        break
                    time.sleep(0.2)
            if brokers < broker_cycles:
                mosquitto.restart()
                brokers += 1
            if time.monotonic() - reported > 60:
                reported = time.monotonic()
                print(f"{done} frames, {brokers} brokers, {cameras} cameras, {samples[-1]}", flush=True)
        code, _ = running_daemon.stop()
    mosquitto.kill()
    late = [it for it in samples if it.frames > min(10_000, done // 2)]
    if len(late) < 2:  # a fast machine finishes before the second sample
        late = [samples[0], samples[-1]]
    print(f"{done} frames in {time.monotonic() - began:.0f} s, {brokers} broker and {cameras} camera cycles, "
          f"RSS {late[0].rss_kib / 1024:.1f} to {late[-1].rss_kib / 1024:.1f} MiB")  # fmt: skip
    descriptors = [it.descriptors for it in late]
    threads = [it.threads for it in late[-len(late) // 2 :]], [it.threads for it in late[: len(late) // 2]]
    grown = [Figure("22", "RSS in KiB per 10,000 frames", 10_000 * slope([it[:2] for it in late]), 256)
             ] if done >= 40_000 else []  # fmt: skip
    return [
        *grown,
        Figure("22", "file descriptors, most less fewest", max(descriptors) - min(descriptors), 4),
        Figure("22", "threads, most of the second half less most of the first",
               max(threads[0]) - max(threads[1]), 0),
        Figure("22", "exit code", code, 0),
    ]  # fmt: skip


class Sample(NamedTuple):
    frames: int
    rss_kib: float
    descriptors: int
    threads: int


def next_picture(listening: Subscriber) -> int:
    """Wait for a new picture; its number."""
    faces, count = f"{NODE}/hall/faces", len(listening.payloads(f"{NODE}/hall/faces"))
    assert eventually(lambda: len(listening.payloads(faces)) > count)
    return int(json.loads(listening.last(faces) or "")["seq"])


def restart_camera(listening: Subscriber) -> None:
    """Restart the camera; returns once it is online."""
    reported = len(listening.payloads(f"{NODE}/hall/status"))
    listening.publish(f"{NODE}/request/restart_camera", b'{"camera": "hall"}')
    assert eventually(lambda: "online" in listening.payloads(f"{NODE}/hall/status")[reported:])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Slope of the least-squares line through *points*."""
    x = sum(point[0] for point in points) / len(points)
    y = sum(point[1] for point in points) / len(points)
    spread = sum((point[0] - x) ** 2 for point in points)
    return sum((a - x) * (b - y) for a, b in points) / spread if spread else math.inf
