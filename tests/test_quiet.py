"""Native noise: written past Python, straight to the descriptors."""

import os
import sys
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


def test_noise_goes_nowhere_and_the_terminal_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        noise()
    print("ours", file=sys.stderr)
    assert capfd.readouterr() == ("", "ours\n")


def test_what_led_to_an_error_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        fail(show_on_error=True)
    assert "native noise" in capfd.readouterr().err


def test_it_is_not_where_one_line_says_it_better(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        fail(show_on_error=False)
    assert capfd.readouterr() == ("", "")
