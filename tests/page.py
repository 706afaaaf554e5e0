"""A daemon with its page enabled. Import the fixtures ``web`` and ``broker``."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.broker import Mosquitto, eventually, free_port
from tests.process import Process

CAMERA = '[[camera]]\nname = "hall"\nsource = "portraits"\nfaces = 2\n'


class WebDaemon:
    """The daemon, its page's port, and its token."""

    def __init__(
        self,
        folder: Path,
        broker: Mosquitto,
        web: str = "",
        more: str = CAMERA,
        listen: str = "",
        node: str = "pi",
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.node = node
        self.broker = broker
        self.port = free_port()
        place = listen or f"127.0.0.1:{self.port}"
        self.state = folder / "state"
        self.daemon = Process(
            folder,
            f'[node]\nid = "{node}"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            'username = "pi"\npassword = "hush-hush"\n'
            f'[web]\nenabled = true\nlisten = "{place}"\n{web}\n{more}',
            environment,
        )
        try:
            assert eventually(lambda: "web: page at" in self.daemon.log_so_far()), self.daemon.log_so_far()
            plain = not listen and "cert_file" not in web
            assert not plain or eventually(lambda: self.request("GET", "/metrics")[0] == 200)
        except BaseException:
            self.close()
            raise

    @property
    def token(self) -> str:
        return (self.state / f"web_token-{self.node}").read_text().strip()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def request(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, str, http.client.HTTPMessage]:
        """(status, body, headers) of one request; with the token unless ``authorization`` is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if "authorization" not in named:
            named["authorization"] = f"Bearer {self.token}"
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, sent, {name: value for name, value in named.items() if value})
        answer = connection.getresponse()
        reported = answer.status, answer.read().decode(), answer.headers
        connection.close()
        return reported

    def request_as_page(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str]:
        """request() from the page's origin: (status, body)."""
        status, text, _ = self.request(method, path, body, **{"origin": self.url.rstrip("/"), **headers})
        return status, text

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def close(self) -> None:
        self.daemon.close()


@pytest.fixture(scope="module")
def shared_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDaemon]:
    """One per file, for tests that do not change it; its broker is ``broker``."""
    folder = tmp_path_factory.mktemp("web")
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    running = WebDaemon(folder, mosquitto, "preview = true")
    yield running
    running.close()
    mosquitto.kill()


@pytest.fixture
def web(tmp_path: Path, broker: Mosquitto) -> Iterator[WebDaemon]:
    """A daemon with the preview allowed."""
    running = WebDaemon(tmp_path, broker, "preview = true")
    yield running
    running.close()


def read_all(connection: socket.socket) -> bytes:
    """Everything received until the peer closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found
