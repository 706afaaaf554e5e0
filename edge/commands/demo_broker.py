"""The demo's broker, loopback only: amqtt in this process, which pip brings, else the machine's mosquitto."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge.host.child import die_with
from edge.types import EdgeError, named

START_S = 10.0
SHUTDOWN_S = 0.2

AMQTT = {
    "listeners": {"default": {"type": "external"}},  # we accept the connections
    "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
}

Ready = Future[tuple[int, Callable[[], object]]]  # the port, and what stops the broker


def demo_broker() -> AbstractContextManager[int]:
    """Runs a broker; its loopback port. EdgeError where there is none to run."""
    if importlib.util.find_spec("amqtt") is not None:
        return amqtt_broker()
    # Debian puts it where a plain user's PATH does not look.
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise EdgeError("broker: none to start; apt install mosquitto, or pip install 'emotion-edge[demo]'")
    return mosquitto(program)


@contextmanager
def amqtt_broker() -> Iterator[int]:
    """Run a broker for MQTT 3.1.1 in a thread, storing nothing; its port. A client of MQTT 5 hangs."""
    for name in ("amqtt", "transitions"):  # they log every packet and every state
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    ready: Ready = Future()
    thread = threading.Thread(target=_run_amqtt, args=(ready,), name="broker", daemon=True)
    thread.start()
    try:
        port, stop = ready.result(START_S)
    except Exception as error:
        raise EdgeError(f"demo: the broker did not start: {error}") from error
    try:
        yield port
    finally:
        stop()
        thread.join(2)


def _run_amqtt(ready: Ready) -> None:
    try:
        asyncio.run(_serve_amqtt(ready))
    except Exception as error:
        if not ready.done():
            ready.set_exception(error)


async def _serve_amqtt(ready: Ready) -> None:
    from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
    from amqtt.broker import Broker

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams = StreamReaderAdapter(reader), StreamWriterAdapter(writer)
        with suppress(OSError, EOFError, asyncio.CancelledError):  # a client that goes away, or our end
            await broker.external_connected(*streams, "default")
        writer.close()  # a listener of amqtt's own leaves it open

    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(lambda loop, context: None)
    broker = Broker(AMQTT)
    await broker.start()
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ready.set_result((port, lambda: loop.call_soon_threadsafe(stopping.set)))
    await stopping.wait()
    server.close()
    # While a client subscribes, amqtt may wait for ever; what it leaves is cancelled with the loop.
    with suppress(TimeoutError, asyncio.TimeoutError):
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)


@contextmanager
def mosquitto(program: str) -> Iterator[int]:
    """Run *program*, storing nothing; its loopback port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="emotion-edge-demo-") as folder:
        config, said = Path(folder, "mosquitto.conf"), Path(folder, "said")
        # Started by root, it switches to user mosquitto, who may not read this folder.
        config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        with said.open("wb") as out:
            process = subprocess.Popen(
                [program, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,  # Ctrl-C is for the demo, which ends it last
                preexec_fn=partial(die_with, os.getpid()),
            )  # fmt: skip
        try:
            _wait_for(port, process, said)
            yield port
        finally:
            process.terminate()
            process.wait()


@contextmanager
def subscribed(port: int, topics: Iterable[str], hear: Callable[[str, bytes], None]) -> Iterator[None]:
    """Call *hear*, in a thread, with topic and payload of what comes on *topics*.

    It begins once the broker has taken the subscription: nothing published later is missed. EdgeError.
    """
    taken = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.suppress_exceptions = True  # such as a closed pipe behind stdout
    client.on_subscribe = lambda *_: taken.set()
    client.on_message = lambda client, userdata, message: hear(message.topic, bytes(message.payload))
    with named(f"demo: cannot subscribe at 127.0.0.1:{port}"):
        client.connect("127.0.0.1", port)
    client.subscribe([(topic, 1) for topic in topics])
    client.loop_start()
    try:
        if not taken.wait(5):
            raise EdgeError(f"demo: the broker at 127.0.0.1:{port} refuses the subscription")
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def _wait_for(port: int, process: subprocess.Popen[bytes], said: Path) -> None:
    """Return once *process* listens on *port*; otherwise EdgeError with the last line it *said*."""
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    last = said.read_text(errors="replace").strip().rpartition("\n")[2]
    raise EdgeError(f"mosquitto: does not listen on port {port}: {last or 'it printed nothing'}")
