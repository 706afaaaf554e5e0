"""OpenCV's own messages, in the versions that emotion-edge works with."""

from types import SimpleNamespace

import cv2
import pytest

from edge.host.opencv_log import SILENT, log_level


def test_the_level_before_comes_back_and_can_be_set_again() -> None:
    before = log_level(SILENT)
    assert log_level(3) == SILENT
    assert log_level(before) == 3


def test_opencv_of_bookworm_keeps_the_level_where_newer_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    level = [3]
    monkeypatch.setattr(cv2, "utils", SimpleNamespace())
    monkeypatch.setattr(cv2, "getLogLevel", lambda: level[0], raising=False)
    monkeypatch.setattr(cv2, "setLogLevel", lambda wanted: level.__setitem__(0, wanted), raising=False)
    assert log_level(SILENT) == 3
    assert level == [SILENT]
