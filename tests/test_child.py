"""Failures of a third-party library in a child process, reported in one line."""

import pytest

from edge.host import child


@pytest.mark.parametrize(
    ("statement", "failure"),
    [
        ("print('noise')", ""),
        ("import no_such_thing", "No module named 'no_such_thing'"),
        ("import os; os.abort()", "crashes (SIGABRT)"),
        ("raise SystemExit(3)", "exit code 3"),
        ("raise SystemExit('said so')", "said so"),
        ("import sys; sys.exit(len(sys.stdin.read()))", ""),
    ],
)
def test_child_failure_is_reported_in_one_line(statement: str, failure: str) -> None:
    assert child.failure_of(statement) == failure


def test_hung_child_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "TIMEOUT_S", 0.2)
    assert child.failure_of("import time; time.sleep(30)") == "no answer within 0.2 s"
