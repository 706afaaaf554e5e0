"""A face detector's network -> its int8 file, what eight bits cost it, golden vectors and card."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.detectors.shared import enlarged, shrink
from edge.detectors.ssd import Ssd
from edge.runtimes import open_runtime
from edge.sources.portraits import FILE
from edge.types import Box, EdgeError, Image
from quantize import convert
from quantize.figures.detection import LONG_SIDE, RATE, Found, Scores, scored
from quantize.figures.photos import Photo
from quantize.steps import Steps

HEIGHT, WIDTH = 256, 320  # of the file's fixed shape: what an Edge TPU takes; a CPU is given others
STRIDES = (8, 16, 32)
PARTS = ("score", "box", "eyes")
# A box that is cut off is wrong by as much: the ranges hold what all but one picture in fifty reach.
WITHIN = 0.98
TOLERANCE = 24.0  # steps by which a golden output may differ on another chip; see quantize.golden
LEAST = 0.02  # score from which finds are counted: below, they add nothing but time


@dataclass(frozen=True)
class Detector:
    """A detector's files, in memory, and what was measured of them."""

    float_tflite: bytes
    int8_tflite: bytes
    calibrated_by: int  # photos
    scores: dict[str, tuple[Scores, Scores]]  # data set -> the float network's, the file's


def load(path: Path) -> Any:
    """The network at *path*, checked to give scores, boxes and eyes at three strides."""
    model = convert.opened(path)
    wanted = {f"{part}_{stride}" for part in PARTS for stride in STRIDES}
    found = set(model.output) if isinstance(model.output, dict) else set()
    if found != wanted:
        raise EdgeError(
            f"{path}: gives {', '.join(sorted(found)) or 'one output'}; expected a detector's "
            f"{', '.join(sorted(wanted))} (emotion-train detector fit)"
        )
    return model


def calibration(photos: Sequence[Photo], count: int, seed: int) -> Image:
    """*count* of the *photos* that were trained on, (n, HEIGHT, WIDTH) uint8, each whole in that frame."""
    some = [photo for photo in photos if not photo.held_out and len(photo.boxes)]
    if len(some) < 50:
        raise EdgeError(f"{len(some)} photos with faces to calibrate by; expected 50 or more")
    chosen = np.random.default_rng(seed).permutation(len(some))[:count]
    return np.stack([_whole(some[i].read()) for i in chosen])


def _whole(image: Image) -> Image:
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    below, beside = HEIGHT - size[1], WIDTH - size[0]
    return np.asarray(cv2.copyMakeBorder(small, 0, below, 0, beside, cv2.BORDER_CONSTANT), np.uint8)


def convert_both(path: Path, pictures: Image, steps: Steps) -> tuple[bytes, bytes]:
    """The float and the int8 TFLite file of the network at *path*, of the shape HEIGHT x WIDTH."""
    import keras

    with steps("opening the network"):
        model = load(path)
        pixels = keras.Input((HEIGHT, WIDTH, 1), name="pixels")
        fixed = keras.Model(pixels, model(pixels))
    with steps(f"quantizing by {len(pictures)} photos"):
        plain = convert.to_float(fixed)
        return plain, convert.to_int8(fixed, pictures, plain, WITHIN)


def quantize_detector(
    path: Path, photos: Sequence[Photo], measured: Mapping[str, Sequence[Photo]], *, count: int, seed: int,
    steps: Steps,
) -> Detector:  # fmt: skip
    """The files of the network at *path*, calibrated by *count* of *photos*, scored on each of *measured*."""
    pictures = calibration(photos, count, seed)
    plain, eight = convert_both(path, pictures, steps)
    both = Detector(plain, eight, len(pictures), {})
    with steps("measuring both files"):
        found = [_scores(both, content, measured) for content in (plain, eight)]
    return replace(both, scores={data: (found[0][data], found[1][data]) for data in measured})


def _scores(made: Detector, content: bytes, measured: Mapping[str, Sequence[Photo]]) -> dict[str, Scores]:
    """Of the file *content*, run as the daemon runs it."""
    with tempfile.TemporaryDirectory(prefix="quantize-") as folder:
        file = Path(folder) / "faces.tflite"
        file.write_bytes(content)
        file.with_suffix(".json").write_bytes(card(made, "faces", "0", LEAST, {}, {file.name: content}))
        finder = Ssd(file)
        return {
            data: scored([_found(finder, photo) for photo in photos]) for data, photos in measured.items()
        }


def _found(finder: Ssd, photo: Photo) -> Found:
    image = photo.read()
    small = shrink(image, int(LONG_SIDE), finder.colour)
    factors = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
    scale = image.shape[1] / photo.width if photo.width else 1.0
    truth = [Box(*(box * scale).tolist()) for box in photo.boxes]
    faces = [enlarged(face, *factors) for face in finder.find(small)]
    return Found((image.shape[1], image.shape[0]), faces, truth)


