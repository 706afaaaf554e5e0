"""Camera faults under the whole daemon (rows 10 to 13)."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import psutil

from edge.sources import open_source
from edge.sources.capture import Capture, Slots
from edge.sources.portraits import Portraits
from edge.types import Image
from tests.broker import Subscriber, eventually, free_port, subscriber
from tests.chaos import Figure, running
from tests.chaos_daemon import NODE, daemon, health
from tests.fakes import CuttingServer, RtspCamera

HALL = f"{NODE}/hall"
FPS = 10


class JpegCamera:
    """An MJPEG camera on the loopback; the test sets its picture, *shown*."""

    def __init__(self, shown: Callable[[], Image]) -> None:
        self.shown = shown
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/camera.mjpg"
        self.frozen = threading.Event()  # accepts connections but sends nothing more, as under SIGSTOP
        self._plugged = threading.Event()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []

    def plug(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._plugged.set()
        self._threads.append(threading.Thread(target=self._accept, args=(self._listener,)))
        self._threads[-1].start()

    def unplug(self) -> None:
        self._plugged.clear()
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(1.0)
            client.recv(4096)
            client.sendall(
                b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"
            )
            while self._plugged.is_set():
                time.sleep(1 / FPS)
                if not self.frozen.is_set():
                    jpeg = cv2.imencode(".jpg", self.shown())[1].tobytes()
                    head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    client.sendall(head.encode() + jpeg + b"\r\n")


@contextmanager
def served(folder: Path, address: str) -> Iterator[Subscriber]:
    """The daemon with a camera at *address*; it must run without a restart to the end."""
    folder.mkdir(exist_ok=True)
    with running(folder) as mosquitto, subscriber(mosquitto.port, f"{NODE}/#") as listening:
        text = f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\nfaces_hz = 10\n'
        with daemon(folder, f'{text}[[camera]]\nname = "hall"\nsource = "{address}"\n') as process:
            yield listening
            assert process.stop()[0] == 0


def seconds_until(listening: Subscriber, status: str) -> float:
    """Seconds until the camera has *status*."""
    began = time.monotonic()
    assert eventually(lambda: listening.last(f"{HALL}/status") == status, 60), listening.last(
        f"{HALL}/status"
    )
    return time.monotonic() - began


def wait_for_pictures(listening: Subscriber) -> None:
    """Wait until pictures have been arriving for a while."""
    assert eventually(lambda: len(listening.payloads(f"{HALL}/faces")) > 10)


# Row 10: a stream that stops flowing


def http_frozen(folder: Path) -> list[Figure]:
    camera = JpegCamera(Portraits(faces=2, paced=False).read)
    camera.plug()
    with served(folder, camera.address) as listening:
        wait_for_pictures(listening)
        camera.frozen.set()
        gone = seconds_until(listening, "offline")
        camera.frozen.clear()
        back = seconds_until(listening, "online")
    camera.unplug()
    return _seconds("10", "HTTP", gone, back)


class FreezingRtspCamera(RtspCamera):
    def freeze(self) -> None:
        self._encoder.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._encoder.send_signal(signal.SIGCONT)


def rtsp_frozen(folder: Path) -> list[Figure]:
    camera = FreezingRtspCamera()
    with camera, served(folder, camera.address) as listening:
        seconds_until(listening, "online")
        time.sleep(2)  # let it stream; its picture has no face to report
        camera.freeze()
        gone = seconds_until(listening, "offline")
        camera.thaw()
        back = seconds_until(listening, "online")
    return _seconds("10", "RTSP", gone, back)


def _seconds(row: str, what: str, gone: float, back: float) -> list[Figure]:
    return [
        Figure(row, f"{what}: s until offline", gone, 10),
        Figure(row, f"{what}: s until online after it came back", back, 10),
    ]


# Row 11: a sender killed in the middle of a picture


def cut(cuts: int) -> list[Figure]:
    """*cuts* interrupted streams, with minimal retry delay."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    this = psutil.Process()
    with CuttingServer(jpeg, whole=30) as server:
        capture = Capture(
            "hall", lambda: open_source(server.address), Slots(), lambda *_: None, retry_s=(0.001, 0.002)
        )
        capture.start()
        assert eventually(lambda: server.served >= 10)  # after one-time allocations
        before = this.num_threads(), this.num_fds()
        assert eventually(lambda: server.served >= 10 + cuts, 60 + cuts)
        capture.stop(10.0)
        grown = this.num_threads() - before[0], this.num_fds() - before[1]
        frames = capture.frames
    print(f"{frames} pictures of {server.served} streams")
    return [
        Figure("11", f"threads grown by, over {cuts} cuts", grown[0], 0),
        Figure("11", "file descriptors grown by", grown[1], 0),
    ]


# Row 12: a missing camera


def unplugged(folder: Path) -> list[Figure]:
    camera = JpegCamera(Portraits(faces=2, paced=False).read)
    with served(folder, camera.address) as listening:
        seconds_until(listening, "offline")
        time.sleep(20)  # retry delays have reached their maximum
        camera.plug()
        there = seconds_until(listening, "online")
        began = time.monotonic()
        camera.unplug()
        seconds_until(listening, "offline")
        gone = time.monotonic() - began
        camera.plug()
        back = seconds_until(listening, "online")
    camera.unplug()
    missing = Figure("12", "missing at the start: s until online after it came", there, 10)
    return [missing, *_seconds("12", "unplugged", gone, back)]


# Row 13: misleading pictures


def misleading_pictures(folder: Path) -> list[Figure]:
    """A frozen picture, then black, then another size."""
    portraits = Portraits(faces=2, paced=False)
    still = portraits.read().copy()
    black = np.full_like(still, 16)
    camera = JpegCamera(portraits.read)
    camera.plug()
    with served(folder, camera.address) as listening:
        assert eventually(lambda: listening.payloads(f"{HALL}/event"))
        camera.shown = lambda: still
        stale = seconds_until(listening, "stale")
        events = len(listening.payloads(f"{HALL}/event"))
        assert eventually(lambda: shows(listening) == "frozen", 60)
        reported = [json.loads(event)["event_type"] for event in listening.payloads(f"{HALL}/event")[events:]]
        camera.shown = lambda: black
        light = seconds_until(listening, "online")
        assert eventually(lambda: shows(listening) == "dark", 60)
        dark = listening.last(f"{HALL}/status") == "online"
        camera.shown = lambda: np.asarray(cv2.resize(portraits.read(), (960, 720)), np.uint8)
        assert eventually(lambda: size(listening) == [960, 720])
    camera.unplug()
    return [
        Figure("13", "s until a frozen picture is stale", stale, 30),
        Figure("13", "events from stale frames, besides that who was there left",
               len(reported) - reported.count("face_left"), 0),
        Figure("13", "s until a black one is online", light, 5),
        Figure("13", "a dark, unchanging camera is not online", not dark, 0),
    ]  # fmt: skip


def shows(listening: Subscriber) -> str | None:
    """The camera's `picture` in health."""
    return health(listening).get("cameras", {}).get("hall", {}).get("picture")  # type: ignore[no-any-return]


def size(listening: Subscriber) -> object:
    return json.loads(listening.last(f"{HALL}/faces") or "{}").get("size")
