"""A stub onnxruntime whose CUDA and TensorRT run on the CPU and fail on demand, and a model for it."""

from __future__ import annotations

import hashlib
import io
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.card import Card, Crop, Input, Output
from edge.analysis.classify import FaceClassifier
from edge.analysis.runtimes import chain, open_runtime
from edge.analysis.runtimes.chip import Chip
from edge.types import LABELS
from tests.tiny_onnx import level, write_onnx

# Imported before the real one, which it loads and wraps.
_PACKAGE = """
import importlib, os, sys, time
from pathlib import Path

_here = Path(__file__).parent
_me = sys.modules.pop("onnxruntime")
sys.path.remove(str(_here))
_real = importlib.import_module("onnxruntime")
sys.path.insert(0, str(_here))
sys.modules["onnxruntime"] = _me
__path__ = _real.__path__
__version__ = _real.__version__

def _mode():
    return (_here / "mode").read_text()

def SessionOptions():
    if _mode() == "bug":
        return {}["a mistake of ours"]
    return _real.SessionOptions()

def get_available_providers():
    return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

class InferenceSession:
    def __init__(self, content, options, providers, provider_options, enable_fallback):
        assert not enable_fallback
        if providers[0] != "CPUExecutionProvider" and _mode() == "slow":
            time.sleep(13)
        self._providers = providers
        if providers[0] != "CPUExecutionProvider" and _mode() == "missing":
            self._providers = ["CPUExecutionProvider"]
        self._session = _real.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __getattr__(self, name):
        return getattr(self._session, name)

    def get_providers(self):
        return self._providers

    def run(self, outputs, inputs):
        if self._providers[0] != "CPUExecutionProvider":
            if _mode() == "fail":
                raise Exception("CUDA failure 700: an illegal memory access was encountered")
            if _mode() == "abort":
                os.abort()
            if _mode() == "hang":
                time.sleep(1000)
        return self._session.run(outputs, inputs)
"""


class Gpu:
    """The package in *folder*."""

    def __init__(self, folder: Path) -> None:
        self._mode = folder / "mode"
        (folder / "onnxruntime.py").write_text(textwrap.dedent(_PACKAGE))
        self.set("load")

    def set(self, mode: str) -> None:
        """Set "load", "slow", "missing", "fail", "abort", "hang" or "bug" atomically."""
        new_path = self._mode.with_name("mode.new")
        new_path.write_text(mode)
        new_path.replace(self._mode)


@pytest.fixture
def chips(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Chip]]:
    """Chips with short retry delays, by kind, created on first use."""
    made: dict[str, Chip] = {}

    def the_chip(kind: str) -> Chip:
        return made.setdefault(kind, Chip(kind, retry_s=(0.2, 0.4)))

    monkeypatch.setattr(chain, "the_chip", the_chip)
    yield made
    for chip in made.values():
        chip.close()


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """The stub for child processes; this process has the real package."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path / "gpu"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return Gpu(folder)


def write_onnx_classifier(folder: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """A classifier's emotion.onnx (tests/tiny_onnx.py) with golden vectors and a card in *folder*.

    *labels*: LABELS, or more before them, which no picture shows.
    """
    file = write_onnx(folder / "emotion.onnx", [1, 48, 48, 1], outputs=len(labels))
    card = Card(
        name="levels", version="1", files={}, labels=labels, intended_use="tests", limits="all",
        input=Input(height=48, width=48, channels=1, range=(0, 255)),
        crop=Crop(framing="fer2013", upright=True), output=Output(kind="probabilities", temperature=1.0),
    )  # fmt: skip
    classifier = FaceClassifier(open_runtime("onnx", file.read_bytes()), card, file.name)
    pictures = np.stack([np.full((48, 48), level(label), np.uint8) for label in LABELS])
    archive = io.BytesIO()
    np.savez(
        archive, pictures=pictures, files=np.array([file.name]), tolerance=np.array([0.02]),
        scores=np.array([[classifier.scores(picture) for picture in pictures]], np.float32),
    )  # fmt: skip
    (folder / "emotion.golden.npz").write_bytes(archive.getvalue())
    body = json.loads(card.model_dump_json())
    body["files"] = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in (file, folder / "emotion.golden.npz")
    }
    (folder / "emotion.json").write_text(json.dumps(body))
    return file
