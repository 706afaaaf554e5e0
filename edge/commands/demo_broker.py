"""The demo's broker, loopback only: amqtt in this process, which pip brings, else the machine's mosquitto."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from edge.host.child import die_with
from edge.types import EdgeError, named

START_S = 10.0


@contextmanager
def demo_broker() -> Iterator[int]:
    """Run a broker; its loopback port. EdgeError where there is none to run."""
    if importlib.util.find_spec("amqtt") is not None:
        from edge.commands.demo_amqtt import amqtt_broker

        with amqtt_broker() as port:
            yield port
        return
    # Debian puts it where a plain user's PATH does not look.
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise EdgeError("broker: none to start; apt install mosquitto, or pip install 'emotion-edge[demo]'")
    with mosquitto(program) as port:
        yield port


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
    """Call *hear*, in a thread, with topic and payload of each message on *topics* of the broker at *port*.

    It begins once the broker has taken the subscription: nothing published later is missed. EdgeError.
    """
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

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
