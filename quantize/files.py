"""What quantize leaves behind: the model and its card, all in place or none."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge.card import Card, Crop, Figure, FileEntry, Input, Output
from edge.types import LABELS, EdgeError

PROTOCOL = "the int8 file as shipped, one crop a picture; PublicTest also chose the temperature"


class Cost(NamedTuple):
    """What eight bits cost on one label set of PublicTest; shares 0..1."""

    data: str
    n: int
    float_accuracy: float
    int8_accuracy: float
    float_error: float  # calibration error before the temperature
    int8_error: float  # and of the int8 file

    @property
    def drop(self) -> float:
        """Points of accuracy lost, positive where int8 is worse."""
        return 100 * (self.float_accuracy - self.int8_accuracy)


def card(
    content: bytes,
    name: str,
    version: str,
    model: Path,
    size: tuple[int, int],
    temperature: float,
    costs: Sequence[Cost],
    calibration: Mapping[str, Any],
) -> Card:
    """The card of the TFLite file *content*; the training record is taken from beside *model*."""
    record = _record(model.with_name("recipe.json"))
    data = record.get("recipe", {}).pop("data", ())
    figures = [
        Figure(
            name=kind, value=round(value, 5), data=cost.data, split="PublicTest", protocol=PROTOCOL, n=cost.n
        )
        for cost in costs
        for kind, value in (("accuracy", cost.int8_accuracy), ("calibration error", cost.int8_error))
    ]
    return Card(
        name=name,
        version=version,
        files={f"{name}.tflite": FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))},
        labels=LABELS,
        input=Input(height=size[0], width=size[1], channels=1, range=(0, 255)),
        crop=Crop(framing="fer2013", upright=True),
        output=Output(kind="probabilities", temperature=round(temperature, 5)),
        figures=tuple(figures),
        training={**record, "quantization": {"int8": "full, weights per channel", **calibration}},
        data=tuple(data),
        intended_use=(
            "Tells which of seven expressions a face shows, on the device, for home automation and research. "
            "It reads faces, not feelings."
        ),
        limits=(
            "It knows what its data (listed here) show and shares their gaps: labels that are rare in them "
            "(disgust, in FER2013) are often missed. Not measured, expected to be worse: profiles, masks, "
            "strong side light, faces under 40 pixels, people of groups that are rare in the data. Not for "
            "decisions about people: hiring, grading, policing, health. The EU AI Act forbids emotion "
            "recognition at work and in schools."
        ),
    )


def check_writable(out: Path) -> None:
    """EdgeError unless files could be written to *out*, which need not exist yet."""
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise EdgeError(f"{nearest}: not a folder; --out needs one")
    if not os.access(nearest, os.W_OK):
        raise EdgeError(f"{nearest}: not writable; --out needs a folder that is")


def write(out: Path, files: Mapping[str, bytes]) -> None:
    """Put *files* (name -> content) into *out*: written and synced aside first, then renamed into place."""
    aside = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".quantize-", dir=out))
        for name, content in files.items():
            with (aside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in files:
            os.replace(aside / name, out / name)
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; nothing was written") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _record(path: Path) -> dict[str, Any]:
    """What ``emotion-train fit`` noted of its run; empty where a network came without."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: {error}; it is the run's record and belongs beside the network") from error
    if not isinstance(record, dict):
        raise EdgeError(f"{path}: not a run's record")
    return record
