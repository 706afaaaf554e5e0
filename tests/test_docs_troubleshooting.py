"""docs/troubleshooting.md quotes only messages that exist in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = (REPOSITORY / "docs/troubleshooting.md").read_text()
HOLE = "\0"
# Quotes that are not the daemon's: other programs' output, commands, lines of config.toml.
FOREIGN = re.compile(
    r"numpy\.dtype size|No module named|systemctl |sudo |v4l2-ctl |ffprobe |mosquitto_pub |@ : /|[a-z_.]+ = "
)


def phrases(text: str) -> Iterator[str]:
    """Split *text* into parts that one string of the program may contain; … is any value."""
    for part in re.split(r"[:;,]+ |[()]", text):
        yield part.strip(" ;,:`")


def templates() -> set[str]:
    """The phrases of every string in edge/, with HOLE for each placeholder."""
    found: set[str] = set()
    for path in (REPOSITORY / "edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
                found |= set(phrases("".join(parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(phrases(re.sub(r"%[-\d.]*[a-z]", HOLE, node.value)))
    return {phrase for phrase in found if re.search("[A-Za-z]{3}", phrase)}


MESSAGES = [re.compile(".+".join(map(re.escape, phrase.split(HOLE)))) for phrase in templates()]
QUOTED = sorted(
    {
        phrase
        for quote in re.findall(r"`([^`\n]+)`", PAGE)
        if not FOREIGN.match(quote)
        for phrase in phrases(quote)
        if " " in phrase and not FOREIGN.match(phrase)
    }
)


def test_page_quotes_enough_messages() -> None:
    assert len(QUOTED) > 30


@pytest.mark.parametrize("phrase", QUOTED)
def test_each_quoted_message_is_in_the_code(phrase: str) -> None:
    assert any(message.fullmatch(phrase) for message in MESSAGES)


def test_invented_message_is_detected() -> None:
    for phrase in (
        "the lens fell off",
        "buy a new broom",
        "its shelf has no more room",
    ):
        assert not any(message.fullmatch(phrase) for message in MESSAGES), phrase
