"""Shared fixtures. Tests that need the data next to the checkout skip with a reason without it."""

import signal
import warnings
from pathlib import Path

import cv2
import pytest

# Shells start background jobs with SIGINT ignored, and children inherit that: processes that a test
# interrupts would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of videos, photos and data sets outside the repository."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the videos and data sets in ../shared/data")
    return SHARED_DATA


@pytest.fixture(scope="session")
def squares_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small network, as written by emotion-train (tests/squares.py)."""
    pytest.importorskip("tensorflow", reason="only a training environment makes this network")
    from tests import squares

    folder = tmp_path_factory.mktemp("run")
    with warnings.catch_warnings():
        # Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        squares.write_run(folder)
    return folder


@pytest.fixture(scope="session")
def squares_files(squares_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that quantize makes from that network for a Jetson."""
    from tests import squares

    out = tmp_path_factory.mktemp("devices") / "out"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        assert squares.quantize(squares_run, out, "--target", "jetson") == 0
    return out
