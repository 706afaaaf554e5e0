"""`emotion-train detector evaluate`: detectors compared, with a report."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.analysis.card import read_detector
from edge.analysis.detectors import FACES
from edge.types import Box, EdgeError, Face
from quantize.figures.detection import Found, scored
from quantize.figures.photos import Photo, read_photos
from tests.synthetic_photos import write_photos
from training.__main__ import main
from training.detect.contenders import ALL, FILES, open_contender
from training.detect.evaluate import grid

NONE = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine photos with a face and nine without, of which one or two are held out of training."""
    folder = tmp_path_factory.mktemp("photos")
    return write_photos(folder, 18, (320, 240), (60, 140), empty_every=2)


def test_detector_evaluate_writes_a_table_and_a_report(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("keras")
    out = tmp_path / "report"
    argv = ["detector", "evaluate", "haar", "ssd", "--data", str(photos), "--empty", str(photos)]
    assert main([*argv, "--scores", "0.1", "1", "--out", str(out)]) == 0
    reported = capsys.readouterr().out
    assert "| haar | 1 | 0.000 | 0 |" in reported
    assert "| ssd | 0.1 | 1.000 | " in reported
    facts = json.loads((out / "figures.json").read_text())
    assert [row["detector"] for row in facts["rows"]] == ["haar", "ssd"]
    for row in facts["rows"]:
        assert (row["pictures"], row["faces"]) == (9, 9)
        assert 0.5 <= row["ap"] <= 1
        assert 0 < row["best_ms"] <= row["ms"]
        assert f"| {row['detector']} | {photos.name} | 9, 9 | {row['ap']:.3f} |" in reported
    held_out = sum(photo.held_out for photo in read_photos([photos]) if not len(photo.boxes))
    assert facts["alarms"]["ssd"]["noise"]["photos"] == held_out > 0
    own = read_detector(FACES).card.decode.min_score
    assert [row["own_score"] for row in facts["rows"]] == [0.2, own]
    for name in ("haar", "ssd"):
        picture = cv2.imread(str(out / "grids" / f"{name}-{photos.name}.jpg"))
        assert picture is not None
        assert picture.shape == (480, 1440, 3)  # nine tiles in two rows of six
    text = (out / "report.md").read_text()
    assert reported.strip() in text
    for name in ("curves.png", "sizes.png"):
        assert f"({name})" in text
        assert (out / name).stat().st_size > 1000


def test_all_five_detectors_are_measured_by_one_command(
    photos: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = shared_data / "models" / "detectors"
    if not all((files / name).exists() for name in FILES.values()):
        pytest.skip("../shared/data/models/detectors lacks a detector's file")
    assert main(["detector", "evaluate", "--files", str(files), "--data", str(photos)]) == 0
    rows = [line.split(" | ")[0].strip("| ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == list(ALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dlib", "dlib: expected haar, yunet, blazeface, res10 or ssd, or one of them with =FILE"),
        ("res10", "res10: expected res10=FILE.pb, with its .pbtxt next to it, or --files DIR"),
        ("blazeface", "blazeface: expected blazeface=FILE.tflite, or --files DIR"),
        ("blazeface=nowhere.tflite", "nowhere.tflite: No such file or directory"),
        ("res10=nowhere/x.pb", "no .pbtxt next to it"),
    ],
)
def test_unknown_detector_gets_one_line(text: str, message: str) -> None:
    with pytest.raises(EdgeError) as caught:
        open_contender(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_grid_shows_hits_misses_and_false_positives(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((240, 240), 100, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((120, 240), 100, np.uint8))
    shown = [Photo(tmp_path / name, NONE, NONE, NONE) for name in ("b.png", "a.png")]
    hit, miss, false = Box(20, 20, 40, 40), Box(20, 150, 40, 40), Box(150, 20, 40, 40)
    found = [
        Found((240, 120), [Face(hit, 0.9)], [hit]),
        Found((240, 240), [Face(hit, 0.9), Face(false, 0.8), Face(miss, 0.1)], [hit, miss]),
    ]
    picture = grid(shown, found, 0.5)
    assert picture.shape == (240, 1440, 3)
    # The photo with errors comes first.
    assert picture[20, 40].tolist() == [0, 200, 0]
    assert picture[150, 40].tolist() == [0, 0, 255]
    assert picture[20, 170].tolist() == [0, 220, 255]
    assert picture[20, 240 + 40].tolist() == [0, 200, 0]
    assert not picture[:, 480:].any()
    assert scored(found).faces == 3


def test_readme_table_matches_the_report() -> None:
    from training.detect.ship import NAMES, REPORTS, ROOT, with_rows

    facts = json.loads((REPORTS / "detectors" / "figures.json").read_text())
    text = (ROOT / "README.md").read_text()
    assert with_rows(text, facts) == text
    facts["rows"][0]["ap"] = 0.5
    changed = [
        line for line in with_rows(text, facts).splitlines() if line not in text.splitlines()
    ]  # fmt: skip
    (line,) = changed
    assert line.startswith(f"| {NAMES[facts['rows'][0]['detector']]}, at ")
    assert "| .500; " in line
