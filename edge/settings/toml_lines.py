"""A TOML file whose keys know their lines: tomllib gives values only, an error message needs both."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edge.types import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 8  # tables and arrays within one another; the settings need three

KeyPath = tuple[str | int, ...]  # ("camera", 1, "fps")

_TOKEN = re.compile(
    r"""
    (?P<skip>[ \t\r]+|\#[^\n]*)
    |(?P<newline>\n)
    |(?P<string>\"{3}(?:\\.|[^\\])*?\"{3,5} | '{3}.*?'{3,5} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    |(?P<mark>[\[\]{}=,.])
    |(?P<bare>[^\s\#"'\[\]{}=,.]+)
    """,
    re.VERBOSE | re.DOTALL,
)


# What a word processor or a web page makes of " and '.
_CURLY = re.compile("[“”„‟«»″‘’‚‛]")
_NO_CODE = re.compile(r"""\"(?:\\.|[^"\\])*\"|'[^']*'|\#.*""")  # strings and the comment of a line


class TomlFile(NamedTuple):
    """What a file says and where it says it."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]  # 1 for the first

    def line(self, key: KeyPath) -> int:
        """The line of *key*, of what is around it where the key itself has none; 0 without any."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)

    def place(self, key: KeyPath) -> str:
        """``file:line`` of *key*, or just the file."""
        line = self.line(key)
        return f"{self.path}:{line}" if line else str(self.path)


def read_toml(path: Path) -> TomlFile:
    """Read *path*; ConfigError in one line (file, line, what is wrong) when it is no readable TOML.

    A byte order mark, which some editors leave, is accepted.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(f"{path}: {reason}; name a readable TOML file") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB; name a configuration file")
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: found the byte 0x{content[error.start]:02x}; save the file as UTF-8"
        ) from error
    try:
        data = tomllib.loads(text)
        too_deep = _depth_exceeds(data, MAX_DEPTH)
    except RecursionError:
        too_deep = True
    except ValueError as error:  # TOMLDecodeError, or int() on thousands of digits
        raise ConfigError(_syntax_error(path, text, str(error))) from error
    if too_deep:
        raise ConfigError(f"{path}: tables or arrays within one another, more than {MAX_DEPTH} deep")
    return TomlFile(path, data, locate(text))


def locate(text: str) -> dict[KeyPath, int]:
    """The line of every table, key and array element of *text*, which must be valid TOML."""
    lines: dict[KeyPath, int] = {}
    arrays: dict[KeyPath, int] = {}  # array of tables -> index of the one being filled
    tokens = _Tokens(text)
    table: KeyPath = ()
    while tokens.kind:
        if tokens.kind == "newline":
            tokens.advance()
        elif tokens.text == "[":
            line = tokens.line
            tokens.advance()
            several = tokens.text == "["
            if several:
                tokens.advance()
            *parents, last = tokens.key("]")
            if several:
                tokens.advance()
            table = ()
            for part in parents:
                table = (*table, part)
                lines.setdefault(table, line)
                if table in arrays:
                    table = (*table, arrays[table])
            table = (*table, last)
            lines.setdefault(table, line)
            if several:
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
                lines[table] = line
        else:
            _locate_pair(tokens, table, lines)
    return lines


class _Tokens:
    """A cursor over the tokens of a valid TOML text; spaces and comments are left out."""

    def __init__(self, text: str) -> None:
        self._matches: Iterator[re.Match[str]] = _TOKEN.finditer(text)
        self._next_line = 1
        self.advance()

    def advance(self) -> None:
        self.kind, self.text, self.line = "", "", self._next_line
        for match in self._matches:
            line, self._next_line = self._next_line, self._next_line + match.group().count("\n")
            if match.lastgroup != "skip":
                self.kind, self.text, self.line = str(match.lastgroup), match.group(), line
                return

    def key(self, end: str) -> list[str]:
        """The parts of a dotted key; the cursor is then behind its *end* mark."""
        parts = []
        while self.kind and self.text != end:
            if self.kind == "string":
                parts.append(str(tomllib.loads(f"key = {self.text}")["key"]))
            elif self.kind == "bare":
                parts.append(self.text)
            self.advance()
        self.advance()
        return parts


def _locate_pair(tokens: _Tokens, table: KeyPath, lines: dict[KeyPath, int]) -> None:
    line = tokens.line
    for part in tokens.key("="):
        table = (*table, part)
        lines.setdefault(table, line)
    _locate_value(tokens, table, lines)


def _locate_value(tokens: _Tokens, key: KeyPath, lines: dict[KeyPath, int]) -> None:
    if tokens.text == "[":
        tokens.advance()
        index = 0
        while tokens.kind and tokens.text != "]":
            if tokens.kind == "newline" or tokens.text == ",":
                tokens.advance()
            else:
                lines[(*key, index)] = tokens.line
                _locate_value(tokens, (*key, index), lines)
                index += 1
        tokens.advance()
    elif tokens.text == "{":
        tokens.advance()
        while tokens.kind and tokens.text != "}":
            if tokens.kind == "newline" or tokens.text == ",":
                tokens.advance()
            else:
                _locate_pair(tokens, key, lines)
        tokens.advance()
    elif tokens.kind == "string":
        tokens.advance()
    else:  # a number or a date may be several tokens
        while tokens.kind == "bare" or tokens.text == ".":
            tokens.advance()


def _depth_exceeds(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(value, (dict, list)) for value in level)


def _syntax_error(path: Path, text: str, message: str) -> str:
    """One line for tomllib's *message*, which ends in "(at line 12, column 5)"."""
    what, _, where = message.partition(" (at ")
    number = re.match(r"line (\d+)", where)
    line = int(number[1]) if number else max(1, len(text.rstrip().splitlines()))
    if curly := _CURLY.search(_NO_CODE.sub("", text.split("\n")[line - 1])):
        quote = "'" if curly[0] in "‘’‚‛" else '"'
        what = f"found the quote {curly[0]}, which TOML does not know; write {quote}"
    elif what == "Cannot overwrite a value":
        key = re.match(r"\s*\[*([\w.-]+)", text.splitlines()[line - 1])
        what = f"{key[1] if key else 'this key'}: was given before; keep one of the two"
    elif what.startswith("Exceeds the limit"):
        what = "a number with too many digits"
    elif twice := re.match(r"Cannot declare \('(.*)',?\) twice", what):
        table = twice[1].replace("', '", ".")
        what = f"table [{table[:80]}] was given before; put its keys together"
    else:
        what = f"not TOML: {what[:1].lower()}{what[1:]}"
        if "nvalid value" in what:
            what += "; a text needs quotes"
    return f"{path}:{line}: {what}"
