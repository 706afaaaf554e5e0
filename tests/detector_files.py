"""Detector files with a card for several runtimes and the golden vectors an accelerator needs."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np

from edge.analysis.card import read_detector
from edge.analysis.detectors import FACES
from edge.analysis.golden import Outputs
from edge.analysis.runtimes import open_runtime
from edge.types import Image
from tests.bright_cells import write_card
from tests.edgetpu_stub import compiled
from tests.tiny_onnx import write_cells


def write_compiled_detector(folder: Path, *, right: bool = True) -> Path:
    """The shipped detector with a compiled file in its card; its golden vectors are *right* or wrong."""
    for suffix in (".tflite", ".json"):
        shutil.copy(FACES.with_suffix(suffix), folder)
    file = folder / "faces.edgetpu.tflite"
    file.write_bytes(compiled(FACES.read_bytes()))
    _write_golden(folder / FACES.name, [FACES.name, file.name], right=right)
    return file


def write_onnx_detector(folder: Path) -> Path:
    """faces.onnx (tests/bright_cells.py), as quantize leaves it."""
    file = write_cells(folder / "faces.onnx")
    write_card(file)
    _write_golden(file, [file.name])
    return file


def dark_picture(*cells: tuple[int, int]) -> Image:
    """A dark picture, 320x240, in which these (row, column) cells of 32 pixels are white."""
    image = np.full((240, 320), 20, np.uint8)
    for row, column in cells:
        image[row * 32 : (row + 1) * 32, column * 32 : (column + 1) * 32] = 255
    return image


def _write_golden(computed: Path, names: list[str], *, right: bool = True) -> None:
    """Golden vectors next to *computed*, the same for all *names*, and both in its card."""
    model = read_detector(computed) if computed.name == "faces.onnx" else read_detector(FACES)
    answers = Outputs(open_runtime("auto", computed.read_bytes()), model.card.input.range)
    shape = 2, model.card.input.height, model.card.input.width
    pictures = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    scores = np.array([answers.scores(picture) for picture in pictures])
    parts = np.split(scores, np.cumsum(answers.sizes)[:-1], axis=1)
    spans = np.repeat([max(float(np.ptp(part)), 1e-3) for part in parts], answers.sizes)
    archive = io.BytesIO()
    np.savez(
        archive, pictures=pictures, files=np.array(names), tolerance=np.full(len(names), 0.1),
        scores=np.stack([scores if right or name == computed.name else scores[:, ::-1] for name in names]),
        spans=np.stack([spans] * len(names)),
    )  # fmt: skip
    golden = computed.with_name("faces.golden.npz")
    golden.write_bytes(archive.getvalue())
    card = json.loads(computed.with_suffix(".json").read_text())
    card["files"] = {
        name: {
            "sha256": hashlib.sha256(content := computed.with_name(name).read_bytes()).hexdigest(),
            "size": len(content),
        }
        for name in (*names, golden.name)
    }
    computed.with_suffix(".json").write_text(json.dumps(card))
