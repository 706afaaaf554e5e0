"""Single-shot face networks on any runtime: ours, and others' that a card describes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from edge.analysis.card import Center, DetectorCard, Model, read_detector
from edge.analysis.detectors.decode import AnchorDecoder, CenterDecoder, Found, best, blended
from edge.analysis.detectors.shared import Framing
from edge.analysis.golden import Outputs
from edge.analysis.runtimes.chain import Chain, Provider, Waiting, Where, no_wait
from edge.analysis.tensors import levels
from edge.types import Box, ConfigError, EdgeError, Face, Image, Runtime

MULTIPLE = 32  # pixels: the coarsest stride, of which a network's input has whole cells
# `emotion-train framing --detector ssd`, n = 1817: down .142 ± .031, size 1.309 ± 8.3 % (median and MAD):
# close to YuNet's, which drew the boxes that it learnt from.
FRAMING = Framing(down=0.142, size=1.309)
_BORDER = 0  # black, as around films
_TOP_BIT = np.uint8(128)  # of a byte: 0..255 become -128..127


class Ssd:
    """Faces from the network in *file*, verified by its card; EdgeError where it does not run."""

    name = "ssd"

    def __init__(
        self,
        file: Path,
        *,
        min_score: float | None = None,
        long_side: int | None = None,
        threads: int = 1,
        runtime: Where = "auto",
        provider: Provider = "cpu",
        waiting: Waiting | None = None,
    ) -> None:
        """*min_score*: 0..1, by default the card's. *long_side*: pixels of the pictures that will come.

        A network of one shape, as an Edge TPU's and an ONNX file's are, takes only ``long_side`` (None: any);
        ConfigError for another. *runtime*, *provider*: see edge.analysis.runtimes.chain.
        """
        chain = Chain("detector", read_detector, _outputs, runtime, provider, threads, waiting or no_wait)
        self.chosen = chain.open(file)
        card, self._file = self.chosen.model.card, self.chosen.model.path
        self._runtime = self.chosen.runtime
        _check(self._runtime, self.chosen.model)
        part = card.input
        self.color: Literal["luma", "bgr"] = "luma" if part.channels == 1 else "bgr"
        self.framing = Framing(card.framing.down, card.framing.size) if card.framing else FRAMING
        self._decode = card.decode
        self._min_score = card.decode.min_score if min_score is None else min_score
        # A table: pixels have 256 values. Where it only subtracts 128, flipping a bit is ten times faster.
        self._encoded: npt.NDArray[Any] = levels(part.range, self._runtime.input)
        self._flips = self._encoded.dtype == np.int8 and np.array_equal(self._encoded, np.arange(-128, 128))
        # Anchors are made for one shape; an Edge TPU's and an ONNX file's graphs have one.
        self._free = self._runtime.resizable and isinstance(card.decode, Center)
        self.shareable = not self._free
        self.zoom = part.zoom
        self.long_side = None if self._free else round(max(part.height, part.width) / part.zoom)
        if self.long_side and long_side not in (None, self.long_side):
            raise ConfigError(
                f"{self._file}: takes {part.width}x{part.height} pixels only, found detector.long_side = "
                f"{long_side}; set detector.long_side = {self.long_side}"
            )
        self._shape = part.height, part.width
        self._start()

    @property
    def description(self) -> str:
        """The file, its card's name, what runs it now, and why."""
        model, reason = self.chosen.model, self.chosen.reason
        why = "" if reason == "auto" else f"; {reason}"
        return f"{model.path}, {model.card.name} {model.card.version}, {self._runtime.name}{why}"

    def find(self, image: Image) -> list[Face]:
        """Faces in *image*, BGR or luma as ``color`` says, the likeliest first, with eyes if it knows them.

        The picture keeps its shape: a border at the right and below fills it up to whole cells, or to the
        network's one shape. Squeezed to a multiple of 32, faces change theirs by up to a tenth.
        """
        rows, columns = image.shape[:2]
        if self._free:
            shape = _whole(rows), _whole(columns)
            if shape != self._shape:  # the camera's shape changed, which is seldom
                self._runtime.resize((1, *shape, *self._runtime.input.shape[3:]))
                self._shape = shape
                self._start()
        scale = min(1.0, self._shape[0] / rows, self._shape[1] / columns)
        if scale < 1:
            size = max(1, int(columns * scale)), max(1, int(rows * scale))
            image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        if self.color == "bgr":
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
        self._show(image)
        found = self._decoder.found(self._runtime.run(self._tensor), self._min_score)
        found = blended(found, best(found, self._decode.max_overlap))
        faces = [_face(found, index, scale) for index in range(len(found.scores))]
        return [face for face in faces if _inside(face, rows, columns)]

    def _start(self) -> None:
        """Everything that belongs to the input's shape."""
        decoder = CenterDecoder if isinstance(self._decode, Center) else AnchorDecoder
        self._decoder = decoder(self._decode, self._runtime.outputs, self._shape, str(self._file))  # type: ignore[arg-type]
        self._tensor = np.full(self._runtime.input.shape, self._encoded[_BORDER])
        self._shown = (0, 0)  # (rows, columns) of the tensor that hold the picture

    def _show(self, image: Image) -> None:
        rows, columns = image.shape[:2]
        if (rows, columns) != self._shown:
            self._tensor.fill(self._encoded[_BORDER])
            self._shown = rows, columns
        window = self._tensor[0, :rows, :columns]
        if self._flips:
            np.bitwise_xor(image.reshape(window.shape), _TOP_BIT, out=window.view(np.uint8))
        else:
            window[:] = cv2.LUT(image, self._encoded).reshape(window.shape)


def _outputs(runtime: Runtime, model: Model[DetectorCard]) -> Outputs:
    _check(runtime, model)
    return Outputs(runtime, model.card.input.range)


def _check(runtime: Runtime, model: Model[DetectorCard]) -> None:
    """EdgeError where card and tensors disagree."""
    part = model.card.input
    wanted = (1, part.height, part.width, part.channels)
    if runtime.input.shape != wanted:
        raise EdgeError(f"{model.path}: card says input {wanted}, model takes {runtime.input.shape}")
    for spec in (runtime.input, *runtime.outputs):
        if spec.dtype.kind != "f" and spec.scale <= 0:
            raise EdgeError(f"{model.path}: {spec.name} is {spec.dtype} without a scale; quantize it again")


def _whole(side: int) -> int:
    return math.ceil(side / MULTIPLE) * MULTIPLE


def _face(found: Found, index: int, scale: float) -> Face:
    box, score = Box(*(found.boxes[index] / scale).tolist()), float(found.scores[index])
    if found.eyes is None:
        return Face(box, score)
    x0, y0, x1, y1 = (found.eyes[index] / scale).tolist()
    # A head upside down has the person's right eye on the picture's right.
    left, right = sorted(((x0, y0), (x1, y1)))
    return Face(box, score, (left, right))


def _inside(face: Face, rows: int, columns: int) -> bool:
    """The border holds no face."""
    x, y = face.box.center
    return 0 <= x < columns and 0 <= y < rows