def golden_pictures() -> Image:
    """(3, HEIGHT, WIDTH) uint8, always the same: the built-in portraits in three sizes, and noise."""
    random = np.random.default_rng(0)
    pictures = random.integers(90, 150, (3, HEIGHT, WIDTH), np.uint8)
    with np.load(FILE) as archive:
        faces = archive["faces"].astype(np.uint8)
    for picture, side in zip(pictures, (40, 72, 120), strict=True):
        for k, left in enumerate(range(8, WIDTH - side, side + 8)):
            picture[60 : 60 + side, left : left + side] = cv2.resize(faces[k % len(faces)], (side, side))
    return pictures


def golden(content: bytes, name: str, pictures: Image) -> bytes:
    """The archive that edge.golden reads: what the int8 file *content*, called *name*, makes of *pictures*.

    Of a detector the ``scores`` are its outputs' int8 steps, one output after the other: (1, n, values).
    """
    runtime = open_runtime("cpu", content)
    rows = []
    for picture in pictures:
        tensor = (picture.astype(np.int16) - 128).astype(np.int8)[np.newaxis, ..., np.newaxis]
        rows.append(np.concatenate([output.ravel() for output in runtime.run(tensor)]))
    archive = io.BytesIO()
    np.savez_compressed(
        archive, pictures=pictures, files=np.array([name]), scores=np.array([rows], np.int8),
        tolerance=np.array([TOLERANCE]),
    )  # fmt: skip
    return archive.getvalue()


def shown(scores: Mapping[str, tuple[Scores, Scores]]) -> str:
    """For people: average precision and recall by the float network and by the file, and what that costs."""
    heads = f"{'AP float':>10}{'int8':>7}{'drop':>7}{f'recall at {RATE:g}':>15}{'int8':>7}"
    lines = [f"{'':<16}{'faces':>7}{heads}"]
    for data, (before, after) in scores.items():
        lines.append(
            f"{data:<16}{after.faces:>7,}{before.ap:>10.3f}{after.ap:>7.3f}{before.ap - after.ap:>7.3f}"
            f"{before.at()[0]:>15.3f}{after.at()[0]:>7.3f}"
        )
    return "\n".join(lines)


def card(
    made: Detector,
    name: str,
    version: str,
    min_score: float,
    record: Mapping[str, Any],
    files: Mapping[str, bytes],
) -> bytes:
    """The card of *files*, JSON; *record* is what ``emotion-train detector fit`` noted of its run.

    *min_score* is the score from which a find counts as a face where nothing else is asked for.
    """
    recipe = dict(record.get("recipe", {}))
    data = recipe.pop("data", ())
    figures = [
        {
            "name": kind, "value": round(value, 4), "data": data_set, "split": "all", "n": after.faces,
            "protocol": f"{name}.tflite as shipped, pictures shrunk to 320 px, faces of 16 px and more, "
            f"IoU >= .4; {protocol}",
        }
        for data_set, (_, after) in made.scores.items()
        for kind, value, protocol in (
            ("average precision", after.ap, "all-point"),
            ("recall", after.at()[0], f"at {RATE:g} false alarms a picture, from score {after.at()[1]:.2f}"),
        )
    ]  # fmt: skip
    content = {
        "kind": "detector",
        "name": name,
        "version": version,
        "files": {
            file: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for file, content in files.items()
        },
        "input": {"height": HEIGHT, "width": WIDTH, "channels": 1, "range": (0, 255)},
        "decode": {
            "form": "center",
            "min_score": min_score,
            "strides": STRIDES,
            "scores": [f"score_{stride}" for stride in STRIDES],
            "boxes": [f"box_{stride}" for stride in STRIDES],
            "eyes": [f"eyes_{stride}" for stride in STRIDES],
        },
        "figures": figures,
        "training": {
            **record, "recipe": recipe,
            "quantization": {"int8": "full, weights per channel", "photos": made.calibrated_by},
        },
        "data": list(data),
        "intended_use": (
            "Finds faces in a camera's pictures, on the device, for home automation and research."
        ),
        "limits": (
            "Trained on openly licensed photos of webcams, offices, portraits, masks and drivers, whose "
            "boxes a detector (YuNet) drew and nobody checked one by one: it shares that detector's gaps. "
            "Faces under 16 px of a 320 px picture are mostly missed. Pets are sometimes taken for people. "
            "It finds faces and recognizes nobody."
        ),
    }  # fmt: skip
    return json.dumps(content, indent=1).encode()
