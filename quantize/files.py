"""Writes quantize's output, the model's files and their card, all or none."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.analysis.card import OURS, Card, Figure, FileEntry, Input, Output
from edge.analysis.golden import SUFFIX
from edge.types import LABELS, EdgeError
from quantize.golden import golden
from quantize.make import Made

PROTOCOL = "{file} as shipped, one crop a picture; PublicTest also chose the temperature"


def package(
    made: Made, name: str, version: str, model: Path, calibration: Mapping[str, Any]
) -> dict[str, bytes]:
    """All files to write, name -> content: the model's, its golden vectors, and last their card.

    The training record comes from next to *model*; *calibration* goes into the card.
    """
    record = record_beside(model)
    data = record.get("recipe", {}).pop("data", ())
    figures = [
        Figure(
            name=kind, value=round(value, 5), data=cost.data, split="PublicTest", n=cost.n,
            protocol=PROTOCOL.format(file=cost.file),
        )
        for cost in made.costs
        for kind, value in (("accuracy", cost.accuracy), ("calibration error", cost.error))
    ]  # fmt: skip
    agreement = {file: round(made.agreement(file), 5) for file in made.files}
    names = made.data.names
    which_labels = "seven expressions" if names == LABELS else f"{len(names)} labels ({', '.join(names)})"
    rare = "(disgust, in FER2013) " if names == LABELS else ""
    plain = Card(
        name=name,
        version=version,
        files={},
        labels=names,
        input=Input(height=made.size[0], width=made.size[1], channels=1, range=(0, 255)),
        crop=OURS,
        output=Output(kind="probabilities", temperature=round(made.temperature, 5)),
        figures=tuple(figures),
        training={
            **record,
            "quantization": {
                "int8": "full, weights per channel", **calibration, "agreement with float": agreement
            },
        },
        data=tuple(data),
        intended_use=(
            f"Tells which of {which_labels} a face shows, on the device, for home automation and research. "
            "It reads faces, not feelings."
        ),
        limits=(
            "It knows what its data (listed here) show and shares their gaps: labels that are rare in them "
            f"{rare}are often missed. Not measured, expected to be worse: profiles, masks, "
            "strong side light, faces under 40 pixels, people of groups that are rare in the data. Not for "
            "decisions about people: hiring, grading, policing, health. The EU AI Act forbids emotion "
            "recognition at work and in schools."
        ),
    )  # fmt: skip
    vectors = {f"{name}{SUFFIX}": golden(made.files, made.compiled, plain)}
    files = made.files | made.compiled | vectors
    entries = {
        file: FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        for file, content in files.items()
    }
    card = plain.model_copy(update={"files": entries})
    return files | {f"{name}.json": card.model_dump_json(indent=1).encode()}


def check_writable(out: Path, option: str = "--out") -> None:
    """EdgeError unless *out*, given by *option*, is writable; it need not exist yet."""
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise EdgeError(f"{nearest}: not a folder; expected one for {option}")
    if not os.access(nearest, os.W_OK):
        raise EdgeError(f"{nearest}: not writable; expected a writable folder for {option}")


def write(out: Path, files: Mapping[str, bytes]) -> None:
    """Put *files* (name -> content) into *out*, all or none.

    They are written and synced to a temporary folder first, then renamed in order, the card last: until then
    the old card rejects the new files. If a rename fails, the previous files are restored.
    """
    aside, was_there = None, out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".quantize-", dir=out))
        for name, content in files.items():
            with (aside / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _into_place(aside, out, list(files))
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; nothing was written") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
        if not was_there:
            with contextlib.suppress(OSError):  # removes it if empty
                out.rmdir()


def _into_place(aside: Path, out: Path, names: list[str]) -> None:
    before = aside / "before"
    before.mkdir()
    placed: list[str] = []
    try:
        for name in names:
            if (out / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} is a folder")
            if (out / name).exists():
                os.replace(out / name, before / name)
            os.replace(aside / name, out / name)
            placed.append(name)
    except OSError:
        for name in names:
            if (before / name).exists():
                os.replace(before / name, out / name)
            elif name in placed:
                (out / name).unlink()
        raise
    folder = os.open(out, os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the names are on disk, too
    finally:
        os.close(folder)


def record_beside(model: Path) -> dict[str, Any]:
    """``emotion-train``'s record of *model*'s run; empty without one."""
    path = model.with_name("recipe.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: {error}; expected the run's record next to the network") from error
    if not isinstance(record, dict) or not isinstance(record.get("recipe", {}), dict):
        raise EdgeError(f"{path}: not a run's record")
    return record
