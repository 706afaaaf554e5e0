"""Timing of answers to Home Assistant's birth, with a fake clock, and the state file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.homeassistant.keeper import Keeper, announced_file
from edge.types import Incoming, Message
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.test_keeper import SyncStateFiles, devices

# Timing


class CountingSink:
    """A fake sink that counts republications."""

    def __init__(self) -> None:
        self.republished = 0
        self.idle = False
        self.handler: Callable[[Incoming], None] | None = None

    limits_version = 0

    def publish(self, message: Message) -> None: ...
    def fits(self, message: Message) -> bool:
        return True

    def forget(self, topic: str) -> None: ...
    def unsubscribe(self, topic: str) -> None:
        self.handler = None

    def subscribe(self, topic: str, handler: Callable[[Incoming], None]) -> None:
        assert topic == "homeassistant/status"
        self.handler = handler

    def republish(self) -> None:
        self.republished += 1


def keeper_of(sink: Any, path: Path, **options: Any) -> Keeper:
    keeper = Keeper(sink, path / "discovery.json", SyncStateFiles(path), **options)
    keeper.announce(devices("hall", "porch"), "homeassistant", "device")
    return keeper


def birth(sink: CountingSink, payload: bytes = b"online") -> None:
    assert sink.handler
    sink.handler(Incoming("homeassistant/status", payload, False))


def test_births_are_answered_after_jitter_at_most_every_10_s(tmp_path: Path) -> None:
    sink = CountingSink()
    keeper = keeper_of(sink, tmp_path, jitter=lambda longest: 0.8 * longest)
    answered = []
    for tenth in range(400):  # a birth every 0.7 s, for 40 s
        if tenth % 7 == 0:
            birth(sink)
        before = sink.republished
        keeper.tick(1000 + tenth / 10)
        if sink.republished > before:
            answered.append(tenth / 10)
    assert answered == [4.0, 14.0, 24.0, 34.0]


def test_birth_right_after_an_answer_is_not_lost(tmp_path: Path) -> None:
    sink = CountingSink()
    keeper = keeper_of(sink, tmp_path, jitter=lambda longest: 0.0)
    birth(sink)
    keeper.tick(1000.0)
    birth(sink)
    for now, reported in ((1000.1, 1), (1009.9, 1), (1010.0, 2), (1030.0, 2)):
        keeper.tick(now)
        assert sink.republished == reported


def test_jitter_is_between_0_and_5_s(tmp_path: Path) -> None:
    waits = []
    for number in range(200):
        sink = CountingSink()
        keeper = keeper_of(sink, tmp_path / str(number))
        birth(sink)
        for tenth in range(60):
            keeper.tick(1000 + tenth / 10)
            if sink.republished:
                waits.append(tenth / 10)
                break
    assert len(waits) == 200
    assert min(waits) < 0.5
    assert 4.5 < max(waits) <= 5.0


def test_remaining_entities_are_republished_after_a_removal(tmp_path: Path) -> None:
    """Home Assistant ignores updates of an entity that it is still removing."""
    sink = CountingSink()
    keeper = keeper_of(sink, tmp_path)
    keeper.announce(devices("hall"), "homeassistant", "component")
    for now, reported in ((1000, 0), (1001, 0), (1001.1, 0), (1006.0, 0), (1006.2, 1), (1100, 1)):
        sink.idle = now > 1000  # the broker acknowledged everything
        keeper.tick(now)
        assert sink.republished == reported
    keeper.announce(devices("hall"), "homeassistant", "component")  # nothing removed: no republication
    for now in (1200, 1210):
        keeper.tick(now)
    assert sink.republished == 1


@pytest.mark.parametrize(
    ("prefix", "topic"),
    [("ha", "homeassistant/status"), ("lab/ha", "homeassistant/status"), ("ha", "house/birth")],
)
def test_birth_topic_is_independent_of_the_prefix(tmp_path: Path, prefix: str, topic: str) -> None:
    sink: Any = CountingSink()
    sink.subscribe = lambda topic, handler: subscribed.append(topic)
    subscribed: list[str] = []
    keeper = Keeper(sink, tmp_path / "discovery.json", SyncStateFiles(tmp_path))
    more = () if topic == "homeassistant/status" else ((), topic)
    keeper.announce(devices("hall"), prefix, "device", *more)
    assert subscribed == [topic]


def test_only_online_is_a_birth_and_only_with_discovery(tmp_path: Path) -> None:
    sink = CountingSink()
    keeper = keeper_of(sink, tmp_path, jitter=lambda longest: 0.0)
    birth(sink, b"offline")
    keeper.tick(1000.0)
    assert sink.republished == 0
    keeper.announce([], "homeassistant", "device")
    assert sink.handler is None


# State file


def test_unwritable_folder_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "discovery.json").mkdir()
    keeper_of(CountingSink(), tmp_path)
    assert f"{tmp_path / 'discovery.json'}: is a directory; kept in memory" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"v":1,"nodes":{}}', b'{"v":2,"topics":[]}', b"\xff", b"[" * 100_000,
     b'{"v":2,"topics":{"a/#":{}}}', b'{"v":2,"topics":{"":{}}}', b'{"v":2,"topics":{"a":{"b":1}}}'],
)  # fmt: skip
def test_damaged_file_is_reported_and_replaced(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "discovery.json"
    path.write_bytes(content)
    assert announced_file(path).read() == {}
    assert f"{path}: damaged" in caplog.text
    path.write_text(announced_file(path).text({"a": {"b": "sensor"}}))
    assert announced_file(path).read() == {"a": {"b": "sensor"}}


def test_unchanged_configuration_writes_nothing(tmp_path: Path) -> None:
    keeper_of(CountingSink(), tmp_path)
    path = tmp_path / "discovery.json"
    path.chmod(0o400)
    before = path.stat()
    keeper_of(CountingSink(), tmp_path)
    # Each write creates a new inode. Reading changes atime, so compare inode and mtime only.
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
