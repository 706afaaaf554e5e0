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


def test_each_face_of_a_photo_is_reported(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--detector", "haar", "--json", str(photo)]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["file"] == str(photo)
    assert len(image["faces"]) == 2
    for face in image["faces"]:
        assert face["emotion"] in LABELS
        assert face["confidence"] == max(face["scores"].values())
        assert list(face["scores"]) == list(LABELS)


def test_photo_without_face_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((480, 640, 3), 90, np.uint8))
    assert main(["classify", "--detector", "haar", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'wall.png'}: no face\n"


def test_label_folders_give_accuracy_and_confusion(
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
def test_shipped_model_is_found_by_name(given: str, file: str) -> None:
    parser = argparse.ArgumentParser()
    add_engine(parser)
    assert settings_of(parser.parse_args(["--model", given])).model.file == MODEL_FILE.with_name(file)
    assert settings_of(parser.parse_args(["--model", f"./{given}"])).model.file == Path(given)


def test_unreadable_image_does_not_stop_the_others(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = photo.with_name("broken.png")
    broken.write_text("not an image")
    assert main(["classify", "--detector", "haar", str(photo.parent)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{broken}: not a readable image"
    assert second.startswith(f"{photo}: ")


@pytest.mark.parametrize(
    ("name", "message"), [("missing.png", "no such file or folder"), ("empty", "no images here")]
)
def test_nothing_to_classify_gets_one_line(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["classify", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{tmp_path / name}: {message}")
    assert error.count("\n") == 1


def label_tree(folder: Path, names: dict[str, str]) -> Path:
    """Folder name -> label: a tree with the mean face of each label in its folder."""
    with np.load(Path(__file__).parents[1] / "edge/models/portraits.npz") as arrays:
        for name, label in names.items():
            (folder / name).mkdir(parents=True)
            cv2.imwrite(str(folder / name / "mean.png"), arrays["faces"][LABELS.index(label)])
    return folder


def test_skipped_files_next_to_labelled_pictures_are_named(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = label_tree(tmp_path / "tree", {"happiness": "happy", "Sadness": "sad", "2_anger": "angry"})
    (tree / "contempt").mkdir()
    (tree / "read me.txt").write_text("by hand")
    (tree / ".DS_Store").write_text("hidden")
    (tree / "happiness" / "clip.mp4").write_bytes(b"no picture")
    (tree / "happiness" / "phone.heic").write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0")
    assert main(["classify", str(tree), str(photo)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].endswith(" of 3; 5 skipped, named above")
    assert lines[:5] == [
        f"{tree}/happiness/phone.heic: HEIC, which is not read here; save it as JPEG (`heif-convert` does)",
        f"{tree}/contempt: skipped, a folder not named for a label",
        f"{tree}/happiness/clip.mp4: skipped, not a picture by name",
        f"{tree}/read me.txt: skipped, not in a label's folder",
        f"{photo}: skipped, not in a label's folder",
    ]
    assert main(["classify", "--json", str(tree), str(photo)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n"], len(report["unreadable"]), len(report["left_out"])) == (3, 1, 4)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"0": "neutral", "1": "happy", "2": "sad"}, "neutral,happiness,sad"),
        ({"00": "surprise", "01": "angry", "03": "fear"}, "surprise,anger,contempt,fear"),
    ],
)
def test_numbered_folders_need_labels_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: dict[str, str], labels: str
) -> None:
    tree = label_tree(tmp_path / "tree", names)
    assert main(["classify", str(tree)]) == 1
    assert capsys.readouterr().err.startswith(
        f"{tree}/{min(names)}: a number names no label; expected --labels"
    )
    assert main(["classify", "--json", "--labels", labels, str(tree)]) == 0
    by_number = json.loads(capsys.readouterr().out)
    assert main(["classify", "--json", str(label_tree(tmp_path / "w", {v: v for v in names.values()}))]) == 0
    assert json.loads(capsys.readouterr().out)["confusion"] == by_number["confusion"]


def test_files_that_are_not_pictures_are_named(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo.with_name("notes.odt").write_text("x")
    assert main(["classify", "--detector", "haar", str(photo.parent)]) == 0
    reported = capsys.readouterr().err
    assert reported == f"1 files skipped, not pictures by name: {photo.parent}/notes.odt\n"
