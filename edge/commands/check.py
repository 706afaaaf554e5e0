"""`emotion-edge check`: is the configuration right, what does it come to, and is the model computed right?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, SecretStr

from edge.commands.options import add_config
from edge.secrecy import SECRET, masked, masked_path
from edge.settings import Settings
from edge.settings.toml_lines import KeyPath

CONFIGURED = Path()  # --model without a file


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "check",
        help="validate the configuration and print it; replay a model's golden vectors",
        description="Prints the settings in force as TOML, with the origin of each that was set; secrets are"
        " masked. Exit code 78 and one line for each mistake where the configuration is wrong.",
    )
    add_config(parser)
    parser.add_argument(
        "--model", type=Path, nargs="?", const=CONFIGURED, metavar="F",
        help="instead: run the golden vectors of the configured model, or of F, as the daemon would run it;"
        " exit code 1 where they come out otherwise than when the model was made",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from edge.settings import SEARCHED, resolve

    settings, file, origins = resolve(options.config)
    if options.model is not None:
        return _replay(settings, None if options.model == CONFIGURED else options.model)
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


def _replay(settings: Settings, file: Path | None) -> int:
    """Hold what the configured runtime makes of the golden pictures against what it should make of them."""
    from edge.assembly import open_engine
    from edge.golden import deviations, read_golden

    if file is not None:
        settings = settings.model_copy(update={"model": settings.model.model_copy(update={"file": file})})
    engine = open_engine(settings)
    golden = read_golden(engine.model)
    found = deviations(golden, engine.classifier)
    worst = max(found)
    told = f"{engine.model.path}: {engine.runtime.name}: {len(found)} golden pictures, probabilities differ "
    print(f"{told}by at most {worst:.4f}, {golden.tolerance:.4f} is allowed")
    return 0


def _lines(table: BaseModel, place: KeyPath, origins: dict[KeyPath, str]) -> Iterator[str]:
    for key in type(table).model_fields:
        value = getattr(table, key)
        if (*place, key) == ("mqtt", "path"):
            value = masked_path(value)
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
