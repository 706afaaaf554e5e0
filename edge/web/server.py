"""The page's thread: sockets, and uvicorn's HTTP within bounds that a hostile client cannot stretch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from edge.types import EdgeError
from edge.web.doors import MAX_HEADERS

log = logging.getLogger(__name__)

MOST = 64  # connections at a time; more are closed at once
REQUEST_S = 10.0  # a connection has so long for its next request's headers
STALL_S = 15.0  # a client that takes nothing of what it asked for
HANDSHAKE_S = 5.0  # of TLS
SOCKET_MODE = 0o660


class Connection(H11Protocol):
    """uvicorn's, with a deadline for requests that do not come and answers that are not taken."""

    def __init__(self, config: Config, state: ServerState) -> None:
        super().__init__(config, state, {})
        self.closed = self.loop.create_future()
        self._request: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._request, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # which may begin the next, if it came already
        self._await_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _await_request(self) -> None:
        """Run the deadline while, and only while, no request is served."""
        serving = self.cycle is not None and not self.cycle.response_complete
        if serving and self._request is not None:
            self._request.cancel()
            self._request = None
        elif not serving and self._request is None:
            self._request = self.loop.call_later(REQUEST_S, self.transport.abort)


class Server:
    """Serves *app* on *listener* in a thread of its own, whose death ends nothing else."""

    def __init__(self, app: ASGIApp, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._app = app
        self._listener = listener
        self._tls = tls
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._full = False  # more came than are served, and the log says so
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 0.5) -> None:
        """Hang up on all; a thread that does not end in time is left behind."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(stopping.set)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        listener = self._listener
        name = listener.getsockname() if listener.family == socket.AF_UNIX and listener.fileno() >= 0 else ""
        listener.close()
        if name:
            Path(name).unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("web: the page ended on an unexpected error; the daemon keeps running")

    async def _serve(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what clients do wrong is not our news
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        config = Config(
            self._app, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, date_header=False,
            h11_max_incomplete_event_size=MAX_HEADERS,
        )  # fmt: skip
        config.load()
        state = ServerState()
        self._listener.setblocking(False)
        self._loop.add_reader(self._listener, self._accept, config, state)
        await self._stopping.wait()
        self._loop.remove_reader(self._listener)
        for connection in list(state.connections):
            connection.transport.abort()
        ending = {*self._connections, *state.tasks}
        if ending:  # their own way, which needs no time, or they would complain of being cancelled
            await asyncio.wait(ending, timeout=0.2)

    def _accept(self, config: Config, state: ServerState) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:  # it went again, or there is no descriptor left: others close theirs
            return
        if len(self._connections) >= MOST:
            accepted.close()
            if not self._full:
                log.warning("web: more than %d connections at a time; others are closed at once", MOST)
            self._full = True
            return
        task = asyncio.get_running_loop().create_task(self._attend(accepted, config, state))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _attend(self, accepted: socket.socket, config: Config, state: ServerState) -> None:
        """One connection, from its handshake to its end."""
        more: dict[str, Any] = {"ssl": self._tls, "ssl_handshake_timeout": HANDSHAKE_S} if self._tls else {}
        accepted.setblocking(False)
        try:
            _, connection = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(config, state), accepted, **more
            )
        except OSError:  # ssl.SSLError and TimeoutError are some: no handshake
            accepted.close()
            return
        await connection.closed
        self._full = self._full and len(self._connections) >= MOST


def listen(place: Path | tuple[str, int]) -> socket.socket:
    """A listening socket at *place*, a unix socket's name or (host, port); EdgeError in one line."""
    try:
        if isinstance(place, Path):
            return _listen_on_file(place)
        family, *_, address = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(16)
    except OSError as error:
        at = str(place) if isinstance(place, Path) else f"{place[0]}:{place[1]}"
        raise EdgeError(f"web {at}: {(error.strerror or str(error)).lower()}; change web.listen") from error
    return listener


def _listen_on_file(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(0, "another program listens there")
        path.unlink()  # of a daemon that was killed
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(16)
    return listener
