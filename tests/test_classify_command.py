"""`emotion-edge classify` as a user calls it."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.__main__ import main
from edge.commands.options import add_engine, settings_of
from edge.settings.tables import MODEL_FILE
from edge.sources.portraits import Portraits
from edge.types import LABELS


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    image, _ = Portraits(faces=2, paced=False).render(0)
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), image)
    return path


def mean_faces(folder: Path) -> Path:
    """The seven mean faces as a data set of label-named folders."""
    with np.load(Path(__file__).parents[1] / "edge/models/portraits.npz") as arrays:
        for label, face in zip(LABELS, arrays["faces"], strict=True):
            (folder / label.upper()).mkdir(parents=True)
            cv2.imwrite(str(folder / label.upper() / "mean.png"), face)
    return folder


def test_each_face_of_a_photo_is_told_with_its_place(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--detector", "haar", "--json", str(photo)]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["file"] == str(photo)
    assert len(image["faces"]) == 2
    for face in image["faces"]:
        assert face["emotion"] in LABELS
        assert face["confidence"] == max(face["scores"].values())
        assert list(face["scores"]) == list(LABELS)


def test_a_photo_without_a_face_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((480, 640, 3), 90, np.uint8))
    assert main(["classify", "--detector", "haar", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'wall.png'}: no face\n"


def test_folders_named_for_labels_give_accuracy_and_confusion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", "--json", str(mean_faces(tmp_path))]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n"], report["labels"]) == (7, list(LABELS))
    assert [sum(row) for row in report["confusion"]] == [1] * 7
    assert report["accuracy"] == round(sum(report["confusion"][i][i] for i in range(7)) / 7, 4)


@pytest.mark.parametrize(
    ("given", "file"), [("emotion-xs", "emotion-xs.tflite"), ("emotion", "emotion.tflite")]
)
def test_a_model_that_comes_with_us_goes_by_its_name(given: str, file: str) -> None:
    parser = argparse.ArgumentParser()
    add_engine(parser)
    assert settings_of(parser.parse_args(["--model", given])).model.file == MODEL_FILE.with_name(file)
    assert settings_of(parser.parse_args(["--model", f"./{given}"])).model.file == Path(given)


def test_an_image_that_is_none_is_named_and_the_rest_goes_on(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = photo.with_name("broken.png")
    broken.write_text("not an image")
    assert main(["classify", "--detector", "haar", str(photo.parent)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{broken}: not a readable image"
    assert second.startswith(f"{photo}: ")


@pytest.mark.parametrize(
    ("name", "said"), [("missing.png", "no such file or folder"), ("empty", "no images here")]
)
def test_nothing_to_classify_is_one_line(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["classify", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path / name}: {said}")
    assert error.count("\n") == 1
