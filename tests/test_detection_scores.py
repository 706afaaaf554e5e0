"""Detector scoring, by small hand-computed examples."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.types import Box, Face
from quantize.figures.detection import Found, scored

SCORER = Path(__file__).resolve().parents[2] / "shared" / "tools" / "detection" / "score.py"


def test_hits_misses_and_false_positives_by_score() -> None:
    one, other = Box(10, 10, 40, 40), Box(100, 100, 40, 40)
    finds = [Face(one, 0.9), Face(Box(200, 10, 40, 40), 0.8), Face(other, 0.7), Face(one, 0.6)]
    scores = scored([Found((320, 240), finds, [one, other, Box(250, 150, 40, 40)])])
    assert scores.score.tolist() == [0.9, 0.8, 0.7]  # the second find on one face is not counted
    assert scores.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    assert scores.ap == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    assert scores.at(0.1) == pytest.approx((1 / 3, 0.9))
    assert scores.at(1.0) == pytest.approx((2 / 3, 0.7))
    assert scores.by_size(0.7) == {"32-64": pytest.approx(2 / 3)}
    assert scores.recall_at_score(0.8) == pytest.approx(1 / 3)


def test_tiny_faces_are_neither_hit_nor_missed() -> None:
    tiny = Box(10, 10, 20, 20)  # 10 px in a picture of 320
    scores = scored([Found((640, 480), [Face(tiny, 0.9), Face(Box(300, 300, 12, 12), 0.8)], [tiny])])
    assert (scores.faces, len(scores.score)) == (0, 0)


@pytest.mark.skipif(not SCORER.exists(), reason="needs the scorer in ../shared/tools")
def test_scores_agree_with_an_independent_scorer(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    pictures, lines, truth = [], [], []
    for i in range(60):
        boxes = [Box(*random.uniform((0, 0, 8, 8), (400, 400, 90, 90)).tolist()) for _ in range(3)]
        near = [Box(*(np.array(box) * random.uniform(0.9, 1.1, 4)).tolist()) for box in boxes]
        near = [box for box in near if random.random() < 0.7]
        near.append(Box(*random.uniform(0, 300, 2).tolist(), 40, 50))
        faces = [Face(box, random.random()) for box in near]
        pictures.append(Found((480, 360), faces, boxes))
        found = [{"box": list(face.box), "score": face.score} for face in faces]
        lines.append(json.dumps({"file": f"{i}.jpg", "size": [480, 360], "faces": found}))
        truth.append({"file": f"{i}.jpg", "size": [480, 360], "boxes": [list(box) for box in boxes]})
    (tmp_path / "found.jsonl").write_text("\n".join(lines))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    message = subprocess.run(
        [sys.executable, str(SCORER), str(tmp_path / "found.jsonl"), str(tmp_path / "truth.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    theirs, ours = json.loads(message.stdout), scored(pictures)
    assert ours.ap == pytest.approx(theirs["AP"], abs=6e-4)
    assert ours.at(0.1) == pytest.approx(tuple(theirs["recall_at_0.1"]), abs=6e-4)
    assert ours.by_size(ours.at(0.1)[1]) == pytest.approx(theirs["by_size_at_0.1"], abs=6e-4)
