"""Several nodes on one broker, and the `fleet` command that lists them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edge.__main__ import main
from edge.commands import fleet as command
from edge.commands.fleet_view import Fleet, table
from edge.contract import messages
from edge.contract.messages import CameraHealth, Health, Info, Topics
from edge.mqtt.health import MqttHealth, OutboxHealth
from edge.types import LABELS, Incoming, Message
from tests import chaos, many_nodes
from tests.broker import Mosquitto, Subscriber, broker, eventually, free_port, server, subscriber  # noqa: F401
from tests.passwords import password_file
from tests.process import Process, environment
from tests.sink import node_status

NOON = 1772366400.0
PREFIX = "emotion-edge"


def configuration(port: int, node: str, *cameras: str) -> str:
    camera = '[[camera]]\nname = "{}"\nsource = "portraits"\nwidth = 320\nheight = 240\nfps = 5\n'
    tables = "".join(map(camera.format, cameras))
    return f'[node]\nid = "{node}"\n[mqtt]\nhost = "127.0.0.1"\nport = {port}\n{tables}'


Nodes = Callable[..., Process]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Nodes]:
    """Starts daemons, each in a folder of its own."""
    running: list[Process] = []

    def begin(port: int, name: str, *cameras: str) -> Process:
        folder = tmp_path / f"{name}-{len(running)}"
        folder.mkdir()
        running.append(Process(folder, configuration(port, name, *cameras)))
        return running[-1]

    yield begin
    for process in running:
        process.close()


def present(client: Subscriber, node: str, camera: str = "hall") -> bool:
    return '"present":"ON"' in (client.last(f"{PREFIX}/{node}/{camera}/state") or "")


class Result(NamedTuple):
    code: int
    out: str
    errors: str


@pytest.fixture
def fleet(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs `emotion-edge fleet` towards a port; in this process, to spare its start."""

    def run(port: int | str, *options: str) -> Result:
        capsys.readouterr()
        code = main(["fleet", "--host", "127.0.0.1", "--port", str(port), *options])
        return Result(code, *capsys.readouterr())

    return run


RunFleet = Callable[..., Result]


# Isolation


def test_two_nodes_on_one_broker_do_not_interfere(
    broker: Mosquitto,
    node: Nodes,
    fleet: RunFleet,
) -> None:
    with subscriber(broker.port) as client:
        attic, cellar = (node(broker.port, name, "hall") for name in ("attic", "cellar"))
        assert eventually(lambda: present(client, "attic") and present(client, "cellar"))
        mark = len(client.messages)
        for _ in range(2):  # listing them disturbs nothing
            done = fleet(broker.port, "--json")
            assert done.code == 0, done.errors
        rows = {row["node"]: row for row in json.loads(done.out)}
        assert list(rows) == ["attic", "cellar"]
        for row in rows.values():
            assert (row["status"], row["version"]) == ("online", "0.1.0")
            assert [(camera["name"], camera["status"]) for camera in row["cameras"]] == [("hall", "online")]
            assert 0 <= row["health_age_s"] < 60
        # A command for one does not reach the other's camera of the same name.
        client.publish(f"{PREFIX}/attic/hall/enabled/set", b"OFF")
        client.publish(f"{PREFIX}/attic/request/info", b"{}")
        assert eventually(lambda: client.last(f"{PREFIX}/attic/hall/status") == "disabled")
        assert eventually(lambda: client.payloads(f"{PREFIX}/attic/response/info"))
        pictures = len(client.payloads(f"{PREFIX}/cellar/hall/faces"))
        assert eventually(lambda: len(client.payloads(f"{PREFIX}/cellar/hall/faces")) > pictures)
        assert client.payloads(f"{PREFIX}/cellar/response/info") == []
        assert client.payloads(f"{PREFIX}/cellar/hall/enabled/state") == ["ON"]
        # Killing one does not affect the other.
        attic.stop(signal.SIGKILL)
        assert eventually(lambda: client.last(f"{PREFIX}/attic/status") == "offline")
        lines = fleet(broker.port).out.splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [["attic", "offline"], ["cellar", "online"]]
        pictures = len(client.payloads(f"{PREFIX}/cellar/hall/faces"))
        assert eventually(lambda: len(client.payloads(f"{PREFIX}/cellar/hall/faces")) > pictures)
        # Neither was disconnected or mistaken for the other.
        statuses = [
            (topic, it) for topic, it, _ in client.messages[mark:] if topic.endswith("/cellar/status")
        ]
        assert statuses == []
        assert cellar.stop()[0] == 0
        for log in (attic.log, cellar.log):
            assert "another daemon" not in log
            assert log.count("connected") == 1
        health = json.loads(client.last(f"{PREFIX}/cellar/health") or "")
        assert (health["mqtt"]["duplicate_id"], health["mqtt"]["reconnects"]) == (False, 0)
        # Every retained topic names one of them.
        with subscriber(broker.port) as late:
            names = late.retained()
        counts = {name: len([topic for topic in names if name in topic]) for name in ("attic", "cellar")}
        assert counts == {"attic": 10, "cellar": 10}


