"""`emotion-edge check`: is the configuration right, and what does it come to?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, SecretStr

from edge.commands.options import add_config
from edge.secrecy import SECRET, masked
from edge.settings.toml_lines import KeyPath


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="validate the configuration and print it",
        description="Prints the settings in force as TOML, with the origin of each that was set; secrets are"
        " masked. Exit code 78 and one line for each mistake where the configuration is wrong.",
    )
    add_config(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from edge.settings import SEARCHED, resolve

    settings, file, origins = resolve(options.config)
    if file is not None:
        print(f"# {file}: no mistakes")
    else:
        print(f"# no file ({' nor '.join(map(str, SEARCHED))}): defaults")
    for name in type(settings).model_fields:
        tables = getattr(settings, name)
        if isinstance(tables, tuple):
            for index, table in enumerate(tables):
                print(f"\n[[{name}]]")
                print("\n".join(_lines(table, (name, index), origins)))
        else:
            print(f"\n[{name}]")
            print("\n".join(_lines(tables, (name,), origins)))
    return 0


def _lines(table: BaseModel, place: KeyPath, origins: dict[KeyPath, str]) -> Iterator[str]:
    for key in type(table).model_fields:
        value = getattr(table, key)
        origin = origins.get((*place, key))
        if value is None:  # perhaps named in the file, and replaced by a credential
            yield f"# {key} is not set"
        else:
            yield f"{key} = {toml(value)}".ljust(40) + f"  # {origin}" if origin else f"{key} = {toml(value)}"


def toml(value: str | int | float | bool | Path | SecretStr) -> str:
    """*value* as TOML writes it; a secret, and a password within an address, as asterisks."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case SecretStr():
            return f'"{SECRET}"'
        case _:
            # JSON's escapes are TOML's; only DEL, which JSON lets stand, is not allowed there.
            return json.dumps(masked(str(value)), ensure_ascii=False).replace("\x7f", "\\u007f")
