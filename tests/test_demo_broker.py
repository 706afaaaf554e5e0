"""The demo's own broker: starts fast, serves our sink and a subscriber, leaks nothing."""

import importlib.util
import logging
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from edge.commands.demo_broker import amqtt_broker, demo_broker, mosquitto
from edge.types import EdgeError, Message
from tests.broker import eventually, subscriber
from tests.sink import idle_sink


@pytest.mark.quiet_clock
def test_demo_broker_carries_messages_and_stops_cleanly(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()
    began = time.monotonic()
    with amqtt_broker() as port:
        assert time.monotonic() - began < 5.0  # .3 s measured
        with subscriber(port) as listening:
            sink = idle_sink(port, version="3.1.1")
            sink.start()
            sink.publish(Message("p/n/hall/state", b"1", qos=1, retain=True))
            sink.publish(Message("p/n/hall/event", b"2", qos=1, max_age_s=10))
            assert eventually(lambda: listening.last("p/n/hall/event") == "2")
            with subscriber(port) as late:
                assert eventually(lambda: ("p/n/hall/state", "1", True) in late.messages)
            sink.stop()
            assert eventually(lambda: listening.last("p/n/status") == "offline")
        began = time.monotonic()
    assert time.monotonic() - began < 3.0
    assert threading.active_count() <= before
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.quiet_clock
def test_demo_broker_stops_while_clients_are_connected(capfd: pytest.CaptureFixture[str]) -> None:
    with amqtt_broker() as port:
        sink = idle_sink(port, version="3.1.1")
        sink.start()
        assert eventually(lambda: sink.connected)
        began = time.monotonic()
    assert time.monotonic() - began < 3.0
    assert eventually(lambda: not sink.connected)
    sink.stop()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def without_amqtt(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "amqtt" else real(name))


@pytest.mark.usefixtures("without_amqtt")
def test_demo_broker_falls_back_to_mosquitto() -> None:
    with demo_broker() as port, subscriber(port) as listening:
        listening.publish("hello", b"there")
        assert eventually(lambda: listening.last("hello") == "there")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


@pytest.mark.usefixtures("without_amqtt")
def test_missing_broker_error_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(EdgeError) as caught, demo_broker():
        pass
    assert str(caught.value) == (
        "broker: none to start; apt install mosquitto, or pip install 'emotion-edge[demo]'"
    )


def test_mosquitto_start_failure_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\necho starting\necho Error: no room\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(EdgeError, match=r"^mosquitto: does not listen on port \d+: Error: no room$"):
        mosquitto(str(program)).__enter__()
