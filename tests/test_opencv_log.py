"""OpenCV's log level, in the versions that emotion-edge supports."""

from types import SimpleNamespace

import cv2
import pytest

from edge.host.quiet import SILENT, log_level


def test_log_level_returns_the_previous_level() -> None:
    before = log_level(SILENT)
    assert log_level(3) == SILENT
    assert log_level(before) == 3


def test_log_level_works_with_opencv_of_bookworm(monkeypatch: pytest.MonkeyPatch) -> None:
    level = [3]
    monkeypatch.setattr(cv2, "utils", SimpleNamespace())
    monkeypatch.setattr(cv2, "getLogLevel", lambda: level[0], raising=False)
    monkeypatch.setattr(cv2, "setLogLevel", lambda wanted: level.__setitem__(0, wanted), raising=False)
    assert log_level(SILENT) == 3
    assert level == [SILENT]
