"""The command line: help, version, usage errors, and never a traceback."""

import argparse
import subprocess
import sys

import pytest

import edge
from edge.__main__ import main
from edge.commands import probe
from tests.process import emotion_edge, environment

COMMANDS = ("run", "demo", "check", "classify", "bench", "probe", "models")


def test_help_names_every_command() -> None:
    reported = emotion_edge("--help").stdout
    assert all(f"    {command} " in reported for command in COMMANDS)


def test_version_is_that_of_the_package() -> None:
    assert emotion_edge("--version").stdout == f"emotion-edge {edge.__version__}\n"


def test_unknown_command_is_a_usage_error() -> None:
    done = emotion_edge("rnu")
    assert done.returncode == 2
    assert "invalid choice: 'rnu'" in done.stderr


def test_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(options: argparse.Namespace) -> int:
        raise RuntimeError("a fault\nof ours")

    monkeypatch.setattr(probe, "run", broken)
    assert main(["probe"]) == 1
    reported = capsys.readouterr().err
    assert (
        reported == "unexpected RuntimeError: a fault of ours; this is a bug, please report it with the log\n"
    )


def test_closed_pipe_is_not_an_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m edge check | head -1",
        shell=True, capture_output=True, text=True, env=environment(), timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout[:1], done.stderr) == ("#", "")
