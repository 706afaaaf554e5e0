"""The Edge TPU where there is none: what is missing is told in one line, and nothing crashes."""

from __future__ import annotations

import _ctypes
import shutil
from pathlib import Path

import pytest

from edge.host.child import failure_of
from edge.runtimes import open_runtime
from edge.runtimes.edgetpu import LIBRARY
from edge.types import EdgeError

COMPILED = b"\x1c\0\0\0TFL3 edgetpu-custom-op"


@pytest.mark.parametrize("kind", ["edgetpu", "auto"])
def test_a_missing_library_is_told_with_what_would_do(kind: str) -> None:
    if not failure_of(f"import ctypes; ctypes.CDLL({LIBRARY!r})"):
        pytest.skip(f"this machine has {LIBRARY}")
    with pytest.raises(EdgeError) as caught:
        open_runtime(kind, COMPILED)
    assert str(caught.value) == (
        "Edge TPU: libedgetpu.so.1 not found; install libedgetpu1-std or set model.runtime = \"cpu\""
    )


def test_a_library_that_is_no_delegate_is_tried_by_a_child_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(_ctypes.__file__, tmp_path / LIBRARY)  # some library that loads
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(EdgeError) as caught:
        open_runtime("auto", COMPILED)
    told = str(caught.value)
    assert told.startswith("Edge TPU: libedgetpu.so.1 gives no delegate: ")
    assert told.endswith('install a libedgetpu made for this TFLite, or set model.runtime = "cpu"')
    assert "\n" not in told
    assert capfd.readouterr() == ("", "")


def test_a_file_that_was_not_compiled_is_named_once_the_library_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(_ctypes.__file__, tmp_path / LIBRARY)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(EdgeError, match=r'runtime "edgetpu" takes .* compiled .* is a TFLite file for'):
        open_runtime("edgetpu", b"\x1c\0\0\0TFL3")
