"""Shared fixtures. What needs the data beside the checkout skips, with the reason, where it is absent."""

from pathlib import Path

import cv2
import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The team's folder of videos, photos and data sets (not part of the repository)."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here: this test needs its videos and data sets")
    return SHARED_DATA
