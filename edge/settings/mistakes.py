"""Messages about wrong settings: found, expected, never a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from edge.host.redaction import masked, masked_path

SECRET_KEYS = ("password", "password_file")
MAX_SHOWN = 40  # characters of a wrong value


def rule(text: str, at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """An error for a validator: *text* is the whole message, *at* the path within the field."""
    return PydanticCustomError("rule", "{text}", {"text": text, "at": at})


def found(value: object, longest: int = MAX_SHOWN) -> str:
    """*value* as TOML has it, masked; of a text its first line, cut, of a table nothing."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 64:
            return "a number of more than 64 bits"
        case int() | float():
            return f"{value}"
        case str():
            line = masked(value.split("\n", 1)[0]).encode("utf-8", "backslashreplace").decode()
            cut = len(line) > longest or "\n" in value
            return json.dumps(line[:longest] + "…" * cut, ensure_ascii=not line.isprintable())
        case dict():
            return "a table"
        case list() | tuple():
            return "an array"
        case _:
            return "a date or time"


def dotted(key: Iterable[str | int]) -> str:
    """A key as the user knows it: ``camera[1].fps``; a part that is no plain word in quotes."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = re.fullmatch(rf"[\w-]{{1,{MAX_SHOWN}}}", part)
            text += f".{part if plain else found(part)}"
    return text.removeprefix(".")


def wanted(field: FieldInfo) -> str:
    """What *field* takes, in words: a range for numbers, the choices of a Literal, else its description."""
    if field.description:
        return field.description
    if options(field):
        *first, last = (f'"{choice}"' for choice in options(field))
        return f"{', '.join(first)} or {last}"
    kinds = get_args(field.annotation) or (field.annotation,)
    if bool in kinds:
        return "true or false"
    low, high = limits(field)
    return f"a {'whole ' if int in kinds else ''}number from {low:g} to {high:g}"


def options(field: FieldInfo) -> tuple[str, ...]:
    """The choices of a Literal field, none for any other."""
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else ()


def limits(field: FieldInfo) -> tuple[float, float]:
    """The smallest and the largest number that *field* takes."""
    bounds: dict[type, Any] = {type(bound): bound for bound in field.metadata}
    return bounds[Ge].ge, bounds[Le].le


def hint(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'port'?`` where one of *known* is close to *word*, else nothing."""
    close = get_close_matches(word.lower(), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def explain(error: ErrorDetails, field: FieldInfo) -> str:
    """What pydantic's *error* in *field* means to a user, in one line without the place."""
    if error["type"] == "rule":  # our validators give whole messages
        return error["msg"]
    value = error["input"]
    if error["loc"][-1] in SECRET_KEYS:
        what = "something else"
    elif error["loc"] == ("mqtt", "path") and isinstance(value, str):
        what = found(masked_path(value))
    else:
        what = found(value)
    suggestion = hint(value, options(field)) if isinstance(value, str) else ""
    return f"found {what}; expected {wanted(field)}{suggestion}"
