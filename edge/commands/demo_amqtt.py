"""An MQTT 3.1.1 broker inside this process, by amqtt: loopback only, anyone may connect, nothing is stored.

A client of MQTT 5 hangs: amqtt does not support it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from edge.types import EdgeError

SHUTDOWN_S = 0.2
CONFIG = {
    "listeners": {"default": {"type": "external"}},  # we accept the connections
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}

Ready = Future[tuple[int, Callable[[], object]]]  # the port, and what stops the broker


@contextmanager
def amqtt_broker() -> Iterator[int]:
    """Run a broker in a thread of its own; its port."""
    for name in ("amqtt", "transitions"):  # they log every packet and every state
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    ready: Ready = Future()
    thread = threading.Thread(target=_run, args=(ready,), name="broker", daemon=True)
    thread.start()
    try:
        port, stop = ready.result(timeout=10)
    except Exception as error:
        raise EdgeError(f"demo: the broker did not start: {error}") from error
    try:
        yield port
    finally:
        stop()
        thread.join(2)


def _run(ready: Ready) -> None:
    try:
        asyncio.run(_serve(ready))
    except Exception as error:
        if not ready.done():
            ready.set_exception(error)


async def _serve(ready: Ready) -> None:
    from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
    from amqtt.broker import Broker

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams = StreamReaderAdapter(reader), StreamWriterAdapter(writer)
        with suppress(OSError, EOFError, asyncio.CancelledError):  # a client that goes away, or our end
            await broker.external_connected(*streams, "default")
        writer.close()

    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(lambda loop, context: None)
    broker = Broker(CONFIG)
    await broker.start()
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ready.set_result((port, lambda: loop.call_soon_threadsafe(stopping.set)))
    await stopping.wait()
    server.close()
    # While a client subscribes, amqtt may wait for ever; what it leaves is cancelled with the loop.
    with suppress(TimeoutError, asyncio.TimeoutError):
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)