# Retained


def test_late_subscribers_and_an_emptied_broker_get_all_state_in_5_s(
    broker: Mosquitto,
    node: Nodes,
) -> None:
    with subscriber(broker.port) as client:
        node(broker.port, "attic", "hall", "porch")
        assert eventually(lambda: all(present(client, "attic", it) for it in ("hall", "porch")))
        assert eventually(lambda: client.last(f"{PREFIX}/attic/health"))
    with subscriber(broker.port) as late:
        known = late.retained()
    own = {"status", "info", "health"}
    for camera in ("hall", "porch"):
        own |= {f"{camera}/{it}" for it in ("status", "state", "enabled/state", "min_confidence/state",
                                            "hold/state")}  # fmt: skip
    discovered = {f"homeassistant/device/{it}/config" for it in ("attic", "attic/hall", "attic/porch")}
    assert known == {f"{PREFIX}/attic/{it}" for it in own} | discovered
    broker.restart()  # it has no persistence: retained messages are lost
    with subscriber(broker.port) as client:
        assert eventually(lambda: known <= {topic for topic, _, _ in client.messages})
        when: dict[str, float] = {}
        for (topic, _, _), at in zip(list(client.messages), client.times, strict=False):
            when.setdefault(topic, at)
        back = max(when[topic] for topic in known) - when[f"{PREFIX}/attic/status"]
    print(f"{len(known)} retained topics back {back * 1000:.0f} ms after the reconnect, 5000 allowed")
    assert back <= 5.0


# Many


def test_many_nodes_on_one_broker_lose_nothing(tmp_path: Path) -> None:
    # The real limit, 200 ms, needs an idle machine: `python -m tests.soak fleet`.
    chaos.check(many_nodes.many_nodes_figures(tmp_path, nodes=5, seconds=4, limit_ms=5000))


# The list


def test_broker_without_nodes_is_reported(broker: Mosquitto, fleet: RunFleet) -> None:
    reported = f"mqtt 127.0.0.1:{broker.port}: no nodes below {PREFIX}/\n"
    assert fleet(broker.port) == (0, reported, "")
    assert fleet(broker.port, "--json") == (0, "[]\n", "")


def test_unreachable_broker_gets_one_line(fleet: RunFleet) -> None:
    port = free_port()
    reported = f"mqtt 127.0.0.1:{port}: connection refused; is a broker running there?\n"
    assert fleet(port) == (1, "", reported)


