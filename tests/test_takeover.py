"""State of versions with one file for all nodes: each node takes over only its own, once."""

import json
import logging
import shutil
import threading
from pathlib import Path

import pytest

from edge.contract.switches import Switches, switches_file, texts
from edge.homeassistant.keeper import announced_file
from edge.host.places import state_file
from edge.host.takeover import take_over
from edge.mqtt.outbox import Outbox
from edge.mqtt.store import Row, Store
from tests.broker import eventually
from tests.disk import disk_that_freezes, frozen

# Files as those versions wrote them.
SWITCHES = {"v": 1, "nodes": {"attic": {"hall": {"enabled": "OFF"}}, "cellar": {"hall": {"hold": "2.5"}}}}
ANNOUNCED = {"v": 1, "nodes": {"attic": {"homeassistant/device/attic/config": {"hall_emotion": "sensor"}}}}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    caplog.set_level(logging.INFO)
    return tmp_path


def write_outbox(state: Path, *topics: str) -> None:
    """The outbox of a killed daemon: its last messages are still in sqlite's WAL."""
    made = state / "made.sqlite3"
    store = Store(made, 10.0)
    store.write([Row(topic, b'{"id": "1"}', 10.0) for topic in topics], (), 7)
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{made}{suffix}", f"{state / 'outbox.sqlite3'}{suffix}")
    store.close()
    made.unlink()


def names(state: Path) -> set[str]:
    return {path.name for path in state.iterdir()}


def test_each_node_takes_its_own_state(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    (state / "switches.json").write_text(json.dumps(SWITCHES))
    (state / "discovery.json").write_text(json.dumps(ANNOUNCED))
    take_over("attic")
    assert switches_file(state_file("switches.json", "attic")).read() == {"hall": Switches(enabled=False)}
    assert announced_file(state_file("discovery.json", "attic")).read() == ANNOUNCED["nodes"]["attic"]  # type: ignore[index]
    assert names(state) == {"switches.json", "switches-attic.json", "discovery-attic.json"}
    take_over("cellar")
    assert switches_file(state_file("switches.json", "cellar")).read() == {"hall": Switches(hold=2.5)}
    assert [record.getMessage() for record in caplog.records] == [
        f"{state}/switches-attic.json: taken over from switches.json",
        f"{state}/discovery-attic.json: taken over from discovery.json",
        f"{state}/switches-cellar.json: taken over from switches.json",
    ]


def test_existing_file_takes_precedence(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    (state / "switches.json").write_text(json.dumps(SWITCHES))
    write_outbox(state, "emotion-edge/attic/hall/log")
    newer = {"hall": Switches(min_confidence=0.5)}
    own = switches_file(state_file("switches.json", "attic"))
    own.path.write_text(own.text(texts(newer)))
    state_file("outbox.sqlite3", "attic").write_bytes(b"newer")
    take_over("attic")
    assert own.read() == newer
    assert state_file("outbox.sqlite3", "attic").read_bytes() == b"newer"
    assert caplog.records == []


def test_waiting_messages_are_still_sent(state: Path) -> None:
    write_outbox(state, "house/edge/attic/hall/log", "house/edge/attic/porch/log")
    take_over("attic")
    assert names(state) == {"outbox-attic.sqlite3"}
    outbox = Outbox(state_file("outbox.sqlite3", "attic"), clock=lambda: 20.0)
    found = outbox.health()
    assert (found.depth, found.dropped, found.storage) == (2, 7, "ok")
    outbox.close()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("switches.json", b'{"v": 1, "nodes": {"at', "unterminated string"),
        ("switches.json", b'{"v": 9}', "unknown version"),
        ("discovery.json", b"\xff\xfe\xfd", "can't decode"),
        (
            "outbox.sqlite3",
            b"no database, but a text that is as long as the head of one" * 9,
            "not a database",
        ),
    ],
)
def test_damaged_files_are_left_and_reported(
    name: str, content: bytes, reason: str, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (state / name).write_bytes(content)
    take_over("attic")
    assert names(state) == {name}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{state / name}: not taken over, left there: ")
    assert reason in record.getMessage()


def test_outbox_in_use_or_with_messages_of_another_node_is_left(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_outbox(state, "emotion-edge/attic/hall/log", "emotion-edge/cellar/hall/log")
    take_over("attic")
    other = Store(state / "outbox.sqlite3", 20.0)
    assert len(other.rows()) == 2
    take_over("cellar")
    other.close()
    assert names(state) == {"outbox.sqlite3"}
    message = [record.getMessage().partition("left there: ")[2] for record in caplog.records]
    assert message == ["it holds another node's messages", "database is locked"]


def test_silent_disk_does_not_block_and_takeover_finishes_later(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = state / "disk"
    with disk_that_freezes(disk):
        monkeypatch.setenv("STATE_DIRECTORY", str(disk))
        (disk / "switches.json").write_text(json.dumps(SWITCHES))
        with frozen(disk):
            take_over("attic", within_s=0.5)
            message = f"{disk}: disk does not answer; an earlier version's state is left there"
            assert caplog.messages == [message]
        # The takeover finishes once the disk answers.
        assert eventually(lambda: "taken over from" in caplog.messages[-1])
        assert eventually(lambda: not any(it.name == "take over" for it in threading.enumerate()))
