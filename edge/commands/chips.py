"""Configured accelerators and what they lack here, found without opening one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from edge.analysis.card import DetectorCard, Model, read_detector, read_model
from edge.analysis.detectors import file_of
from edge.analysis.golden import read_golden
from edge.analysis.runtimes import coral
from edge.analysis.runtimes.chain import links, providers
from edge.analysis.runtimes.chip_server import LIBRARY
from edge.host.child import failure_of
from edge.settings import Settings
from edge.types import EdgeError

LIBRARY_STEP = "install libedgetpu1-std (coral.ai/software)"
PROVIDER_STEP = "install onnxruntime-gpu (on a Jetson the wheel that NVIDIA makes for its JetPack)"


class Asked(NamedTuple):
    """A chip that the configuration asks for, or that auto would take."""

    table: str  # "model" or "detector"
    kind: str  # "edgetpu", "tensorrt" or "cuda"
    lacks: str  # what, with the next step; empty where nothing is missing


def asked(settings: Settings) -> Iterator[Asked]:
    """Every accelerator that is tried, first choice first; ConfigError where a set runtime has no file."""
    model, detector = settings.model, settings.detector
    yield from _of("model", read_model(model.file), model.runtime, model.provider)
    file = file_of(detector.kind, detector.file)
    if file is not None:
        yield from _of("detector", read_detector(file), detector.runtime, detector.provider)


def library_failure() -> str:
    """Why libedgetpu does not load, in one line; empty where it does."""
    # A build for another TFLite may crash the process: a child tries it.
    failure = failure_of(f"import ctypes; ctypes.CDLL({LIBRARY!r})")
    return "not found" if "cannot open shared object" in failure else failure


def _of(table: str, model: Model[Any], runtime: str, provider: str) -> Iterator[Asked]:
    for kind, path in links(model, table, runtime, provider):  # type: ignore[arg-type]
        if kind != "cpu":
            yield Asked(table, kind, _lacks(kind, model, path))


def _lacks(kind: str, model: Model[Any], path: Path) -> str:
    try:
        read_golden(read_detector(path) if isinstance(model.card, DetectorCard) else read_model(path))
    except EdgeError as error:
        return f"cannot be verified: {error}"
    if kind == "edgetpu":
        if absent := coral.absent():
            return absent
        failure = library_failure()
        return f"{LIBRARY}: {failure}; {LIBRARY_STEP}" if failure else ""
    return "" if kind in providers() else f"the ONNX Runtime here was built without it; {PROVIDER_STEP}"
