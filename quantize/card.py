"""Cards for third-party face detectors with known outputs: `quantize card FILE`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edge.analysis.card import (
    MAX_MODEL_BYTES,
    Anchors,
    BoxFraming,
    DetectorCard,
    DetectorInput,
    FileEntry,
    Grid,
)
from edge.host.quiet import quiet
from edge.types import EdgeError

BLAZEFACE = {(1, 896, 16), (1, 896, 1)}  # the outputs' shapes
BLAZEFACE_INPUT = (1, 128, 128, 3)


def package(file: Path) -> dict[str, bytes]:
    """The detector *file* and its card, name -> content; EdgeError for an unknown format.

    A file compiled for an Edge TPU works too: it is read, not run.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EdgeError(f"{file}: {error.strerror or error}") from error
    if len(content) > MAX_MODEL_BYTES:
        raise EdgeError(f"{file}: {len(content)} bytes; expected at most {MAX_MODEL_BYTES}")
    entry = FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    card = _blazeface(file, content).model_copy(update={"files": {file.name: entry}})
    return {file.name: content, f"{file.stem}.json": card.model_dump_json(indent=1).encode()}


def _blazeface(file: Path, content: bytes) -> DetectorCard:
    (taken, *more), given = _tensors(file, content)
    shapes = {_shape(tensor): tensor["name"] for tensor in given}
    if more or _shape(taken) != BLAZEFACE_INPUT or set(shapes) != BLAZEFACE:
        offered = ", ".join(str(_shape(tensor)) for tensor in given)
        raise EdgeError(
            f"{file}: input {_shape(taken)}, outputs {offered}; expected MediaPipe's BlazeFace: input "
            f"{BLAZEFACE_INPUT}, outputs (1, 896, 16), (1, 896, 1)"
        )
    return DetectorCard(
        kind="detector",
        name="blazeface short range",
        version="1",
        files={},
        input=DetectorInput(height=128, width=128, channels=3, range=(-1.0, 1.0)),
        # MediaPipe's face_detection_short_range.pbtxt: four layers of stride 8, 16, 16, 16 with two anchors
        # each, those of one stride adjacent within a cell; points: right eye, left eye, nose, mouth, ears.
        decode=Anchors(
            form="anchors",
            grids=(Grid(stride=8, anchors=2), Grid(stride=16, anchors=6)),
            scores=shapes[1, 896, 1].partition(":")[0],
            boxes=shapes[1, 896, 16].partition(":")[0],
            scale=128.0,
            clip=100.0,
            eyes=(0, 1),
            min_score=0.5,
            max_overlap=0.3,
        ),
        # `emotion-train framing --detector ssd --file FILE`, n = 1340.
        framing=BoxFraming(down=0.129, size=1.212),
        training={"made by": "Google (MediaPipe)", "licence": "Apache-2.0"},
        data=({"name": "not published", "licence": "not published", "used_for": "training"},),
        intended_use="Finds faces near the camera, a fifth of the picture and more.",
        limits="Faces far away, of a crowd, and from the side. It was not measured on its authors' data.",
    )


def _tensors(file: Path, content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet(show_on_error=False):
            # Never allocated: that needs the chip the file is compiled for.
            interpreter = Interpreter(model_content=content)
            return interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise EdgeError(f"{file}: not a TFLite file; {' '.join(str(error).split())}") from error


def _shape(tensor: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(side) for side in tensor["shape"])
