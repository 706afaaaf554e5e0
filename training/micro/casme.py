"""Reads CASME II (a sheet, and a folder of pictures per clip), and synthesizes data in its layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge.types import EdgeError
from training.micro.faces import built_in
from training.micro.render import Renderer
from training.micro.script import Movement, write_script

COLUMNS = (
    "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion",
)  # fmt: skip
FIVE = ("happiness", "surprise", "disgust", "repression", "others")
THREE = {"negative": ("disgust", "repression", "fear", "sadness"), "positive": ("happiness",)} | {
    "surprise": ("surprise",)
}
FPS = 200  # CASME II's

# The region that moves in a synthetic clip of each emotion: an arbitrary convention, not a claim.
_MADE = {
    "happiness": ("mouth_left", (-0.7, -0.7)),
    "surprise": ("brow_right", (0, -1)),
    "disgust": ("nose", (0, -1)),
    "repression": ("chin", (0, -1)),
    "others": ("brow_left", (0, 1)),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A coded clip; *onset* and *apex* are picture files."""

    subject: str
    name: str
    onset: Path
    apex: Path
    emotion: str


def read_casme(root: Path) -> tuple[list[Sample], list[str]]:
    """(the clips below *root*, one line per missing or odd entry); EdgeError without a sheet."""
    sheets = sorted(root.glob("CASME2-coding-*.xlsx"))
    if not sheets:
        raise EdgeError(f"{root}: no CASME2-coding-*.xlsx in it; expected the layout of CASME II")
    samples, odd = [], []
    for number, row in _rows(sheets[-1]):
        place = f"{sheets[-1].name}:{number}"
        try:
            sample, why = _sample(root, row)
        except ValueError as error:
            odd.append(f"{place}: {error}; skipped")
            continue
        samples.append(sample)
        if why:
            odd.append(f"{place}: {why}")
    if not samples:
        raise EdgeError(f"{root}: no clip with its pictures; expected subNN/EPxx_xx/imgN.jpg below it")
    return samples, odd


def _rows(sheet: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        import openpyxl
    except ImportError as error:
        raise EdgeError("openpyxl: not installed; run `pip install emotion-edge[train]`") from error
    try:
        book = openpyxl.load_workbook(sheet, read_only=True, data_only=True)
        table = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except Exception as error:
        raise EdgeError(f"{sheet}: {error}; expected an Excel sheet") from error
    names = [str(cell or "").strip().lower() for cell in table[0]] if table else []
    missing = [name for name in COLUMNS if name.lower() not in names]
    if missing:
        raise EdgeError(f"{sheet}: no column {missing[0]!r}; expected {', '.join(COLUMNS)}")
    places = {name: names.index(name.lower()) for name in COLUMNS}
    rows = [{name: row[at] for name, at in places.items()} for row in table[1:]]
    return [(number, row) for number, row in enumerate(rows, 2) if row["Subject"] not in (None, "")]


def _sample(root: Path, row: dict[str, Any]) -> tuple[Sample, str]:
    subject = f"sub{int(row['Subject']):02d}"
    name = str(row["Filename"]).strip()
    onset, offset = _frame(row, "OnsetFrame"), _frame(row, "OffsetFrame")
    why = ""
    if str(row["ApexFrame"]).strip() == "/":
        apex, why = (onset + offset) // 2, "ApexFrame is '/'; using the midpoint"
    else:
        apex = _frame(row, "ApexFrame")
    if not onset < apex <= offset:
        raise ValueError(f"onset {onset}, apex {apex}, offset {offset}; expected ascending numbers")
    folder = next((it for it in sorted(root.glob(f"**/{subject}/{name}")) if it.is_dir()), None)
    if folder is None:
        raise ValueError(f"{subject}/{name}: no such folder")
    emotion = str(row["Estimated Emotion"]).strip().lower()
    return Sample(subject, name, _picture(folder, onset), _picture(folder, apex), emotion), why


def _frame(row: dict[str, Any], column: str) -> int:
    text = str(row[column]).strip()
    if not re.fullmatch(r"\d+(\.0)?", text):
        raise ValueError(f"{column} is {text!r}; expected a number")
    return int(float(text))


def _picture(folder: Path, number: int) -> Path:
    for name in (f"reg_img{number}.jpg", f"img{number}.jpg"):
        if (folder / name).exists():
            return folder / name
    raise ValueError(f"{folder.parent.name}/{folder.name}: no img{number}.jpg or reg_img{number}.jpg")


def labelled(samples: Sequence[Sample], classes: int) -> tuple[list[Sample], np.ndarray, tuple[str, ...]]:
    """(the *samples* in one of 3 or 5 *classes*, their class indices, the class names)."""
    if classes == 5:
        of_emotion, names = {name: name for name in FIVE}, FIVE
    else:
        of_emotion = {emotion: name for name, emotions in THREE.items() for emotion in emotions}
        names = tuple(THREE)
    kept = [sample for sample in samples if sample.emotion in of_emotion]
    numbers = np.array([names.index(of_emotion[sample.emotion]) for sample in kept], int)
    return kept, numbers, names


def make_casme(out: Path, seed: int, subjects: int, clips: int) -> None:
    """Write a synthetic data set in CASME II's layout to *out*: *clips* per subject; one apex is '/'."""
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append([*COLUMNS])
    try:
        for subject in range(1, subjects + 1):
            for clip in range(clips):
                emotion = FIVE[clip % len(FIVE)]
                name = f"EP{clip + 1:02d}_{subject:02d}"
                folder = out / "pictures" / f"sub{subject:02d}" / name
                onset, apex, offset = _make_clip(
                    folder, seed + subject, seed + 1000 * subject + clip, emotion
                )
                shown = "/" if subject == clip + 1 == 1 else apex
                book.active.append([subject, name, onset, shown, offset, "", emotion])
        book.save(out / "CASME2-coding-made.xlsx")
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror or error}; expected a writable folder for --out") from error


def _make_clip(folder: Path, person: int, seed: int, emotion: str) -> tuple[int, int, int]:
    rng = np.random.default_rng((seed, 6))
    region, way = _MADE[emotion]
    frames = int(rng.integers(16, 24))
    apex = frames // 2
    first = int(rng.integers(20, 90))
    movement = Movement(region, first / FPS, (first + apex) / FPS, (first + frames) / FPS, 0.025, way)
    script = write_script(seed, seconds=2.0, moving=False)
    script = replace(
        script, movements=(movement,), eye_distance=70.0, speech=(), blinks=(), turns=(), nods=()
    )
    renderer = Renderer(built_in(person), script)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + frames + 1):
        cv2.imwrite(str(folder / f"img{number}.jpg"), renderer.frame(number / FPS))
    return first, first + apex, first + frames
