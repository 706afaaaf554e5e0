"""Makes all files of a detector's network in memory, and measures them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.analysis.detectors.ssd import Ssd
from edge.sources.portraits import FILE
from edge.types import EdgeError, Face, Image
from quantize import convert
from quantize.detector.card import HEIGHT, STRIDES, WIDTH, card
from quantize.figures.detection import Scores, scored
from quantize.figures.finding import Alarms, alarms, empty, found_in
from quantize.figures.photos import Photo
from quantize.golden import is_int8
from quantize.make import compiled_for_edge_tpu
from quantize.steps import Steps

if TYPE_CHECKING:
    from quantize.inside.edgetpu import Compiled

PARTS = ("score", "box", "eyes")
# Clipping a box value is an error of that size, so the ranges cover all but one picture in fifty.
WITHIN = 0.98
LEAST = 0.02  # lowest score to collect: detections below only cost time
SAME = 0.5  # IoU from which two files' detections are the same face
_TILE = 8  # pixels: background tiles of the golden pictures
_COMPARED = 200  # photos for comparing files


@dataclass(frozen=True)
class Measured:
    """One file's figures, run as in the daemon."""

    scores: dict[str, Scores]  # by data set
    alarms: dict[str, Alarms]  # by source of photos without a face
    agreement: float  # fraction of its and the float network's detections that both have, 0..1


@dataclass(frozen=True)
class Detector:
    """A detector's files and their figures, not yet written."""

    model: Any  # Keras, input HEIGHT x WIDTH
    float_tflite: bytes  # source of the others; not for devices
    files: dict[str, bytes]  # name -> content, the int8 TFLite file first
    compiled: dict[str, bytes]  # for the Edge TPU only: name -> content
    compiler: Compiled | None  # its compiler's output
    pictures: Image  # (n, HEIGHT, WIDTH) uint8 used for calibration
    min_score: float
    plain: Measured  # the float network
    measured: dict[str, Measured]  # by file

    def drop(self, file: str) -> float:
        """Average precision lost by quantizing *file*, on the worst data set, against its float version."""
        twin = self.measured.get(file.replace(".int8.onnx", ".onnx"), self.plain)
        before, after = (self.plain if file.endswith(".tflite") else twin).scores, self.measured[file].scores
        return max((before[data].ap - after[data].ap for data in after), default=0.0)

    @property
    def worst(self) -> tuple[float, str]:
        """The largest drop of an int8 file, and that file."""
        return max((self.drop(file), file) for file in self.files if is_int8(file))


def load(path: Path) -> Any:
    """The network at *path*, checked to output scores, boxes and eyes at three strides."""
    model = convert.opened(path)
    wanted = {f"{part}_{stride}" for part in PARTS for stride in STRIDES}
    found = set(model.output) if isinstance(model.output, dict) else set()
    if found != wanted:
        raise EdgeError(
            f"{path}: outputs {', '.join(sorted(found)) or 'unnamed'}; expected a detector's "
            f"{', '.join(sorted(wanted))} (emotion-train detector fit)"
        )
    return model


def calibration(photos: Sequence[Photo], count: int, seed: int) -> Image:
    """*count* of the training *photos*, (n, HEIGHT, WIDTH) uint8, each fitted into that frame."""
    some = [photo for photo in photos if not photo.held_out and len(photo.boxes)]
    if len(some) < 50:
        raise EdgeError(f"{len(some)} photos with faces for calibration; expected 50 or more")
    chosen = np.random.default_rng(seed).permutation(len(some))[:count]
    return np.stack([_whole(some[i].read()) for i in chosen])


def _whole(image: Image) -> Image:
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    below, beside = HEIGHT - size[1], WIDTH - size[0]
    return np.asarray(cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT), np.uint8)


