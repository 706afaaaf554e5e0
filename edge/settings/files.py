"""Settings that name files: there, readable, no address; and the secrets in them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from edge.host.addresses import has_scheme
from edge.settings.mistakes import SECRET_KEYS, found, rule
from edge.types import ConfigError

MAX_SECRET_BYTES = 65_535  # MQTT's limit for a password


def without_line_end(text: str) -> str:
    """*text* without the byte order mark and the line's end that editors and shells leave around it."""
    return text.removeprefix("\ufeff").rstrip("\r\n")


def read_secret(path: Path) -> str:
    """The password in *path*, without_line_end(); ConfigError, which shows nothing of it."""
    try:
        with path.open("rb") as file:
            secret = file.read(MAX_SECRET_BYTES + 1)
        text = without_line_end(secret.decode())
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError:  # whose text would show the secret
        raise ConfigError(f"{path}: not UTF-8 text") from None
    if not text or len(secret) > MAX_SECRET_BYTES:
        raise ConfigError(f"{path}: {'larger than a password may be' if text else 'empty'}")
    return text


def existing(path: Path, info: ValidationInfo) -> Path:
    path = Path(os.path.abspath(os.path.expanduser(path)))
    if not (os.path.isfile(path) and os.access(path, os.R_OK)):
        raise _no_file(str(path), info)
    return path


def no_address(value: object, info: ValidationInfo) -> object:
    """*value* as it is. A Path leaves one slash of an address, and redaction would not know it any more."""
    text = re.sub(r"^([a-zA-Z][\w+.-]*):/(?!/)", r"\1://", str(value))
    if has_scheme(text):
        raise _no_file(text, info)
    return value


def _no_file(text: str, info: ValidationInfo) -> Exception:
    # Someone may write the password itself into password_file: keep it out of the journal.
    what = "something else" if info.field_name in SECRET_KEYS else found(text, longest=160)
    return rule(f"found {what}; expected the name of a readable file")


# Not strict: a strict field accepts only a Path.
ExistingFile = Annotated[Path, Field(strict=False), BeforeValidator(no_address), AfterValidator(existing)]
