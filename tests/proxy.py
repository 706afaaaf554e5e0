"""A bad network: a TCP proxy on the loopback that delays, slices, throttles, cuts and black-holes."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from types import TracebackType

CHUNK = 4096
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: close() sends RST


class Proxy:
    """Forwards connections of ``port`` to *target* on the loopback; a context manager.

    The attributes may be changed at any time, also under open connections: *delay_s* before each piece,
    *slice_bytes* as the largest piece, *rate* in bytes/s and direction (None: no limit), *resets* the
    chance that a connection is reset at a piece.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        self.slice_bytes = CHUNK
        self.rate: float | None = None
        self.resets = 0.0
        self.accepted = 0
        self._random = random.Random(1)
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def swallow(self) -> None:
        """Black-hole everything: connections are accepted and kept, nothing passes."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let held-back data pass again."""
        self._flowing.set()

    def cut(self, reset: bool = False) -> None:
        """End all connections, gracefully or with a reset."""
        with self._lock:
            for end in self._open:
                _end(end, reset)

    def _start(self, work: object, *about: object) -> None:
        thread = threading.Thread(target=work, args=about, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads = [it for it in self._threads if it.is_alive()] + [thread]
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 2)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            self._start(self._pump, client, server)
            self._start(self._pump, server, client)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(self.slice_bytes):
                if self._random.random() < self.resets:
                    _end(source, reset=True)
                    _end(sink, reset=True)
                    break
                time.sleep(self.delay_s + (len(piece) / self.rate if self.rate else 0.0))
                self._flowing.wait()
                sink.sendall(piece)
        for end in (source, sink):
            _end(end)
        with self._lock:
            self._open -= {source, sink}
        source.close()  # the other direction closes the other end


def _end(end: socket.socket, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        end.shutdown(socket.SHUT_RDWR)
