"""Shared by the three command lines: invalid numbers, interrupts and bugs end with one line each."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edge.__main__
import quantize.__main__
import training.__main__
from edge.cli import ended, number, whole
from edge.types import ConfigError

QUANTIZE = ("model.keras", "--data", "d.npz", "--out", "o")
CAMPAIGN = ("campaign", "plan.toml", "--out", "runs", "--data", "d.csv")


@pytest.mark.parametrize(
    ("main", "arguments", "reported"),
    [
        (
            edge.__main__.main,
            ("bench", "--source", "a", "--frames", "0"),
            "--frames: found '0'; expected a whole number",
        ),
        (
            edge.__main__.main,
            ("demo", "--seconds", "nan"),
            "--seconds: found 'nan'; expected a number from 0 on",
        ),
        (
            edge.__main__.main,
            ("demo", "--seconds", "-1"),
            "--seconds: found '-1'; expected a number from 0 on",
        ),
        (
            training.__main__.main,
            (*CAMPAIGN, "--minutes", "nan"),
            "--minutes: found 'nan'; expected a number from 0",
        ),
        (
            training.__main__.main,
            (*CAMPAIGN, "--parallel", "0"),
            "--parallel: found '0'; expected a whole number from 1",
        ),
        (
            training.__main__.main,
            (*CAMPAIGN, "--threads", "-2"),
            "--threads: found '-2'; expected a whole number from 1",
        ),
        (
            quantize.__main__.main,
            (*QUANTIZE, "--qat", "-3"),
            "--qat: found '-3'; expected a whole number from 0 on",
        ),
        (
            quantize.__main__.main,
            (*QUANTIZE, "--seed", "1.5"),
            "--seed: found '1.5'; expected a whole number from 0 on",
        ),
        (
            quantize.__main__.main,
            (*QUANTIZE, "--max-drop", "nan"),
            "--max-drop: found 'nan'; expected a number",
        ),
    ],
)
def test_invalid_number_is_a_usage_error(
    main: Callable[[list[str]], int],
    arguments: tuple[str, ...],
    reported: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert f"error: argument {reported}" in last


@pytest.mark.parametrize("text", ["1", "65535"])
def test_whole_accepts_numbers_within_bounds(text: str) -> None:
    assert whole(1, 65535)(text) == int(text)


@pytest.mark.parametrize("text", ["", "-0.5", "1e400", "inf", "ten", "9" * 5000, "65536"])
def test_whole_rejects_everything_else(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="expected a whole number from 1 to 65535"):
        whole(1, 65535)(text)


def test_number_accepts_fractions_and_enforces_its_minimum() -> None:
    assert number()("-0.5") == -0.5
    with pytest.raises(argparse.ArgumentTypeError, match="expected a number from 0 on"):
        number(0)("-0.5")


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "reported"),
    [
        (ConfigError("c.toml:3: no"), 78, "c.toml:3: no\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (ValueError("a\nb"), 1, "unexpected ValueError: a b; this is a bug, please report it with the log\n"),
        (MemoryError(), 1, "unexpected MemoryError: ; this is a bug, please report it with the log\n"),
    ],
)
def test_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, reported: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(raising(error), "stopped") == code
    assert capsys.readouterr().err == reported


def test_development_mode_shows_the_traceback() -> None:
    program = "from edge.cli import ended; ended(lambda: 1 // 0)"
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("command", "code"), [("check", 0), ("check --config /nowhere.toml", 78)])
def test_commands_work_without_standard_streams(closed: str, command: str, code: int, tmp_path: Path) -> None:
    """No file opened later may take descriptor 0 to 2 and be printed into."""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m edge {command} {closed}"], cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1])}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stdout + done.stderr
    if closed == ">&-":
        reported = "/nowhere.toml: no such file or directory; name a readable TOML file\n"
        assert done.stderr == ("" if code == 0 else reported)


def test_closed_descriptors_are_opened_before_the_command() -> None:
    program = (
        "import os, sys; from edge.cli import ended\n"
        "def work(): [os.fstat(n) for n in range(3)]; print(1); sys.exit(40 + os.open(os.devnull, 0))\n"
        "ended(work)"
    )
    for closed in ("<&- >&- 2>&-", "<&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" -c "$0" {closed}', program], timeout=60)
        assert done.returncode >= 43


@pytest.mark.parametrize("module", ["edge", "training", "quantize"])
@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii", "cp437"])
def test_unencodable_character_does_not_fail_the_output(module: str, encoding: str, tmp_path: Path) -> None:
    """Help contains non-ASCII text; a file name may be any bytes."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = {"edge": ["classify"], "training": ["fit"], "quantize": []}[module]
    helped = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"], env=environment, capture_output=True
    )
    assert (helped.returncode, helped.stderr) == (0, b"")
    if module != "edge":
        return
    name = os.fsencode(tmp_path) + b"/\xffs\xe2\x82\xac.png"
    Path(os.fsdecode(name)).write_bytes(b"no picture")
    reported = subprocess.run(
        [sys.executable, "-m", "edge", "classify", os.fsdecode(name)], env=environment, capture_output=True
    )
    assert reported.returncode == 1
    assert b"not a readable image" in reported.stdout
    assert b"Traceback" not in reported.stderr


@pytest.mark.parametrize(
    "arguments",
    [("classify",), ("detect", "a.jpg"), ("analyze",), ("check", "--config"),
     ("bench", "--source", "portraits", "--model")],
)  # fmt: skip
@pytest.mark.parametrize(
    "address", ["http://admin:S3cret@cam/a?tok=S3cret", "rtsp://admin:my S3cret@cam:554/live"]
)
def test_address_in_place_of_a_file_is_rejected_without_secrets(
    arguments: tuple[str, ...], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        edge.__main__.main([*arguments, address])
    message = capsys.readouterr().err
    assert "expected a file" in message
    assert "S3cret" not in message
