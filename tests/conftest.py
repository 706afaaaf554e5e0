"""Shared fixtures. Tests that need the data next to the checkout skip with a reason without it."""

import signal
import warnings
from pathlib import Path

import cv2
import pytest

# A shell starts a background job with SIGINT ignored, which its children inherit: those that a test
# interrupts would never hear of it.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's folder of videos, photos and data sets (not part of the repository)."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here: this test needs its videos and data sets")
    return SHARED_DATA


@pytest.fixture(scope="session")
def squares_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as emotion-train leaves it, of a small network (tests/squares.py)."""
    pytest.importorskip("tensorflow", reason="only a training environment makes this network")
    from tests import squares

    folder = tmp_path_factory.mktemp("run")
    with warnings.catch_warnings():
        # Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        squares.leave_run(folder)
    return folder


@pytest.fixture(scope="session")
def squares_files(squares_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that quantize makes of that network for a Jetson."""
    from tests import squares

    out = tmp_path_factory.mktemp("devices") / "out"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        assert squares.quantize(squares_run, out, "--target", "jetson") == 0
    return out
