"""Output of the demo: one line per change, its topic at the end."""

import io
import time
from collections.abc import Iterator

import pytest

from edge.commands.demo_broker import amqtt_broker, subscribed
from edge.commands.demo_view import ASCII, DemoView, Style, line, style_of
from edge.types import EdgeError
from tests.broker import Mosquitto, Subscriber, broker, eventually, free_port
from tests.sink import idle_sink

__all__ = ["broker"]  # a fixture

PLAIN = Style(color=False)
APPEARED = (
    b'{"event_type":"face_appeared","id":"5f:1","ts":"2026-03-01T12:00:00.123+00:00","track":12,'
    b'"from":"none","to":"happy","confidence":0.81}'
)
STATE = (
    b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","present":"ON","faces":%d,"emotion":"happy",'
    b'"confidence":%s,"track":12,"since":"2026-03-01T11:59:58.123+00:00"}'
)
EMPTY = (
    b'{"v":1,"ts":"2026-03-01T12:00:00.123+00:00","present":"OFF","faces":0,"emotion":"none",'
    b'"confidence":0,"track":null,"since":"2026-03-01T11:59:58.123+00:00"}'
)


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("topic", "payload", "expected"),
    [
        ("demo/status", b"online", "11:11:11  node       online"),
        ("demo/hall/status", b"stale", "11:11:11  hall       stale"),
        (
            "demo/info",
            b'{"model":{"name":"plain 1"},"detector":{"name":"haar"},"runtime":{"name":"litert, cpu"}}',
            "11:11:11  node       plain 1, haar, litert, cpu",
        ),
        (
            "demo/hall/event",
            APPEARED,
            "12:00:00  hall       face 12        none →  happy     ████████·· 0.81",
        ),
        (
            "demo/hall/event",
            APPEARED.replace(b'"none","to":"happy"', b'"surprise","to":"none"'),
            "12:00:00  hall       face 12    surprise →  none",
        ),
        (
            "demo/hall/state",
            STATE % (2, b"0.5"),
            "12:00:00  hall       2 faces     largest    happy     █████····· 0.50",
        ),
        ("demo/hall/state", EMPTY, "12:00:00  hall       0 faces      nobody    none"),
    ],
)
def test_line_shows_time_camera_face_and_emotion(topic: str, payload: bytes, expected: str) -> None:
    printed = line(topic.split("/"), payload, PLAIN, "11:11:11")
    assert printed is not None
    assert printed.rstrip() == expected
    assert len(printed) == len("11:11:11  hall       ") + 48


@pytest.mark.parametrize("topic", ["demo/health", "demo/hall/faces", "demo/hall/hold/state"])
def test_frequent_and_internal_messages_are_not_shown(topic: str) -> None:
    assert line(topic.split("/"), b"{}", PLAIN, "11:11:11") is None


def test_terminal_gets_colors() -> None:
    printed = line(["demo", "hall", "event"], APPEARED, Style(color=True), "11:11:11") or ""
    assert "\x1b[33mhappy    \x1b[0m" in printed
    assert "\x1b[33m████████··\x1b[0m" in printed


def test_terminal_without_unicode_gets_ascii() -> None:
    printed = line(["demo", "hall", "event"], APPEARED, ASCII, "11:11:11") or ""
    assert printed.isascii()
    assert printed == "12:00:00  hall       face 12        none -> happy     ########.. 0.81"


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_colors_follow_terminal_and_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert style_of(Terminal(io.BytesIO(), "utf-8")) == Style(color=True)
    assert style_of(Terminal(io.BytesIO(), "ascii")) == ASCII._replace(color=True)
    assert style_of(io.TextIOWrapper(io.BytesIO(), "utf-8")) == Style(color=False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert style_of(Terminal(io.BytesIO(), "utf-8")) == Style(color=False)


def test_subscriber_prints_only_changes_with_their_topic(broker: Mosquitto) -> None:
    out = io.StringIO()
    view = DemoView("home/faces", out)
    sender = Subscriber(broker.port, "nothing")
    with subscribed(broker.port, ["home/faces/#"], view.show):
        for topic, payload in [
            ("home/faces/demo/status", b"online"),
            ("home/faces/demo/hall/state", STATE % (1, b"0.5")),
            ("home/faces/demo/hall/state", STATE % (1, b"0.7")),  # no news
            ("home/faces/demo/hall/state", STATE % (2, b"0.7")),
            ("home/faces/demo/hall/event", APPEARED),
            ("home/other/demo/hall/event", APPEARED),
        ]:
            sender.publish(topic, payload)
        assert eventually(lambda: out.getvalue().count("\n") == 4)
    sender.close()
    lines = out.getvalue().splitlines()
    assert [text.split()[-1] for text in lines] == [
        "home/faces/demo/status",
        "home/faces/demo/hall/state",
        "home/faces/demo/hall/state",
        "home/faces/demo/hall/event",
    ]
    assert lines[3] == (
        "12:00:00  hall       face 12        none →  happy     ████████·· 0.81  home/faces/demo/hall/event"
    )


def test_view_follows_the_demo_broker() -> None:
    out = io.StringIO()
    view = DemoView("p", out)
    with amqtt_broker() as port, subscribed(port, ["p/#"], view.show):
        sink = idle_sink(port, version="3.1.1", status_topic="p/demo/status", client_id="demo")
        sink.start()
        assert eventually(lambda: "online" in out.getvalue())
        sink.stop()
        assert eventually(lambda: "offline" in out.getvalue())
        assert view.gone.is_set()


def test_unreachable_broker_is_reported_in_one_line() -> None:
    port = free_port()
    refused = f"demo: cannot subscribe at 127.0.0.1:{port}: Connection refused"
    with pytest.raises(EdgeError, match=refused), subscribed(port, ["p/#"], lambda topic, payload: None):
        pass
