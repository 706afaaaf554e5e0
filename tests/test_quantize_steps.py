"""Steps are printed with their duration, even one that fails."""

from __future__ import annotations

import re

import pytest

from quantize.steps import Steps


def test_each_step_prints_a_line_with_its_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(2)
    with steps("opening"):
        pass
    with steps("opening"):
        pass
    with steps("measuring"):
        pass
    assert list(steps.seconds) == ["opening", "measuring"]
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"^ +\d+\.\d s  ", "", line) for line in lines] == ["opening", "opening", "measuring"]


def test_failed_step_is_printed_before_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), Steps(1)("measuring"):
        raise ValueError("no")
    assert capsys.readouterr().out.endswith(" s  measuring\n")
