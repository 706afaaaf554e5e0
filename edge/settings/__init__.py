"""The configuration: environment over credential over file over defaults."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from edge.host.addresses import has_scheme
from edge.settings.files import read_secret, without_line_end
from edge.settings.mistakes import dotted, explain, found, hint
from edge.settings.tables import SHIPPED, SOURCE_NAMES, TABLES, Settings
from edge.settings.toml_lines import KeyPath, TomlFile, read_toml
from edge.types import ConfigError

__all__ = ["Settings"]

log = logging.getLogger(__name__)

SEARCHED = (Path("/etc/emotion-edge/config.toml"), Path("config.toml"))  # the first that exists
ENVIRONMENT_PREFIX = "EMOTION_EDGE_"
# In $CREDENTIALS_DIRECTORY (systemd's LoadCredential=): a credential and the keys that it replaces.
CREDENTIALS = {"mqtt_username": ("username",), "mqtt_password": ("password", "password_file")}


class Loaded(NamedTuple):
    """Settings and where they are from."""

    settings: Settings
    file: Path | None  # None: no file was named and none found
    origins: dict[KeyPath, str]  # "config.toml:12", "environment: EMOTION_EDGE_MQTT__HOST"; without defaults


def variables() -> dict[str, KeyPath]:
    """The environment variables that are read, and the key that each sets. Cameras have none."""
    return {
        f"{ENVIRONMENT_PREFIX}{table}__{key}".upper(): (table, key)
        for table, model in TABLES.items()
        if table != "camera"
        for key in model.model_fields
    }


def load(path: Path | None = None) -> Settings:
    """The settings of *path*, else of the first of SEARCHED that exists, else the defaults.

    ConfigError with a line for each mistake: place, key, what was found, what was expected.
    """
    return resolve(path).settings


def resolve(path: Path | None = None) -> Loaded:
    """As load(), with the file that was used and the origin of every value that was set."""
    path = path or next((place for place in SEARCHED if os.path.exists(place)), None)
    file = TomlFile(Path("defaults"), {}, {}) if path is None else read_toml(path)
    mistakes: list[tuple[int, str]] = []  # (line, text), reported in this order
    tables = _tables(file, mistakes)
    stronger, given = _environment(mistakes)
    _prefer_credentials(tables, stronger, mistakes)
    for name, keys in given.items():
        tables[name] = tables.get(name, {}) | keys
    try:
        settings = Settings(**tables)
    except ValidationError as error:
        mistakes += [_mistake(file, stronger, details) for details in error.errors(include_url=False)]
    if mistakes:
        raise ConfigError("\n".join(text for _, text in sorted(mistakes)))
    origins = {key: file.place(key) for key in file.lines} | stronger
    if settings.mqtt.password_file is not None:
        secret = SecretStr(read_secret(settings.mqtt.password_file))
        mqtt = settings.mqtt.model_copy(update={"password": secret})
        settings = settings.model_copy(update={"mqtt": mqtt})
        origins["mqtt", "password"] = str(settings.mqtt.password_file)
    return Loaded(settings, path, origins)


def _tables(file: TomlFile, mistakes: list[tuple[int, str]]) -> dict[str, Any]:
    """The known tables of *file*; paths in it are relative to its folder."""
    tables: dict[str, Any] = {}
    for name, table in file.data.items():
        brackets = f"[[{name}]]" if name == "camera" else f"[{name}]"
        if name not in TABLES:
            mistakes.append(_placed(file, (name,), _unknown(name, TABLES)))
        elif not isinstance(table, list if name == "camera" else dict):
            mistakes.append(_placed(file, (name,), f"found {found(table)}; expected a table {brackets}"))
        else:
            tables[name] = table
    folder = file.path.parent
    for table in (table for name, table in tables.items() if name != "camera"):
        for key, text in table.items():
            if key.endswith("file") and isinstance(text, str) and text not in SHIPPED:
                table[key] = _anchored(text, folder)
    for camera in tables.get("camera", []):
        if isinstance(camera, dict) and isinstance(source := camera.get("source"), str):
            camera["source"] = _anchored_source(source, folder)
    return tables


def _anchored(text: str, folder: Path) -> str:
    return text if has_scheme(text) else os.path.abspath(os.path.join(folder, os.path.expanduser(text)))


def _anchored_source(source: str, folder: Path) -> str:
    """*source* with its folder if it is a file's name, not one of ours, an address or a pipeline."""
    if source in SOURCE_NAMES or "://" in source or " ! " in source:
        return source
    path = _anchored(source, folder)
    return path if "/" in source or "." in source or os.path.exists(path) else source


