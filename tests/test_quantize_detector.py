"""quantize of a face detector: from a run's network and photos to the device's file, its card and vectors."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.card import read_detector
from edge.detectors import FACES, open_detector
from edge.runtimes import open_runtime
from edge.sources.portraits import FILE, Portraits
from edge.types import EdgeError
from quantize.__main__ import main
from quantize.detector import golden_pictures, load
from quantize.inside import edgetpu, tflite

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SHIPPED = Path(__file__).resolve().parents[1] / "training" / "detect" / "shipped"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 made-up photos, a portrait each on noise."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    with np.load(FILE) as archive:
        faces = archive["faces"].astype(np.uint8)
    rows = []
    for i in range(80):
        image = random.integers(60, 120, (240, 320), np.uint8)
        side = int(random.integers(40, 140))
        x, y = int(random.integers(0, 320 - side)), int(random.integers(0, 240 - side))
        image[y : y + side, x : x + side] = cv2.resize(faces[i % 7], (side, side))
        cv2.imwrite(str(folder / "images" / f"made-{i:04d}.png"), image)
        # YuNet's boxes are narrower than FER2013's frame.
        box = [x + 0.12 * side, y + 0.05 * side, 0.76 * side, 0.95 * side]
        rows.append({"file": f"made-{i:04d}.png", "faces": [{"box": box}], "ignore": []})
    (folder / "labels.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detector")
    argv = [str(SHIPPED / "model.keras"), "--data", str(photos), "--measure", str(photos), "--max-drop", "3"]
    assert main([*argv, "--name", "faces", "--min-score", "0.55", "--out", str(out)]) == 0
    return out


def test_the_card_says_what_it_is_how_it_is_decoded_and_where_it_is_from(made: Path) -> None:
    card = read_detector(made / "faces.tflite").card
    assert card.kind == "detector"
    assert card.decode.form == "center"
    assert card.decode.min_score == 0.55
    assert {figure.name for figure in card.figures} == {"average precision", "recall"}
    assert len(card.data) == 6
    assert sorted(file.name for file in made.iterdir()) == ["faces.golden.npz", "faces.json", "faces.tflite"]


def test_the_file_finds_portraits_and_the_edge_tpu_takes_every_op(made: Path) -> None:
    detector = open_detector("ssd", file=made / "faces.tflite")
    image, truth = Portraits(faces=2, fps=10, paced=False).render(3)
    found = detector.detect(image)
    for portrait in truth:
        assert max(face.box.iou(portrait.box) for face in found) >= 0.6
    graph = tflite.read((made / "faces.tflite").read_bytes())
    assert edgetpu.check(graph) == []
    assert (made / "faces.tflite").stat().st_size <= 600_000


@pytest.mark.parametrize("folder", ["made", "shipped"])
def test_the_golden_vectors_are_what_the_file_gives(folder: str, made: Path) -> None:
    file = made / "faces.tflite" if folder == "made" else FACES
    runtime = open_runtime("cpu", file.read_bytes())
    with np.load(file.with_suffix(".golden.npz")) as archive:
        pictures, scores = archive["pictures"], archive["scores"][0]
        tolerance = float(archive["tolerance"][0])
        assert archive["files"].tolist() == ["faces.tflite"]
    assert np.array_equal(pictures, golden_pictures())
    for picture, wanted in zip(pictures, scores, strict=True):
        tensor = (picture.astype(np.int16) - 128).astype(np.int8)[None, ..., None]
        given = np.concatenate([output.ravel() for output in runtime.run(tensor)]).astype(int)
        assert np.abs(given - wanted).max() <= tolerance


def test_another_network_and_too_few_photos_are_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    shutil.copytree(photos, few)
    rows = json.loads((few / "labels.json").read_text())
    (few / "labels.json").write_text(json.dumps(rows[:10]))
    argv = [str(SHIPPED / "model.keras"), "--out", str(tmp_path / "out"), "--data"]
    assert main([*argv, str(few)]) == 1
    assert "photos with faces to calibrate by; expected 50 or more" in capsys.readouterr().err
    assert main([*argv, str(tmp_path)]) == 1
    assert "labels.json: No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_loss_beyond_what_is_allowed_writes_nothing(photos: Path, tmp_path: Path) -> None:
    argv = [str(SHIPPED / "model.keras"), "--data", str(photos), "--measure", str(photos)]
    assert main([*argv, "--max-drop", "-100", "--out", str(tmp_path / "out")]) == 3
    assert not (tmp_path / "out").exists()


def test_a_missing_network_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="no such file"):
        load(tmp_path / "model.keras")
