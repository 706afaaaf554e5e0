"""The report of `detector evaluate`: ``report.md``, ``figures.json`` and pictures in a folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2

from quantize.figures import plots
from quantize.figures.finding import CAMERA
from training.detect.evaluate import Evaluation, by_data, facts, table
from training.fit.records import write, writing
from training.measure.evaluate import save_json

GRIDS = "grids"  # a separate folder: the photos may not be redistributable
_HOW = (
    "Pictures shrunk to 320 px, faces of 16 px and more, IoU >= .4. ms: the call alone on a picture of "
    f"{CAMERA[0]}x{CAMERA[1]} with the daemon's settings, one thread, one after another. Photos without a "
    "face are held out of training."
)


def write_report(found: Evaluation, out: Path) -> None:
    """Write the report of *found* to the folder *out*."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    save_json(facts(found), out / "figures.json")  # first: it needs no matplotlib
    with writing(out):
        (out / GRIDS).mkdir(exist_ok=True)
    for name, picture in found.grids.items():
        write(out / GRIDS / f"{name}.jpg", partial(_save, picture))
    sets = by_data(found.rows)
    for name, draw in (("curves.png", plots.precision_recall), ("sizes.png", plots.recall_by_size)):
        write(out / name, partial(_bytes, draw(sets)))
    detectors = list(dict.fromkeys(row.detector for row in found.rows))
    lines = [f"# {', '.join(detectors)} on {', '.join(sets)}", "", table(found), "", _HOW, ""]
    lines += ["![Precision over recall](curves.png)", "", "![Recall by size of face](sizes.png)", ""]
    lines += [
        f"`{GRIDS}` has the photos with the most errors: hits green, misses red, false positives yellow.",
        "",
    ]
    write(out / "report.md", lambda path: path.write_text("\n".join(lines), encoding="utf-8"))


def _save(picture: Any, path: Path) -> None:
    _bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 70])[1].tobytes(), path)


def _bytes(content: bytes, path: Path) -> None:
    path.write_bytes(content)
