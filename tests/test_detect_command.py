"""`emotion-edge detect` as a user calls it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.__main__ import main
from edge.sources.portraits import Portraits


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    image, _ = Portraits(faces=2, paced=False).render(0)
    path = tmp_path / "photos" / "hall" / "photo.png"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), image)
    return path


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, object]]:
    assert main(["detect", "--json", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_picture_is_a_line_with_the_raw_detector_boxes(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(photo.with_name("wall.png")), np.full((480, 600, 3), 90, np.uint8))
    hall, wall = lines(capsys, photo.parents[1], "--detector", "haar")
    assert (hall["file"], hall["size"]) == (str(photo), [640, 480])
    assert isinstance(hall["ms"], float)
    assert isinstance(hall["faces"], list)
    assert len(hall["faces"]) == 2
    for face in hall["faces"]:
        assert set(face) == {"box", "score", "eyes"}
        assert face["eyes"] is None  # Haar knows none
        assert face["score"] >= 0.2
        # Haar's own box, not the 1.019 times larger one that the classifier sees: whole pixels of 320.
        assert all(side % 2 == 0 for side in face["box"])
    assert (wall["size"], wall["faces"]) == ([600, 480], [])


def test_yunet_gives_eyes_and_takes_options(
    photo: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared_data / "models/detectors/face_detection_yunet_2023mar.onnx"
    yunet = (photo, "--detector", "yunet", "--detector-file", file)
    (report,) = lines(capsys, *yunet)
    assert isinstance(report["faces"], list)
    for face in report["faces"]:
        x, y, width, height = face["box"]
        (left, eye_y), (right, _) = face["eyes"]
        assert x < left < right < x + width
        assert y < eye_y < y + height / 2
    (few,), (none,), (many,) = (
        lines(capsys, *yunet, *more)
        for more in (("--min-face", 0.9), ("--min-score", 0.999), ("--min-score", 0.05, "--long-side", 640))
    )
    assert (len(report["faces"]), few["faces"], none["faces"]) == (2, [], [])
    assert isinstance(many["faces"], list)
    assert len(many["faces"]) >= 2
    assert many["faces"] == sorted(many["faces"], key=lambda face: -face["score"])


def test_faces_are_drawn_into_copies(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drawn"
    assert main(["detect", "--detector", "haar", "--annotate", str(out), str(tmp_path / "photos")]) == 0
    assert " at " in capsys.readouterr().out
    drawn, was = cv2.imread(str(out / "hall" / "photo.png")), cv2.imread(str(photo))
    assert drawn is not None
    assert was is not None
    changed = np.any(drawn != was, axis=2)
    assert 0 < changed.sum() < changed.size / 10


def test_annotate_never_overwrites_originals(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = photo.read_bytes()
    assert main(["detect", "--detector", "haar", "--annotate", str(photo.parent), str(photo)]) == 1
    assert "would be overwritten; name another folder" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_unreadable_image_gets_a_line_and_the_others_are_searched(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = photo.with_name("broken.png")
    broken.write_text("not an image")
    first, second = lines(capsys, photo.parent, "--detector", "haar")
    assert first == {"file": str(broken), "error": f"{broken}: not a readable image"}
    assert "faces" in second
    assert main(["detect", "--detector", "haar", str(broken)]) == 1
    assert capsys.readouterr().err == "not one image could be read\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder\n"),
        (["."], ".: no images here; expected .avif, "),
    ],
)
def test_nothing_to_search_gets_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["detect", *arguments]) == 1
    assert capsys.readouterr().err.startswith(message)
