"""A real mosquitto on a free loopback port, and faults to inject. Import the fixture ``broker``."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

# On Debian it is not on an ordinary user's PATH.
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


# Below the ephemeral range. Each port only once, or two brokers not yet started could get the same.
_PORTS = iter(random.sample(range(20000, 32768), k=12768))


def free_port() -> int:
    """A free loopback port, never handed out twice."""
    for port in _PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no loopback port is free from 20000 to 32767")


PATIENCE_S = 60.0  # generous for a loaded machine; costs nothing when the condition comes true


def eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Whether *condition* comes true within *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Mosquitto:
    """A broker without persistence: what it retains is gone after a restart."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, extra: str = "allow_anonymous true", port: int | None = None) -> None:
        assert MOSQUITTO, "mosquitto is not installed: apt-get install mosquitto"
        self.port = port or free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        # Stay root if started by root: user mosquitto cannot read the test's folder.
        self._config.write_text(f"listener {self.port} {self.host}\nuser root\n{extra}\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert eventually(self.listens), "mosquitto does not listen"
        assert self._process.poll() is None, f"another program listens on port {self.port}"

    def listens(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), 0.2).close()
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL; harmless if not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Subscriber:
    """A client that records every message matching *topic*, in order, as (topic, payload, retained)."""

    def __init__(self, port: int, topic: str = "#", login: tuple[str, str] | None = None) -> None:
        self.messages: list[tuple[str, str, bool]] = []
        self.times: list[float] = []  # when each arrived, Unix s
        subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_message = self._record
        self._client.on_subscribe = lambda *about: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(topic, qos=1)
        assert subscribed.wait(5)

    def _record(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        self.times.append(time.time())
        self.messages.append((message.topic, message.payload.decode(errors="replace"), message.retain))

    def payloads(self, topic: str) -> list[str]:
        return [payload for name, payload, _ in list(self.messages) if name == topic]

    def last(self, topic: str) -> str | None:
        return (self.payloads(topic) or [None])[-1]

    def retained(self) -> set[str]:
        """The retained topics the broker sent on subscribing."""
        self.publish("all/retained/came", b"")
        assert eventually(lambda: self.last("all/retained/came") is not None)
        return {topic for topic, _, retained in list(self.messages) if retained}

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> paho.MQTTMessageInfo:
        """Publish at QoS 1."""
        return self._client.publish(topic, payload, qos=1, retain=retain)

    def publish_qos_0(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0, for brokers that accept nothing else."""
        self._client.publish(topic, payload)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server on a free port that hands each connection to *serve* in a thread; its port."""
    threads = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=handle, args=(connection,), daemon=True)
            thread.start()
            threads.append(thread)

    def handle(connection: socket.socket) -> None:
        with connection:
            serve(connection)

    with socket.create_server(("127.0.0.1", free_port())) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    accepting.join(5)
    for thread in threads:
        thread.join(5)


@contextmanager
def subscriber(port: int, topic: str = "#", login: tuple[str, str] | None = None) -> Iterator[Subscriber]:
    """A connected Subscriber; *login* is (user name, password)."""
    listening = Subscriber(port, topic, login)
    try:
        yield listening
    finally:
        listening.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running broker with anonymous access."""
    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()