def _environment(mistakes: list[tuple[int, str]]) -> tuple[dict[KeyPath, str], dict[str, dict[str, Any]]]:
    """The keys that environment variables set, with the place for messages; and table -> key -> value."""
    source = EnvSettingsSource(
        Settings,  # type: ignore[arg-type]  # it needs no more than a model
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__",
    )  # fmt: skip
    known = variables()
    places: dict[KeyPath, str] = {}
    given: dict[str, str | None] = {}
    for name, text in sorted(os.environ.items()):
        upper = name.upper()  # pydantic-settings takes them in any case
        if upper in known and without_line_end(text):
            places[known[upper]] = f"environment: {name}"
            given[name.lower()] = without_line_end(text)
        elif _is_foreign(upper):
            log.warning("environment: %s: ignored; not a setting%s", name, _meant(upper, known))
        elif upper.startswith(f"{ENVIRONMENT_PREFIX}CAMERA"):
            mistakes.append((0, f"environment: {name}: unknown; cameras are described in the file"))
        elif upper.startswith(ENVIRONMENT_PREFIX) and upper not in known:
            mistakes.append((0, f"environment: {name}: unknown{_similar(upper, known)}"))
    source.env_vars = given
    return places, source()


def _is_foreign(variable: str) -> bool:
    """Whether *variable* only begins like ours: a platform's EMOTION_EDGE_PORT, say."""
    name = variable.removeprefix(ENVIRONMENT_PREFIX)
    return name != variable and "__" not in name and name.lower() not in TABLES


def _meant(variable: str, known: Iterable[str]) -> str:
    meant = [name for name in known if name.replace("__", "_") == variable]
    return f"; did you mean {meant[0]}?" if meant else ""


def _similar(variable: str, known: Iterable[str]) -> str:
    inside = [name for name in known if name.startswith(f"{variable}__")]
    if inside:
        return f"; a key must follow, as in {inside[0]}"
    close = get_close_matches(variable, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _prefer_credentials(
    tables: dict[str, Any], stronger: dict[KeyPath, str], mistakes: list[tuple[int, str]]
) -> None:
    """Let the environment's user name and password, else systemd's credentials, replace the file's."""
    for name, keys in CREDENTIALS.items():
        place = os.path.join(os.environ.get("CREDENTIALS_DIRECTORY", ""), name)
        secret = {}
        if not any(("mqtt", key) in stronger for key in keys):
            if not ("CREDENTIALS_DIRECTORY" in os.environ and os.path.exists(place)):
                continue
            stronger["mqtt", keys[0]] = f"credential: {name}"
            try:
                secret = {keys[0]: read_secret(Path(place))}
            except ConfigError as error:
                mistakes.append((0, f"credential: {error}"))
        mqtt = {key: value for key, value in tables.get("mqtt", {}).items() if key not in keys}
        tables["mqtt"] = mqtt | secret


def _mistake(file: TomlFile, stronger: Mapping[KeyPath, str], error: ErrorDetails) -> tuple[int, str]:
    """(line, text) for what pydantic found."""
    key: KeyPath = (*error["loc"], *error.get("ctx", {}).get("at", ()))
    if error["type"] == "extra_forbidden":
        return _placed(file, key, _unknown(str(key[-1]), TABLES[str(key[0])].model_fields))
    if error["type"] == "model_type":  # only an element of camera: _tables has seen to the others
        return _placed(file, key, f"found {found(error['input'])}; expected a table [[{key[0]}]]")
    model = TABLES[str(key[0])]
    text = explain(error, model.model_fields[str(key[-1])] if key[-1] in model.model_fields else FieldInfo())
    return (0, f"{stronger[key]}: {text}") if key in stronger else _placed(file, key, text)


def _placed(file: TomlFile, key: KeyPath, text: str) -> tuple[int, str]:
    return file.line(key), f"{file.place(key)}: {dotted(key)}: {text}"


def _unknown(key: str, known: Iterable[str]) -> str:
    homes = [f"[{name}]" for name, model in TABLES.items() if key in model.model_fields]
    return f"unknown key; it belongs in {' or '.join(homes)}" if homes else f"unknown key{hint(key, known)}"
