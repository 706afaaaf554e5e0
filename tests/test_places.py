"""Where the daemon keeps its state."""

import os
from pathlib import Path

import pytest

from edge.host.places import WITHOUT_HOME, state_directory, state_file


def unknown_user(number: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {number}")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset every variable that names a place; the user has no passwd entry."""
    for name in ("STATE_DIRECTORY", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown_user)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/home/me"}, Path("/var/lib/a")),
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/me"}, Path("/data/emotion-edge")),
        ({"XDG_DATA_HOME": "data", "HOME": "/home/me"}, Path("/home/me/.local/share/emotion-edge")),
        ({"HOME": "/home/me"}, Path("/home/me/.local/share/emotion-edge")),
        ({}, WITHOUT_HOME),
        ({"HOME": ""}, WITHOUT_HOME),
        ({"HOME": "me"}, WITHOUT_HOME),
    ],
)
def test_state_directory_follows_systemd_xdg_home_then_fallback(
    environment: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert state_directory() == place
    assert state_file("a.json", "pi") == place / "a-pi.json"
    assert os.path.isabs(place)
