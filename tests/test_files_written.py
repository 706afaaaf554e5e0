"""Frames stay in memory: checked on the system calls of a whole run and of a crash."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from edge.sources.portraits import Portraits
from edge.types import Image
from tests.broker import Mosquitto, Subscriber, broker, eventually, free_port, subscriber  # noqa: F401
from tests.process import Process
from tests.test_end_to_end import configuration

CALLS = (
    "open,openat,openat2,creat,memfd_create,mmap,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendmmsg,"
    "sendfile,splice,copy_file_range"
)
UNLIMITED = ("sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh")  # as a machine may be set up
TRACE = ("strace", "-D", "-f", "-y", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o")
# In the state folder.
MAY_BE_WRITTEN = re.compile(
    r"outbox-pi\.sqlite3(-wal|-shm|-journal)?|((switches|discovery)-pi\.json|web_token-pi)(\.new)?"
)
MARKS = {"JPEG": b"\xff\xd8\xff", "PNG": b"\x89PNG", "WebP": b"WEBPVP8", "NumPy": b"\x93NUMPY"}
PIECE = 16  # consecutive bytes that identify the picture


class Call(NamedTuple):
    name: str
    path: str  # of the file that is written, or "socket:[7]"
    data: bytes


def noisy_portraits() -> Image:
    """Two faces, and noise that cannot occur elsewhere by chance."""
    image = Portraits(faces=2, paced=False).read().copy()
    image[-40:] = np.random.default_rng(0).integers(0, 256, image[-40:].shape)
    return image


def calls(trace: str) -> Iterator[Call]:
    """The calls of *trace* that open a file for writing or send data."""
    for line in trace.splitlines():
        found = re.match(r"\d+ +(\w+)\((?:[^<]*?<((?:\\x[0-9a-f]{2}|[^>])*)>)?", line)
        if found is None or " = -1 " in line:
            continue
        name, path = found[1], plain(found[2] or "").decode(errors="replace")
        data = b"".join(plain(piece) for piece in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', line))
        if name.startswith(("open", "creat", "memfd")):
            if re.search(r"O_WRONLY|O_RDWR|creat|memfd", line):
                yield Call(name, data.decode(), b"")
        elif name == "mmap":
            mapped = re.search(r"PROT_WRITE.*MAP_SHARED, \d+<([^>]+)>", line)
            if mapped:
                yield Call(name, plain(mapped[1]).decode(), b"")
        else:
            yield Call(name, path, data)


def plain(text: str) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda byte: bytes.fromhex(byte[1].decode()), text.encode())


def breaches(traced: list[Call], state: Path, log: Path, image: Image) -> list[str]:
    """Violations in *traced*: files other than state and log, and pieces of *image*."""
    found = {f"{call.name} {call.path}" for call in traced if not allowed(call.path, state, log)}
    pieces = {
        plane[-row, start : start + PIECE].tobytes()
        for plane in (image, image[..., 0], cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        for row in range(1, 40)
        for start in range(0, plane.shape[1] - PIECE, 100)
    }
    for call in traced:
        found |= {f"{call.path}: {kind}" for kind, mark in MARKS.items() if mark in call.data}
        if any(piece in call.data for piece in pieces):
            found.add(f"{call.path}: a piece of the picture")
    return sorted(found)


def allowed(path: str, state: Path, log: Path) -> bool:
    """Whether *path* may be written. Sockets and pipes may: their data is searched for pictures."""
    if path in ("/dev/null", str(log)) or re.match(r"(socket|pipe):\[|anon_inode:", path):
        return True
    return Path(path).parent == state and MAY_BE_WRITTEN.fullmatch(Path(path).name) is not None


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGABRT])
def test_no_pixels_reach_a_file_during_a_run_or_crash(
    end: signal.Signals,
    broker: Mosquitto,
    tmp_path: Path,
) -> None:
    image = noisy_portraits()
    cv2.imwrite(str(tmp_path / "seen.png"), image)
    camera = f'name = "hall"\nsource = "{tmp_path / "seen.png"}"\n'
    trace = tmp_path / "trace"
    with subscriber(broker.port) as subscribed:
        daemon = Process(tmp_path, configuration(broker.port, camera), under=(*UNLIMITED, *TRACE, str(trace)))
        exercise(subscribed)
        end_daemon(daemon, end, trace)
    traced = list(calls(trace.read_text()))
    state, log = tmp_path / "state", tmp_path / "stderr.txt"
    assert breaches(traced, state, log, image) == []
    assert {call.path for call in traced} >= {
        str(state / "outbox-pi.sqlite3"),
        str(log),
    }  # the trace covers the run
    assert sum(len(call.data) for call in traced if call.path.startswith("/")) < image[..., 0].size
    assert not list(tmp_path.glob("core*"))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_preview_sends_pictures_and_writes_none(broker: Mosquitto, tmp_path: Path) -> None:
    image = noisy_portraits()
    cv2.imwrite(str(tmp_path / "seen.png"), image)
    port, trace, token = free_port(), tmp_path / "trace", tmp_path / "state" / "web_token-pi"
    text = configuration(broker.port, f'name = "hall"\nsource = "{tmp_path / "seen.png"}"\n')
    text += f'[web]\nenabled = true\npreview = true\nlisten = "127.0.0.1:{port}"\n'

    def ask(method: str, path: str, body: str | None = None) -> bytes:
        bearer = {"Authorization": f"Bearer {token.read_text().strip()}", "Sec-Fetch-Site": "same-origin"}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request(method, path, body, bearer)
            with connection.getresponse() as answer:
                return answer.read()

    with subscriber(broker.port) as subscribed:
        daemon = Process(tmp_path, text, under=(*UNLIMITED, *TRACE, str(trace)))
        exercise(subscribed)
        ask("POST", "/preview", '{"on": true}')
        assert eventually(lambda: subscribed.last("emotion-edge/pi/preview") == "ON")
        for _ in range(5):
            assert eventually(lambda: ask("GET", "/preview/hall").startswith(MARKS["JPEG"]))
        end_daemon(daemon, signal.SIGTERM, trace)
    traced = list(calls(trace.read_text()))
    sent = [call for call in traced if call.path.startswith("socket:")]
    assert any(MARKS["JPEG"] in call.data for call in sent)  # proves that the search can find a JPEG
    files = [call for call in traced if call not in sent]
    state, log = tmp_path / "state", tmp_path / "stderr.txt"
    assert breaches(files, state, log, image) == []
    assert {call.path for call in files} >= {str(state / "web_token-pi.new"), str(log)}
    assert sum(len(call.data) for call in files if call.path.startswith("/")) < image[..., 0].size


def exercise(subscribed: Subscriber) -> None:
    """Wait for events, set a switch, wait for faces."""
    assert eventually(lambda: len(subscribed.payloads("emotion-edge/pi/hall/event")) >= 2, 60)
    subscribed.publish("emotion-edge/pi/hall/hold/set", b"0.5")
    assert eventually(lambda: subscribed.last("emotion-edge/pi/hall/hold/state") == "0.5")
    seen = len(subscribed.payloads("emotion-edge/pi/hall/faces"))
    assert eventually(lambda: len(subscribed.payloads("emotion-edge/pi/hall/faces")) > seen + 10)


def end_daemon(daemon: Process, end: signal.Signals, trace: Path) -> None:
    daemon.process.send_signal(end)
    assert daemon.process.wait(20) == (0 if end == signal.SIGTERM else -end)
    daemon.close()
    assert eventually(lambda: re.search(rf"^{daemon.process.pid} +\+\+\+ ", trace.read_text(), re.M))
