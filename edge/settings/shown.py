"""The settings in force as people may see them: TOML with every secret masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from pydantic import BaseModel, SecretStr

from edge.host.redaction import SECRET, masked, masked_path
from edge.settings import Settings
from edge.settings.toml_lines import KeyPath


def settings_text(settings: Settings) -> str:
    """*settings* as one TOML text."""
    return "\n\n".join("\n".join((title, *lines)) for title, lines in tables_of(settings))


def tables_of(
    settings: Settings, origins: Mapping[KeyPath, str] = MappingProxyType({})
) -> Iterator[tuple[str, list[str]]]:
    """Each table's title and its lines; a key that *origins* knows has its origin behind it."""
    for name in type(settings).model_fields:
        tables = getattr(settings, name)
        if isinstance(tables, tuple):
            for index, table in enumerate(tables):
                yield f"[[{name}]]", list(_lines(table, (name, index), origins))
        else:
            yield f"[{name}]", list(_lines(tables, (name,), origins))


def _lines(table: BaseModel, place: KeyPath, origins: Mapping[KeyPath, str]) -> Iterator[str]:
    for key in type(table).model_fields:
        value = getattr(table, key)
        if (*place, key) == ("mqtt", "path"):
            value = masked_path(value)
        origin = origins.get((*place, key))
        if value is None:  # perhaps named in the file, and replaced by a credential
            yield f"# {key} is not set"
        else:
            yield f"{key} = {toml(value)}".ljust(40) + f"  # {origin}" if origin else f"{key} = {toml(value)}"


def toml(value: str | int | float | bool | Path | SecretStr | tuple[str, ...]) -> str:
    """*value* as TOML writes it; a secret, and a password within an address, as asterisks."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case SecretStr():
            return f'"{SECRET}"'
        case tuple():
            return f"[{', '.join(map(toml, value))}]"
        case _:
            # JSON's escapes are TOML's, except that TOML does not allow a raw DEL.
            return json.dumps(masked(str(value)), ensure_ascii=False).replace("\x7f", "\\u007f")
