"""What a subscriber sees: a line for each event, state and status, with its topic."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TextIO

from edge.types import NONE, UNCERTAIN

BAR = 10  # characters
WIDTH = 48  # of the text between a line's source and its topic
COLORS = {  # ANSI
    "angry": 31, "disgust": 32, "fear": 35, "happy": 33, "sad": 34, "surprise": 36, "neutral": 37,
    UNCERTAIN: 90, NONE: 90,
}  # fmt: skip
DIM, GREEN, RED = 90, 32, 31


class Style(NamedTuple):
    """What the terminal can show."""

    color: bool
    arrow: str = "→"
    full: str = "█"
    empty: str = "·"

    def paint(self, text: str, color: int) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self.color else text

    def bar(self, share: float) -> str:
        filled = round(share * BAR)
        return self.full * filled + self.empty * (BAR - filled)


ASCII = Style(False, arrow="->", full="#", empty=".")


def style_of(out: TextIO) -> Style:
    """Colors on a terminal unless NO_COLOR is set (no-color.org); ASCII where *out* writes nothing else."""
    color = out.isatty() and not os.environ.get("NO_COLOR")
    try:
        "→█·".encode(out.encoding or "utf-8")
    except UnicodeEncodeError:
        return ASCII._replace(color=color)
    return Style(color)


def line(parts: Sequence[str], payload: bytes, style: Style, clock: str) -> str | None:
    """The line for one message, without its topic; None for what is not shown.

    *parts* are the topic's below the prefix: node, then perhaps a camera, and the kind (faces and health
    come too often to be shown). *clock*, HH:MM:SS, is shown where a payload has no time of its own.
    """
    match parts:
        case [_, "status"] | [_, _, "status"]:
            word = payload.decode()
            text = style.paint(word, GREEN if word == "online" else RED) + " " * (WIDTH - len(word))
        case [_, "info"]:
            body = json.loads(payload)
            text = ", ".join(body[part]["name"] for part in ("model", "detector", "runtime")).ljust(WIDTH)
        case [_, _, "event" | "state" as kind]:
            body = json.loads(payload)
            clock = datetime.fromisoformat(body["ts"]).astimezone().strftime("%H:%M:%S")
            text = _event(body, style) if kind == "event" else _state(body, style)
        case _:
            return None
    source = parts[1] if len(parts) == 3 else "node"
    return f"{clock}  {source:<10} {text}"


def _event(body: Mapping[str, Any], style: Style) -> str:
    before = style.paint(f"{body['from']:>9}", COLORS.get(body["from"], DIM))
    after = style.paint(f"{body['to']:<9}", COLORS.get(body["to"], DIM))
    text = f"face {body['track']:<4} {before} {style.arrow:<2} {after}"
    return f"{text} {_share(body['to'], body['confidence'], style)}"


def _state(body: Mapping[str, Any], style: Style) -> str:
    count = body["faces"]
    faces = f"{count} face" + ("s" if count != 1 else " ")
    emotion = style.paint(f"{body['emotion']:<9}", COLORS.get(body["emotion"], DIM))
    text = f"{faces:<9} {'largest' if count else 'nobody':>9}    {emotion}"
    return f"{text} {_share(body['emotion'], body['confidence'], style)}"


def _share(emotion: str, confidence: float, style: Style) -> str:
    if emotion == NONE:
        return " " * (BAR + 5)
    return f"{style.paint(style.bar(confidence), COLORS.get(emotion, DIM))} {confidence:.2f}"


class DemoView:
    """Writes a line for what is new below *prefix* to *out*."""

    def __init__(self, prefix: str, out: TextIO) -> None:
        self.gone = threading.Event()  # the node went offline
        self._prefix = prefix
        self._out = out
        self._style = style_of(out)
        self._shown: dict[str, str] = {}  # topic -> what the last line of it said

    def show(self, topic: str, payload: bytes) -> None:
        """Write the line for a message, unless it equals the last one on its topic."""
        parts = topic.removeprefix(f"{self._prefix}/").split("/")
        if parts[1:] == ["status"]:
            (self.gone.set if payload == b"offline" else self.gone.clear)()
        text = line(parts, payload, self._style, datetime.now().strftime("%H:%M:%S"))
        if text is None:
            return
        news = _news(parts[-1], payload)
        if self._shown.get(topic) != news:
            self._shown[topic] = news
            print(f"{text}  {self._style.paint(topic, DIM)}", file=self._out, flush=True)


def _news(kind: str, payload: bytes) -> str:
    """What counts as new: of a state all but time and confidence, otherwise the whole payload."""
    if kind != "state":
        return payload.decode()
    body = json.loads(payload)
    return f"{body['faces']} {body['emotion']}"