def quantize_detector(
    path: Path, photos: Sequence[Photo], measured: Mapping[str, Sequence[Photo]], *, name: str, count: int,
    seed: int, min_score: float, with_onnx: bool, with_edgetpu: bool, steps: Steps,
) -> Detector:  # fmt: skip
    """The files *name* of the network at *path*, calibrated on *count* of *photos*, with figures.

    The figures are on *measured* (name -> photos), and on the held-out *photos* without a face. EdgeError if
    the network or the photos are unsuitable.
    """
    import keras

    with steps("opening the network"):
        network = load(path)
        pixels = keras.Input((HEIGHT, WIDTH, 1), name="pixels")
        model = keras.Model(pixels, network(pixels))
        pictures = calibration(photos, count, seed)
    with steps(f"quantizing with {len(pictures)} photos"):
        plain = convert.to_float(model)
        files = {f"{name}.tflite": convert.to_int8(model, pictures, plain, WITHIN)}
    if with_onnx:
        from quantize.onnx import to_onnx

        with steps("making the ONNX files"):
            files |= {f"{name}{suffix}": made for suffix, made in to_onnx(plain, pictures, WITHIN).items()}
    compiler = compiled_for_edge_tpu(files[f"{name}.tflite"], steps, with_edgetpu)
    compiled = {f"{name}.edgetpu.tflite": compiler.content} if compiler else {}
    with steps("measuring each file"):
        all_of_them = {"float.tflite": plain, **files}
        found = _measured(all_of_them, measured, [photo for photo in photos if photo.held_out], min_score)
    return Detector(
        model, plain, files, compiled, compiler, pictures, min_score, found.pop("float.tflite"), found
    )


def _measured(
    files: Mapping[str, bytes], sets: Mapping[str, Sequence[Photo]], held_out: Sequence[Photo],
    min_score: float,
) -> dict[str, Measured]:  # fmt: skip
    """Figures of each of *files* (the first is the float network) on *sets* and on held-out photos."""
    peopled = [photo for photo in held_out if len(photo.boxes)][:_COMPARED]
    shown = [_whole(photo.read()) for photo in peopled]
    nobody = empty(held_out)
    found: dict[str, Measured] = {}
    wanted: list[list[Face]] = []
    with tempfile.TemporaryDirectory(prefix="quantize-") as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
            (folder / file).with_suffix(".json").write_bytes(card("faces", "0", {file: content}, LEAST))
            finder = Ssd(folder / file)
            scores = {data: scored(found_in(finder, some)) for data, some in sets.items()}
            finds = [[face for face in finder.find(image) if face.score >= min_score] for image in shown]
            wanted = wanted or finds
            false = alarms(nobody, found_in(finder, nobody), min_score)
            found[file] = Measured(scores, false, agreement(wanted, finds))
    return found


def agreement(ones: Sequence[Sequence[Face]], others: Sequence[Sequence[Face]]) -> float:
    """The fraction (0..1) of faces in *ones* and *others* with a match in the other, picture by picture."""
    like = sum(
        any(face.box.iou(other.box) >= SAME for other in there)
        for one, two in zip(ones, others, strict=True)
        for here, there in ((one, two), (two, one))
        for face in here
    )
    count = sum(map(len, ones)) + sum(map(len, others))
    return like / count if count else 1.0


def golden_pictures() -> Image:
    """(3, HEIGHT, WIDTH) uint8, fixed: the built-in portraits in three sizes, on tiles."""
    random = np.random.default_rng(0)
    tiles = random.integers(60, 160, (3, HEIGHT // _TILE, WIDTH // _TILE), np.uint8)
    pictures = tiles.repeat(_TILE, 1).repeat(_TILE, 2)
    with np.load(FILE) as archive:
        faces = archive["faces"].astype(np.uint8)
    for picture, side in zip(pictures, (40, 72, 120), strict=True):
        for k, left in enumerate(range(8, WIDTH - side, side + 8)):
            picture[60 : 60 + side, left : left + side] = cv2.resize(faces[k % len(faces)], (side, side))
    return pictures