def test_silent_broker_is_reported_after_falling_back_to_3_1_1(
    fleet: RunFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []

    def serve(connection: socket.socket) -> None:
        levels.append(connection.recv(1024)[8])
        if levels[-1] == 4:  # otherwise refuse by closing
            connection.sendall(b"\x20\x02\x00\x00")
            while connection.recv(1024):
                pass

    monkeypatch.setattr(command, "PATIENCE_S", 1.0)
    with server(serve) as port:
        assert fleet(port) == (1, "", f"mqtt 127.0.0.1:{port}: does not answer within 1 s\n")
    assert levels == [5, 4]


def test_lost_broker_ends_the_watch(broker: Mosquitto, fleet: RunFleet) -> None:
    going = threading.Timer(3.0, broker.kill)
    going.start()
    code, _, errors = fleet(broker.port, "--watch")
    going.join()
    (line,) = errors.splitlines()
    assert code == 1
    assert line.startswith(f"mqtt 127.0.0.1:{broker.port}: ")


@pytest.mark.parametrize("port", ["0", "65536", "mqtt"])
def test_invalid_port_is_rejected(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fleet", "--port", port])
    assert f"found '{port}'; expected a whole number from 1 to 65535" in capsys.readouterr().err


def test_configured_password_is_sent_to_the_broker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passwords = password_file(tmp_path, me="secret")
    mosquitto = Mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}")
    mosquitto.start()
    try:
        config = tmp_path / "config.toml"
        config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\n')
        assert main(["fleet", "--config", str(config)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "check mqtt.username, its password" in line
        config.write_text(config.read_text() + 'username = "me"\npassword = "secret"\n')
        assert main(["fleet", "--config", str(config)]) == 0
    finally:
        mosquitto.kill()


def test_watch_prints_changes_until_interrupted(broker: Mosquitto) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "edge", "fleet", "--host", "127.0.0.1", "--port", str(broker.port),
         "--json", "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert watching.stdout is not None
    try:
        assert json.loads(watching.stdout.readline()) == []
        with subscriber(broker.port) as other:
            other.publish(f"{PREFIX}/attic/status", b"online", retain=True)
            assert eventually(lambda: other.last(f"{PREFIX}/attic/status"))
        rows = next(rows for line in watching.stdout if (rows := json.loads(line)))
        assert (rows[0]["node"], rows[0]["status"]) == ("attic", "online")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
        assert (watching.returncode, errors) == (130, "")
    finally:
        watching.kill()
        watching.communicate()


# The table


def fleet_of(*reported: Message, prefix: str = PREFIX) -> Fleet:
    found = Fleet(prefix)
    for message in reported:
        found.hear(Incoming(message.topic, message.payload, True))
    return found


def full(topics: Topics) -> list[Message]:
    camera = CameraHealth(9.84, 0.1, {}, 0)
    about = Info(
        "0.1.0", "plain 1", "ab" * 32, True, LABELS, "litert", "auto", "haar", "auto", ["hall", "porch"]
    )
    cameras, waiting = dict.fromkeys(about.cameras, camera), MqttHealth(queued=2, outbox=OutboxHealth(7))
    return [
        node_status(topics, True),
        messages.info(topics, about, NOON),
        messages.health(topics, Health(60, 100, 51.66, cameras=cameras, mqtt=waiting), NOON),
        messages.camera_status(topics, "hall", "online"),
        messages.camera_status(topics, "porch", "stale"),
    ]


def test_table_has_a_line_per_camera() -> None:
    bare = node_status(Topics(PREFIX, "attic"), False)
    assert table(fleet_of(*full(Topics(PREFIX, "kitchen-pi")), bare).rows(NOON + 12)).splitlines() == [
        "NODE        STATUS   VERSION  MODEL    RUNTIME  CAMERAS              TEMP   QUEUE  HEALTH",
        "attic       offline                                                                never",
        "kitchen-pi  online   0.1.0    plain 1  litert   hall online 9.8 fps  52 °C  2+7    12 s ago",
        "                                                porch stale",
    ]


def test_node_without_retained_messages_is_gone() -> None:
    topics = Topics("house/1", "attic")
    reported = full(topics)
    found = fleet_of(*reported, prefix="house/1")
    assert [row.node for row in found.rows(NOON)] == ["attic"]
    found.hear(Incoming(topics.of("porch", "status"), b"", False))
    assert [camera.status for camera in found.rows(NOON)[0].cameras] == ["online", None]
    for message in reported:
        found.hear(Incoming(message.topic, b"", False))
    assert found.rows(NOON) == []


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xfe", b"[]", b"1", b'{"version":1,"model":"x","cameras":5,"ts":"soon","mqtt":[1]}', b"[" * 50_000,
     b'{"cameras":[1,{}],"model":{"name":{}},"temperature_c":true,"mqtt":{"outbox":{"depth":"9"}}}',
     b'{"ts":"9999-12-31T23:59:59.999-23:59","temperature_c":1e999}'],
)  # fmt: skip
def test_malformed_payload_is_ignored(payload: bytes) -> None:
    topics = Topics(PREFIX, "attic")
    status = node_status(topics, True)
    found = fleet_of(status, *(Message(topics.of(it), payload) for it in ("info", "health")))
    (row,) = found.rows(NOON)
    assert (row.status, row.version, row.model, row.cameras, row.outbox) == ("online", None, None, (), None)
    assert table([row])


def test_payload_cannot_move_the_terminal_cursor() -> None:
    topics = Topics(PREFIX, "attic")
    shown = table(fleet_of(Message(topics.of("status"), b"\x1b[2Jonline")).rows(NOON))
    assert "\x1b" not in shown
    assert r"'\x1b[2Jonline'" in shown
