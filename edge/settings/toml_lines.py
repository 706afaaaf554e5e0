"""A TOML file with the line of each key, which tomllib does not give."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
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

# Strings and comments, whose brackets, equals signs and line ends mean nothing.
_OPAQUE = re.compile(
    r"""\"{3}(?:\\.|[^\\])*?\"{3,5}|'{3}.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*""", re.DOTALL
)
_INNER_LINE_END = "\f"

# What a word processor or a web page makes of " and '.
_CURLY = re.compile("[“”„‟«»″‘’‚‛]")
# Blanks of web pages and their like.
_INVISIBLE = re.compile("[\u00a0\u2000-\u200f\u2028-\u202f\u2060\u3000\ufeff]")
# What people write who know other formats, and what it is in TOML.
_HABITS = (
    (re.compile(r"=\s*(True|TRUE)\b"), "true"),
    (re.compile(r"=\s*(False|FALSE)\b"), "false"),
    (re.compile(r"=\s*(\d+,\d+)\s*$"), "a point, as in 0.5"),
    (re.compile(r"^\s*[\w-]+\s*(:)"), "="),
)
_NO_CODE = re.compile(r"""\"(?:\\.|[^"\\])*\"|'[^']*'|\#.*""")  # strings and the comment of a line


class TomlFile(NamedTuple):
    """What a file says and where it says it."""

    path: Path
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]  # 1 for the first

    def line(self, key: KeyPath) -> int:
        """The line of *key*, else of what is around it; 0 without any."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 0)

    def place(self, key: KeyPath) -> str:
        """``file:line`` of *key*, or just the file."""
        line = self.line(key)
        return f"{self.path}:{line}" if line else str(self.path)


def read_toml(path: Path) -> TomlFile:
    """Read *path*, with or without a byte order mark; ConfigError in one line when it is no readable TOML."""
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
        too_deep = _depth(data) > MAX_DEPTH
    except RecursionError:
        too_deep = True
    except ValueError as error:  # TOMLDecodeError, or int() on thousands of digits
        raise ConfigError(_syntax_error(path, text, str(error))) from error
    if too_deep:
        raise ConfigError(f"{path}: tables or arrays within one another, more than {MAX_DEPTH} deep")
    return TomlFile(path, data, locate(text))


def locate(text: str) -> dict[KeyPath, int]:
    """The line of every table and key of *text*, valid TOML; not of keys within a value."""
    lines: dict[KeyPath, int] = {}
    arrays: dict[KeyPath, int] = {}  # array of tables -> index of the one being filled
    table: KeyPath = ()
    number, at, depth = 1, 0, 0
    for bare in _OPAQUE.sub(_blank, text).split("\n"):
        begins, statement = depth == 0 and bare.strip(), text[at : at + len(bare)]
        if begins and begins[0] == "[":
            several = begins.startswith("[[")
            *parents, last = _parts(statement[bare.index("[") + 1 + several : bare.index("]")])
            table = ()
            for part in parents:
                table = (*table, part)
                lines.setdefault(table, number)
                if table in arrays:
                    table = (*table, arrays[table])
            table = (*table, last)
            lines.setdefault(table, number)
            if several:
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
                lines[table] = number
        elif begins:
            key = table
            for part in _parts(statement[: bare.index("=")]):
                key = (*key, part)
                lines.setdefault(key, number)
        depth += sum(bare.count(mark) for mark in "[{") - sum(bare.count(mark) for mark in "]}")
        number += 1 + bare.count(_INNER_LINE_END)
        at += len(bare) + 1
    return lines


def _blank(opaque: re.Match[str]) -> str:
    """Placeholders of the same length."""
    fill = " " if opaque[0][0] == "#" else "_"
    return "".join(_INNER_LINE_END if character == "\n" else fill for character in opaque[0])


def _parts(key: str) -> KeyPath:
    """The parts of a dotted key."""
    parts: KeyPath = ()
    value: object = tomllib.loads(f"{key} = 0")
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts = (*parts, part)
    return parts


def _depth(value: object) -> int:
    """How many tables and arrays are within one another."""
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


def _syntax_error(path: Path, text: str, message: str) -> str:
    """One line for tomllib's *message*, which ends in "(at line 12, column 5)"."""
    what, _, where = message.partition(" (at ")
    number = re.match(r"line (\d+)", where)
    line = int(number[1]) if number else max(1, len(text.rstrip().splitlines()))
    code = _NO_CODE.sub("", text.split("\n")[line - 1])
    if curly := _CURLY.search(code):
        quote = "'" if curly[0] in "‘’‚‛" else '"'
        what = f"found the quote {curly[0]}, which TOML does not know; write {quote}"
    elif blank := _INVISIBLE.search(code):
        what = f"found the invisible character U+{ord(blank[0]):04X}; write a space, or nothing"
    elif habit := next(((it[1], right) for wrong, right in _HABITS if (it := wrong.search(code))), None):
        what = f"found {habit[0]}; write {habit[1]}"
    elif "hex value" in what or "Unescaped '\\'" in what:
        what = "found a \\ in a text; put the text in single quotes, or write \\\\"
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
