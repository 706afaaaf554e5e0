"""A temporary folder with a configuration, and the errors found in it."""

import os
from pathlib import Path

import pytest

from edge import settings
from edge.settings import load
from edge.types import ConfigError

REFERENCE = Path(__file__).resolve().parents[1] / "config.toml"


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate a test from this machine's configuration and environment."""
    for name in os.environ:
        if name.upper().startswith("EMOTION_EDGE_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "SEARCHED", (tmp_path / "etc.toml", Path("config.toml")))
    monkeypatch.chdir(tmp_path)


def write(text: str) -> Path:
    path = Path("config.toml")
    path.write_text(text)
    return path


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(text))
    assert caught.value.exit_code == 78
    return str(caught.value).split("\n")
