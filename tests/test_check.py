"""`emotion-edge check` as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.commands.check import toml
from edge.settings.toml_lines import tomllib

ROOT = Path(__file__).resolve().parents[1]


def check(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("EMOTION_EDGE_")}
    return subprocess.run(
        [sys.executable, "-m", "edge", "check", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=30,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_a_right_configuration_is_printed_as_toml_with_the_origin_of_each_value(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[mqtt]\nhost = "broker.lan"\nusername = "me"\n[[camera]]\nname = "door"\n'
        'source = "rtsp://me:hunter2@cam/1?password=hunter2"\n[[camera]]\n'
    )
    done = check(tmp_path, "--config", "c.toml",
                 EMOTION_EDGE_MQTT__PASSWORD="hunter2", EMOTION_EDGE_MQTT__FACES_HZ="0.5")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "hunter2" not in done.stdout
    lines = [" ".join(line.split()) for line in done.stdout.split("\n")]
    assert lines[0] == "# c.toml: no mistakes"
    assert 'host = "broker.lan" # c.toml:2' in lines
    assert 'password = "********" # environment: EMOTION_EDGE_MQTT__PASSWORD' in lines
    assert "# password_file is not set" in lines
    assert "port = 1883" in lines
    printed = tomllib.loads(done.stdout)
    assert printed["mqtt"]["faces_hz"] == 0.5
    assert [camera["name"] for camera in printed["camera"]] == ["door", "cam"]
    assert printed["camera"][0]["source"] == "rtsp://********@cam/1?password=********"


def test_a_wrong_configuration_ends_with_78_and_a_line_for_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[mqtt]\nprot = 1883\nport = 0\n")
    done = check(tmp_path, "--config", "config.toml")
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr == (
        "config.toml:2: mqtt.prot: unknown key; did you mean 'port'?\n"
        "config.toml:3: mqtt.port: found 0, a whole number from 1 to 65535 would do\n"
    )


def test_a_configuration_that_is_not_there_ends_with_78(tmp_path: Path) -> None:
    done = check(tmp_path, "--config", "none.toml")
    assert (done.returncode, done.stderr) == (
        78, "none.toml: no such file or directory; name a readable TOML file\n"
    )  # fmt: skip


@pytest.mark.parametrize("value", ['a "quoted" \\ one', "käse 😀", "tab\t\x07del\x7f", "", True, -3, 1e-9])
def test_values_come_back_from_toml_as_they_were(value: str | int | float | bool) -> None:
    assert tomllib.loads(f"key = {toml(value)}") == {"key": value}
