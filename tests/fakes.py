"""Small objects that implement the protocols, for tests of their users."""

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge.types import LABELS, Box, EdgeError, Face, Floats, Frame, Image, Incoming, Message, TensorSpec
from tests.broker import free_port


def picture(width: int = 64, height: int = 48) -> Image:
    return np.zeros((height, width), np.uint8)


def frame(taken: float, seq: int = 0, camera: str = "hall", image: Image | None = None) -> Frame:
    return Frame(picture() if image is None else image, taken, 1_700_000_000 + taken, seq, camera)


def face(x: float = 0.0, side: float = 20.0) -> Face:
    return Face(Box(x, 0.0, side, side), 0.9)


class Clock:
    """A monotonic clock in s, moved by the test."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ScriptedDetector:
    """Returns the next list of faces in its script per call, and repeats the last one."""

    def __init__(self, *script: list[Face]) -> None:
        self.script = list(script)

    def detect(self, image: Image) -> list[Face]:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class ClassifierByPlace:
    """Returns the label assigned to the left edge of each face, at a fixed probability."""

    labels = LABELS

    def __init__(self, by_place: dict[float, str], probability: float = 0.88) -> None:
        self.by_place = by_place
        self.probability = probability

    def classify(self, image: Image, faces: Sequence[Face]) -> Floats:
        rest = (1 - self.probability) / (len(self.labels) - 1)
        scores = np.full((len(faces), len(self.labels)), rest, np.float32)
        for row, found in enumerate(faces):
            scores[row, self.labels.index(self.by_place[found.box.x])] = self.probability
        return scores


class EchoRuntime:
    """Returns a fixed output and records its input."""

    name = "echo"
    resizable = False

    def __init__(self, input: TensorSpec, output: TensorSpec, result: npt.NDArray[np.generic]) -> None:  # noqa: A002
        self.input, self.outputs, self.result = input, (output,), result
        self.given: npt.NDArray[np.generic] = np.empty(0)

    def run(self, tensor: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], ...]:
        self.given = tensor.copy()
        return (self.result,)

    def resize(self, shape: tuple[int, ...]) -> None:
        raise EdgeError(f"echo: takes {self.input.shape} only, not {shape}")


class ListSink:
    """Records published messages."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        self.messages.append(message)


class TwoWaySink(ListSink):
    """Also records handlers and forgotten topics; send() delivers a message as a broker does."""

    def __init__(self) -> None:
        super().__init__()
        self.handlers: dict[str, Callable[[Incoming], None]] = {}
        self.forgotten: list[str] = []

    def subscribe(self, topic: str, handler: Callable[[Incoming], None]) -> None:
        self.handlers[topic] = handler

    def unsubscribe(self, topic: str) -> None:
        del self.handlers[topic]

    def forget(self, topic: str) -> None:
        self.forgotten.append(topic)

    limits_version = 0

    def fits(self, message: Message) -> bool:
        return True

    def send(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        self.handlers[topic](Incoming(topic, payload, retained))

    def payloads(self, topic: str) -> list[str]:
        return [message.payload.decode() for message in self.messages if message.topic == topic]


class StreamServer:
    """A network camera on the loopback: ffmpeg serving one client at a time; a context manager."""

    def __init__(self) -> None:
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}/camera.ts"

    def __enter__(self) -> "StreamServer":
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Serve 320x240 at 20 fps; returns once it listens."""
        self._process = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=20", "-c:v",
             "mpeg2video", "-g", "5", "-f", "mpegts", "-listen", "1", self.address],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # Connecting would use up its only client slot.
        listening = f":{self._port:04X} 00000000:0000 0A"
        deadline = time.monotonic() + 10
        while listening not in Path("/proc/net/tcp").read_text():
            assert time.monotonic() < deadline, "ffmpeg does not listen"
            time.sleep(0.02)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class CuttingServer:
    """An MJPEG camera on the loopback that cuts every connection in the middle of a picture."""

    def __init__(self, jpeg: bytes, whole: int) -> None:
        self._jpeg = jpeg
        self._whole = whole
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}/camera.mjpg"
        self.served = 0

    def __enter__(self) -> "CuttingServer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        head = b"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(self._jpeg)
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(4096)
                client.sendall(
                    b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=cut\r\n\r\n"
                    + (head + self._jpeg + b"\r\n") * self._whole
                    + head + self._jpeg[: len(self._jpeg) // 2]
                )  # fmt: skip
            self.served += 1


class RtspCamera:
    """An IP camera on the loopback: H.264 from ffmpeg, RTSP with RTP interleaved in TCP only.

    With *udp* it sends RTP over UDP only. *login* ("user:password") is required by Basic
    authentication.
    """

    _SDP = (
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track\r\n"
    )

    def __init__(self, login: str = "", *, udp: bool = False) -> None:
        self._udp = udp
        self._port = 0  # the client's, for RTP by UDP
        self._wanted = f"Authorization: Basic {b64encode(login.encode()).decode()}" if login else ""
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.address = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/camera"

    def __enter__(self) -> "RtspCamera":
        self._encoder = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=20", "-c:v",
             "libx264", "-tune", "zerolatency", "-preset", "ultrafast", "-g", "10", "-x264-params",
             "repeat-headers=1", "-pix_fmt", "yuv420p", "-f", "rtp",
             f"rtp://127.0.0.1:{self._packets.getsockname()[1]}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._packets.settimeout(5.0)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._encoder.kill()
        self._encoder.wait()
        self._packets.sendto(b"", self._packets.getsockname())  # ends the packet loop
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self._packets.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self._answer(client)
                while packet := self._packets.recv(65535):
                    if self._udp:
                        self._packets.sendto(packet, ("127.0.0.1", self._port))
                        continue
                    client.sendall(b"$\0" + len(packet).to_bytes(2, "big") + packet)

    def _answer(self, client: socket.socket) -> None:
        """Answer requests up to PLAY."""
        with client.makefile("rb") as lines:
            while True:
                request = []
                while line := lines.readline().strip():
                    request.append(line.decode())
                if not request:
                    raise OSError("the client left")
                method = request[0].split()[0]
                sequence = next(line for line in request if line.startswith("CSeq"))
                if method == "DESCRIBE" and self._wanted and self._wanted not in request:
                    challenge = 'WWW-Authenticate: Basic realm="camera"'
                    client.sendall(f"RTSP/1.0 401 Unauthorized\r\n{sequence}\r\n{challenge}\r\n\r\n".encode())
                    continue
                transport = "RTP/AVP/TCP;unicast;interleaved=0-1"
                if method == "SETUP" and self._udp:
                    asked = re.search(r"client_port=(\d+)-(\d+)", "".join(request))
                    if asked is None:
                        client.sendall(f"RTSP/1.0 461 Unsupported transport\r\n{sequence}\r\n\r\n".encode())
                        continue
                    self._port, ours = int(asked[1]), self._packets.getsockname()[1]
                    transport = f"RTP/AVP/UDP;unicast;{asked[0]};server_port={ours}-{ours + 1}"
                more = {
                    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(self._SDP)}\r\n",
                    "SETUP": f"Transport: {transport}\r\nSession: 1\r\n",
                    "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n",
                }.get(method, "Session: 1\r\n")
                body = self._SDP if method == "DESCRIBE" else ""
                client.sendall(f"RTSP/1.0 200 OK\r\n{sequence}\r\n{more}\r\n{body}".encode())
                if method == "PLAY":
                    return
