"""A network camera on the loopback with a scripted response per path."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

BOUNDARY = b"--part"


class WebCamera:
    """Serves *answers* by path; each writes its response to the request handler."""

    def __init__(self, answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]]) -> None:
        self.requested: list[str] = []  # paths, in order
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                camera.requested.append(path)
                answer = answers.get(path)
                if answer is None:
                    self.send_error(404)
                    return
                with contextlib.suppress(OSError):
                    answer(self)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> WebCamera:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def whole(content: bytes | Callable[[], bytes], kind: str) -> Callable[..., None]:
    """Respond with *content* and its length."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        body = content if isinstance(content, bytes) else content()
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return answer


def status(code: int, **headers: str) -> Callable[..., None]:
    """Respond with *code* and no body; _ in a header name means -."""

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def mjpeg(parts: Iterable[bytes], interval_s: float = 0.0, kind: str = "image/jpeg") -> Callable[..., None]:
    """Respond with *parts* of type *kind*, one per *interval_s*, until they end or the client disconnects."""
    kept = list(parts)

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        begin_mjpeg(request)
        for part in kept:
            send_part(request, part, kind)
            time.sleep(interval_s)

    return answer


def begin_mjpeg(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
    request.send_header("Connection", "close")
    request.end_headers()


def send_part(request: http.server.BaseHTTPRequestHandler, part: bytes, kind: str = "image/jpeg") -> None:
    head = f"\r\nContent-Type: {kind}\r\nContent-Length: {len(part)}\r\n\r\n".encode()
    request.wfile.write(BOUNDARY + head + part + b"\r\n")


def folder(path: Path, prefix: str = "/") -> dict[str, Callable[..., None]]:
    """Responses for each file in *path*, read on request."""
    kinds = {".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t", ".mp4": "video/mp4"}
    return {
        prefix + file.name: whole(file.read_bytes, kinds.get(file.suffix, "application/octet-stream"))
        for file in path.iterdir()
    }
