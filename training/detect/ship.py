"""Makes the shipped files from a detector's run: `python -m training.detect.ship RUN --data DIR`.

It writes models to edge/models, reports to training/reports, the run to training/detect/shipped and the table
to README.md. Choose the default score first, with `emotion-train detector evaluate … --scores`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "training" / "reports"
SETS = ("facemask853", "wider353")
# Names in README.md's table; its figures come from figures.json.
NAMES = {
    "ssd": "`ssd`, ours",
    "yunet": "YuNet 2023mar",
    "res10": "OpenCV's res10 SSD",
    "blazeface": "BlazeFace (MediaPipe, short range)",
    "haar": "Haar",
}


def main() -> None:
    """Run both commands; stop if one fails."""
    parser = argparse.ArgumentParser("python -m training.detect.ship")
    parser.add_argument("run", type=Path, metavar="RUN", help="its folder")
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="with detection/, faces/, models/"
    )
    parser.add_argument("--min-score", default="0.5", metavar="S", help="the default score (default 0.5)")
    parser.add_argument("--model-version", default="1", metavar="V")
    options = parser.parse_args()
    sets = [str(options.data / "faces" / name) for name in SETS]
    detection = str(options.data / "detection")
    _python(
        "-m", "quantize", str(options.run / "model.keras"), "--data", detection, "--measure", *sets,
        "--min-score", options.min_score, "--model-version", options.model_version, "--max-drop", "1",
        "--out", str(ROOT / "edge" / "models"), "--report", str(REPORTS / "quantize-faces"),
    )  # fmt: skip
    shipped = ROOT / "training" / "detect" / "shipped"
    for name in ("model.keras", "recipe.json", "history.csv"):
        if options.run.resolve() != shipped.resolve():
            shutil.copyfile(options.run / name, shipped / name)
    out = REPORTS / "detectors"
    _python(
        "-m", "training", "detector", "evaluate", "--files", str(options.data / "models" / "detectors"),
        "--data", *sets, "--empty", detection, "--out", str(out),
    )  # fmt: skip
    shutil.rmtree(out / "grids")  # we may not redistribute the photos
    readme = ROOT / "README.md"
    facts = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    readme.write_text(with_rows(readme.read_text(encoding="utf-8"), facts), encoding="utf-8")


def with_rows(text: str, facts: dict[str, Any]) -> str:
    """README.md's *text* with the rows of its detector table updated from a report's *facts*."""
    lines = text.splitlines(keepends=True)
    for detector, name in NAMES.items():
        (place,) = (number for number, line in enumerate(lines) if line.startswith(f"| {name}"))
        lines[place] = _row(detector, name, facts)
    return "".join(lines)


def _row(detector: str, name: str, facts: dict[str, Any]) -> str:
    rows = {row["data"]: row for row in facts["rows"] if row["detector"] == detector}
    found = " | ".join(f"{_short(rows[data]['ap'])}; {_short(rows[data]['recall'])}" for data in SETS)
    alarms = facts["alarms"][detector]
    false = " / ".join(str(alarms[source]["wrong"]) for source in ("things", "animals"))
    one, ms = rows[SETS[0]], rows[SETS[0]]["best_ms"]
    took = f"{ms:.0f}" if ms >= 10 else f"{ms:.2g}"
    return f"| {name}, at {one['own_score']:g} | {found} | {false} | {took} |\n"


def _short(share: float) -> str:
    return f"{share:.3f}".removeprefix("0")


def _python(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
