"""When Home Assistant is answered, by a clock of the test's own; and the file that remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.homeassistant.keeper import Keeper, announced_file
from edge.types import Incoming, Message
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.test_keeper import AtOnce, devices

# When, with a clock of the test's own.


class Teller:
    """In the place of the sink: counts."""

    def __init__(self) -> None:
        self.again = 0
        self.idle = False
        self.hear: Callable[[Incoming], None] | None = None

    limits_version = 0

    def publish(self, message: Message) -> None: ...
    def fits(self, message: Message) -> bool:
        return True

    def forget(self, topic: str) -> None: ...
    def unsubscribe(self, topic: str) -> None:
        self.hear = None

    def subscribe(self, topic: str, handler: Callable[[Incoming], None]) -> None:
        assert topic == "homeassistant/status"
        self.hear = handler

    def republish(self) -> None:
        self.again += 1


def keeper_of(teller: Any, path: Path, **options: Any) -> Keeper:
    keeper = Keeper(teller, path / "discovery.json", AtOnce(path), **options)
    keeper.announce(devices("hall", "porch"), "homeassistant", "device")
    return keeper


def birth(teller: Teller, payload: bytes = b"online") -> None:
    assert teller.hear
    teller.hear(Incoming("homeassistant/status", payload, False))


def test_births_are_answered_after_a_jitter_and_at_most_once_in_ten_seconds(tmp_path: Path) -> None:
    teller = Teller()
    keeper = keeper_of(teller, tmp_path, jitter=lambda longest: 0.8 * longest)
    answered = []
    for tenth in range(400):  # a birth every 0.7 s, for 40 s
        if tenth % 7 == 0:
            birth(teller)
        before = teller.again
        keeper.tick(1000 + tenth / 10)
        if teller.again > before:
            answered.append(tenth / 10)
    assert answered == [4.0, 14.0, 24.0, 34.0]


def test_a_birth_right_after_an_answer_is_not_lost(tmp_path: Path) -> None:
    teller = Teller()
    keeper = keeper_of(teller, tmp_path, jitter=lambda longest: 0.0)
    birth(teller)
    keeper.tick(1000.0)
    birth(teller)
    for now, reported in ((1000.1, 1), (1009.9, 1), (1010.0, 2), (1030.0, 2)):
        keeper.tick(now)
        assert teller.again == reported


def test_jitter_is_drawn_between_zero_and_five_seconds(tmp_path: Path) -> None:
    waits = []
    for number in range(200):
        teller = Teller()
        keeper = keeper_of(teller, tmp_path / str(number))
        birth(teller)
        for tenth in range(60):
            keeper.tick(1000 + tenth / 10)
            if teller.again:
                waits.append(tenth / 10)
                break
    assert len(waits) == 200
    assert min(waits) < 0.5
    assert 4.5 < max(waits) <= 5.0


def test_remaining_entities_are_published_again_after_a_removal(tmp_path: Path) -> None:
    """Home Assistant takes no news of an entity that it is still removing."""
    teller = Teller()
    keeper = keeper_of(teller, tmp_path)
    keeper.announce(devices("hall"), "homeassistant", "component")
    for now, reported in ((1000, 0), (1001, 0), (1001.1, 0), (1006.0, 0), (1006.2, 1), (1100, 1)):
        teller.idle = now > 1000  # the broker took it all
        keeper.tick(now)
        assert teller.again == reported
    keeper.announce(devices("hall"), "homeassistant", "component")  # and not where nothing was
    for now in (1200, 1210):
        keeper.tick(now)
    assert teller.again == 1


@pytest.mark.parametrize(
    ("prefix", "topic"),
    [("ha", "homeassistant/status"), ("lab/ha", "homeassistant/status"), ("ha", "house/birth")],
)
def test_births_are_awaited_where_they_are_configured_whatever_the_prefix(
    tmp_path: Path, prefix: str, topic: str
) -> None:
    teller: Any = Teller()
    teller.subscribe = lambda topic, handler: heard.append(topic)
    heard: list[str] = []
    keeper = Keeper(teller, tmp_path / "discovery.json", AtOnce(tmp_path))
    more = () if topic == "homeassistant/status" else ((), topic)
    keeper.announce(devices("hall"), prefix, "device", *more)
    assert heard == [topic]


def test_only_online_is_a_birth_and_only_while_there_is_discovery(tmp_path: Path) -> None:
    teller = Teller()
    keeper = keeper_of(teller, tmp_path, jitter=lambda longest: 0.0)
    birth(teller, b"offline")
    keeper.tick(1000.0)
    assert teller.again == 0
    keeper.announce([], "homeassistant", "device")
    assert teller.hear is None


# The file.


def test_a_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "discovery.json").mkdir()
    keeper_of(Teller(), tmp_path)
    assert f"{tmp_path / 'discovery.json'}: is a directory; kept in memory" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"v":1,"nodes":{}}', b'{"v":2,"topics":[]}', b"\xff", b"[" * 100_000,
     b'{"v":2,"topics":{"a/#":{}}}', b'{"v":2,"topics":{"":{}}}', b'{"v":2,"topics":{"a":{"b":1}}}'],
)  # fmt: skip
def test_a_damaged_file_is_reported_and_replaced(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "discovery.json"
    path.write_bytes(content)
    assert announced_file(path).read() == {}
    assert f"{path}: damaged" in caplog.text
    path.write_text(announced_file(path).text({"a": {"b": "sensor"}}))
    assert announced_file(path).read() == {"a": {"b": "sensor"}}


def test_an_unchanged_configuration_writes_nothing(tmp_path: Path) -> None:
    keeper_of(Teller(), tmp_path)
    path = tmp_path / "discovery.json"
    path.chmod(0o400)
    before = path.stat()
    keeper_of(Teller(), tmp_path)
    # Each write makes a new file. Not the whole stat: reading moves the time of access.
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
