"""MQTT through a websocket, with and without TLS, against mosquitto's own listener."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.mqtt.health import MqttHealth
from edge.types import Incoming
from tests.broker import Mosquitto, eventually, free_port, server, subscriber
from tests.certificates import Authority
from tests.sink import STATUS, event, sink, state


class WebMosquitto(Mosquitto):
    """A broker with a websocket and a plain listener (2.0.11 does not run with a websocket alone)."""

    def __init__(self, folder: Path, extra: str = "") -> None:
        self.web_port = free_port()
        web = f"listener {self.web_port} 127.0.0.1\nprotocol websockets\n{extra}"
        super().__init__(folder, f"allow_anonymous true\n{web}")

    def start(self) -> None:
        super().start()
        assert eventually(lambda: _listens(self.web_port)), "mosquitto was built without websockets"


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[WebMosquitto]:
    mosquitto = WebMosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.kill()


def test_websocket_messages_of_every_size_keep_their_order(broker: WebMosquitto) -> None:
    received: list[Incoming] = []
    sizes = [1, 125, 126, 4000, 60_000, *range(200)]
    with (
        subscriber(broker.port) as client,
        sink(broker.web_port, transport="websockets", keepalive_s=2) as publishing,
    ):
        publishing.subscribe("p/n/hall/enabled/set", received.append)
        assert eventually(lambda: client.last(STATUS) == "online" and publishing.idle)
        for size in sizes:
            publishing.publish(event(b"x" * size))
            client.publish("p/n/hall/enabled/set", b"y" * size)
        assert eventually(lambda: len(client.payloads("p/n/hall/event")) == len(sizes))
        assert [len(payload) for payload in client.payloads("p/n/hall/event")] == sizes
        assert eventually(lambda: [len(it.payload) for it in received] == sizes)
        assert eventually(lambda: publishing.health() == MqttHealth())


def test_websocket_reconnects_and_survives_idle_time(
    broker: WebMosquitto,
) -> None:
    with sink(broker.web_port, transport="websockets", keepalive_s=2) as publishing:
        publishing.publish(state(b"1"))
        assert eventually(lambda: publishing.connected)
        broker.restart()
        with subscriber(broker.port) as client:
            assert eventually(lambda: client.last("p/n/hall/state") == "1")
            assert eventually(lambda: publishing.health().reconnects == 1)
            assert not eventually(lambda: not publishing.connected, 3.5)  # pings are answered
    assert publishing.health().reconnects == 1


def test_websocket_with_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.sign("broker")
    secure = WebMosquitto(tmp_path, f"certfile {certificate}\nkeyfile {key}")
    secure.start()
    ca_file = str(authority.certificate)
    with (
        subscriber(secure.port) as client,
        sink(secure.web_port, transport="websockets", tls=True, ca_file=ca_file) as publishing,
    ):
        publishing.publish(event(b"x" * 20_000))
        assert eventually(lambda: [len(payload) for payload in client.payloads("p/n/hall/event")] == [20_000])
        assert eventually(lambda: publishing.health() == MqttHealth())
    secure.kill()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # paho leaves closing a failed handshake to Python
def test_server_without_a_websocket_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    requests = []

    def serve(connection: socket.socket) -> None:
        requests.append(connection.recv(1024))
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with server(serve) as port, sink(port, transport="websockets", path="/broker?jwt=hunter2"):
        assert eventually(lambda: len(requests) >= 2)
    assert requests[0].startswith(b"GET /broker?jwt=hunter2 HTTP/1.1\r\n")
    assert [record.getMessage() for record in caplog.records] == [
        f"mqtt 127.0.0.1:{port}: no websocket for MQTT at /broker?jwt=********; check mqtt.port, mqtt.path "
        "and mqtt.tls (trying again)"
    ]
