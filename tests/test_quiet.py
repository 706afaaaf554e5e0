"""Native output written directly to the descriptors, past Python."""

import os
import subprocess
import sys
import threading
import warnings

import pytest

from edge.host.quiet import quiet


def noise() -> None:
    os.write(2, b"native noise\n")
    warnings.warn("a library about itself", stacklevel=1)


def fail(*, show_on_error: bool) -> None:
    with quiet(show_on_error=show_on_error):
        noise()
        raise ValueError("broken")


def test_noise_is_suppressed_and_stderr_restored(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        noise()
    print("ours", file=sys.stderr)
    assert capfd.readouterr() == ("", "ours\n")


def test_output_before_an_error_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        fail(show_on_error=True)
    assert "native noise" in capfd.readouterr().err


def test_output_before_an_expected_error_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        fail(show_on_error=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("show_on_error", [True, False])
def test_log_lines_of_other_threads_are_not_suppressed(show_on_error: bool) -> None:
    script = f"""
import logging, sys, threading
from edge.commands.run import configure_logging
from edge.host.quiet import quiet
configure_logging("info")
log = logging.getLogger("edge")
with quiet(show_on_error={show_on_error}):
    print("native noise", file=sys.stderr)
    other = threading.Thread(target=log.warning, args=("the broker is lost",))
    other.start()
    other.join()
log.info("afterwards")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "WARNING the broker is lost\nINFO afterwards\n"
    assert done.stdout == ""


def test_concurrent_quiet_blocks_restore_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with quiet(show_on_error=False):
            inside.set()
            leave.wait(5)

    first = threading.Thread(target=hold)
    first.start()
    assert inside.wait(5)
    second = threading.Thread(target=hold)
    second.start()
    leave.set()
    first.join(5)
    second.join(5)
    print("ours", file=sys.stderr)
    assert capfd.readouterr() == ("", "ours\n")
