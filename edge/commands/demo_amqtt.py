"""An MQTT broker inside this process, by amqtt: loopback only, anyone may connect, nothing is stored."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType

from edge.types import EdgeError

CONNACK_UNSUPPORTED_PROTOCOL = b"\x20\x02\x00\x01"
SHUTDOWN_S = 0.2
MQTT_3_1_1 = 4  # protocol level, in CONNECT
CONFIG = {
    "listeners": {"default": {"type": "external"}},  # that is: served by us
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
        for name in ("amqtt", "transitions"):  # they tell of every packet and of every state
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

        class Replay(StreamReaderAdapter):  # type: ignore[misc]
            """A stream that first gives what was already read of it."""

            def __init__(self, seen: bytes, reader: asyncio.StreamReader) -> None:
                super().__init__(reader)
                self._seen = seen

            async def read(self, n: int = -1) -> bytes:
                if not self._seen:
                    return bytes(await super().read(n))
                # amqtt asks for whole fields, and the seen packet holds whole fields.
                given, self._seen = self._seen[:n], self._seen[n:]
                return given

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # amqtt knows MQTT 3.1.1 only and hangs on a CONNECT of MQTT 5 (it takes the properties
            # for a long client id and waits for the rest), so that one is refused here.
            try:
                connect = await _read_packet(reader)
                if connect[:1] == b"\x10" and _protocol_level(connect) != MQTT_3_1_1:
                    writer.write(CONNACK_UNSUPPORTED_PROTOCOL)
                    await writer.drain()
                else:
                    replay = Replay(connect, reader)
                    await broker.external_connected(replay, StreamWriterAdapter(writer), "default")
            except (OSError, EOFError, asyncio.CancelledError):
                pass  # a client that goes away, or our own end
            finally:
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


async def _read_packet(reader: asyncio.StreamReader) -> bytes:
    """One whole MQTT packet; its length stands in up to four bytes of seven bits (MQTT 3.1.1, 2.2.3)."""
    packet = await reader.readexactly(1)
    length = shift = 0
    while shift < 28:
        packet += await reader.readexactly(1)
        length |= (packet[-1] & 0x7F) << shift
        shift += 7
        if packet[-1] < 0x80:
            break
    return packet + await reader.readexactly(length)


def _protocol_level(connect: bytes) -> int:
    """The byte after the protocol's name, which begins with its length."""
    start = next(at for at in range(1, len(connect)) if connect[at] < 0x80) + 1
    name_length = int.from_bytes(connect[start : start + 2], "big")
    return connect[start + 2 + name_length]
