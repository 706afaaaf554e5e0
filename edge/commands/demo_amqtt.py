"""An MQTT 3.1.1 broker inside this process, by amqtt: loopback only, anyone may connect, nothing is stored.

A client of MQTT 5 hangs: amqtt does not support it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType

from edge.types import EdgeError

SHUTDOWN_S = 0.2
CONFIG = {
    "listeners": {"default": {"type": "external"}},  # we accept the connections
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}


class DemoBroker:
    """``with DemoBroker() as broker``: an amqtt broker in a thread of its own listens on broker.port."""

    def __init__(self) -> None:
        self.port = 0  # known once it runs
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    def __enter__(self) -> DemoBroker:
        for name in ("amqtt", "transitions"):  # they log every packet and every state
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._thread.start()
        try:
            self.port = self._ready.result(timeout=10)
        except Exception as error:
            raise EdgeError(f"demo: the broker did not start: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
        from amqtt.broker import Broker

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            streams = StreamReaderAdapter(reader), StreamWriterAdapter(writer)
            with suppress(OSError, EOFError, asyncio.CancelledError):  # a client that goes away, or our end
                await broker.external_connected(*streams, "default")
            writer.close()

        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda loop, context: None)
        self._stop = asyncio.Event()
        broker = Broker(CONFIG)
        await broker.start()
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self._ready.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        # While a client subscribes, amqtt may wait for ever; what it leaves is cancelled with the loop.
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)
