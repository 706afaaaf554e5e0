"""Command inbox: limits on count, size and rate, and its log lines."""

import logging

import pytest

from edge.mqtt.inbox import CommandHealth, Inbox
from edge.types import Incoming
from tests.fakes import Clock

RELOAD = "emotion-edge/pi/request/reload"


def command(number: int = 0, *, topic: str = RELOAD, retained: bool = False) -> Incoming:
    return Incoming(topic, b'{"transaction":%d}' % number, retained)


def take_all(inbox: Inbox) -> list[bytes]:
    found = []
    while (message := inbox.take()) is not None:
        found.append(message.payload)
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    return [(level, text) for name, level, text in caplog.record_tuples if name == "edge.mqtt.inbox"]


def test_commands_keep_their_order() -> None:
    inbox = Inbox(Clock())
    for number in (1, 2, 3):
        inbox.put(command(number))
    assert take_all(inbox) == [b'{"transaction":1}', b'{"transaction":2}', b'{"transaction":3}']
    assert inbox.counts == CommandHealth(0, 0)


def test_burst_is_limited_to_5_per_second() -> None:
    clock = Clock()
    inbox = Inbox(clock)
    for number in range(20):
        inbox.put(command(number))
    story = []
    for _ in range(15):
        story.append(len(take_all(inbox)))
        clock.now += 0.25
    assert story == [5, *[1, 1, 1, 2] * 3, 0, 0]
    assert inbox.counts == CommandHealth(0, 0)


def test_long_pause_allows_no_more_than_5_at_once() -> None:
    clock = Clock()
    inbox = Inbox(clock)
    clock.now += 3600
    for number in range(20):
        inbox.put(command(number))
    assert len(take_all(inbox)) == 5


def test_flood_keeps_32_commands_and_counts_the_refused(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    inbox = Inbox(Clock())
    for number in range(10_000):
        inbox.put(command(number))
    assert inbox.counts == CommandHealth(0, 9968)
    inbox.flush_log()
    assert lines(caplog) == [
        (
            logging.WARNING,
            f"{RELOAD}: refused: too many commands; expected at most 5 a second (and 9967 more)",
        )
    ]


@pytest.mark.parametrize(("size", "refused"), [(4096, 0), (4097, 1), (65_536, 1)])
def test_command_is_limited_to_4_kib(size: int, refused: int, caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox(Clock())
    inbox.put(Incoming(RELOAD, b" " * size, False))
    assert inbox.counts == CommandHealth(0, refused)
    assert len(take_all(inbox)) == 1 - refused
    inbox.flush_log()
    output = [(logging.WARNING, f"{RELOAD}: refused: {size} bytes; expected at most 4096")]
    assert lines(caplog) == output * refused


def test_retained_commands_are_ignored_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox(Clock())
    hall = "emotion-edge/pi/hall/enabled/set"
    for _ in range(3):  # with every connect
        inbox.put(command(retained=True))
        inbox.put(command(topic=hall, retained=True))
    assert take_all(inbox) == []
    assert inbox.counts == CommandHealth(0, 6)
    ignored = "ignored, because it is retained; send commands without retain"
    assert lines(caplog) == [
        (logging.WARNING, f"{RELOAD}: {ignored}"), (logging.WARNING, f"{hall}: {ignored}")
    ]  # fmt: skip


def test_log_is_limited_to_a_line_per_second_and_flushed_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    inbox = Inbox(clock)
    for number in range(27):  # one each 0.125 s
        if number % 2:
            inbox.accept(f"camera hall: hold {number}, by command")
        else:
            inbox.refuse(RELOAD, f"reason {number}")
        inbox.flush_log()
        clock.now += 0.125
    for _ in range(20):
        inbox.flush_log()
        clock.now += 0.125
    assert lines(caplog) == [
        (logging.WARNING, f"{RELOAD}: refused: reason 0"),
        (logging.WARNING, f"{RELOAD}: refused: reason 8 (and 7 more)"),
        (logging.WARNING, f"{RELOAD}: refused: reason 16 (and 7 more)"),
        (logging.WARNING, f"{RELOAD}: refused: reason 24 (and 7 more)"),
        (logging.WARNING, f"{RELOAD}: refused: reason 26 (and 1 more)"),
    ]
    assert inbox.counts == CommandHealth(13, 14)
