"""The built-in camera: its ground truth, and detection of its faces."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources.portraits import FILE, Portraits
from edge.types import LABELS, Box, EdgeError, Image


@pytest.fixture
def means(tmp_path: Path) -> Path:
    """Random faces, for tests that do not depend on their looks."""
    path = tmp_path / "portraits.npz"
    np.savez(path, faces=np.random.default_rng(1).integers(0, 256, (7, 48, 48)).astype(np.uint8))
    return path


def camera(means: Path, **settings: int) -> Portraits:
    return Portraits(**{"fps": 10, "file": means, "paced": False, **settings})  # type: ignore[arg-type]


def test_picture_depends_only_on_number_and_settings(means: Path) -> None:
    first, again = camera(means, faces=3), camera(means, faces=3)
    for _ in range(7):
        read = first.read()
    image, truth = again.render(6)
    np.testing.assert_array_equal(read, image)
    assert first.truth == truth
    assert image.shape == (480, 640, 3)
    assert not np.array_equal(camera(means, faces=3, seed=1).render(6)[0], image)


def test_face_shows_each_label_fully_for_5_of_6_seconds(means: Path) -> None:
    shown = [camera(means, faces=1).render(n)[1][0] for n in range(420)]
    assert {face.label for face in shown} == set(LABELS)
    assert sum(face.weight == 1.0 for face in shown) == 7 * 51  # 5.0 s and both ends
    assert min(face.weight for face in shown) == pytest.approx(0.5, abs=0.02)
    changes = [n for n in range(1, 420) if shown[n].label != shown[n - 1].label]
    assert changes == [55, 115, 175, 235, 295, 355, 415]


def test_several_faces_change_at_least_every_2_s(means: Path) -> None:
    portraits = camera(means, faces=3)
    labels = [[face.label for face in portraits.render(n)[1]] for n in range(200)]
    changes = [n for n in range(1, 200) if labels[n] != labels[n - 1]]
    assert max(np.diff(changes)) <= 20


@pytest.mark.parametrize(("width", "height"), [(160, 120), (640, 480), (1280, 720)])
@pytest.mark.parametrize("faces", [1, 2, 6])
def test_faces_stay_inside_apart_and_move_slowly(means: Path, width: int, height: int, faces: int) -> None:
    portraits = camera(means, width=width, height=height, faces=faces)
    before: list[Box] = []
    for n in range(0, 400, 3):
        boxes = [face.box for face in portraits.render(n)[1]]
        assert len(boxes) == faces
        for box in boxes:
            assert 0 <= box.x <= box.x + box.width <= width
            assert 0 <= box.y <= box.y + box.height <= height
        assert all(left.iou(right) == 0 for left, right in pairwise(boxes))
        assert all(box.iou(last) > 0.6 for box, last in zip(boxes, before, strict=False))  # over 0.3 s
        before = boxes


def test_background_moves(means: Path) -> None:
    portraits = camera(means, faces=0)
    pictures = [portraits.read() for _ in range(50)]
    moved = [not np.array_equal(a, b) for a, b in pairwise(pictures)]
    assert sum(moved) > 40  # the head turns now and then
    assert portraits.truth == ()


@pytest.mark.quiet_clock
def test_picture_is_drawn_in_a_few_ms(means: Path) -> None:
    portraits = camera(means, faces=3)
    times = []
    for _ in range(30):
        began = time.thread_time()
        portraits.read()
        times.append(time.thread_time() - began)
    assert min(times) < 0.004  # 0.8 ms measured; the machine may be slow


def test_missing_or_invalid_file_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"p\.npz: not found; emotion-train portraits makes it"):
        Portraits(file=tmp_path / "p.npz")
    (tmp_path / "p.npz").write_bytes(b"no zip")
    with pytest.raises(EdgeError, match=r"p\.npz: no portraits in it"):
        Portraits(file=tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", faces=np.zeros((6, 48, 48), np.uint8))
    with pytest.raises(EdgeError, match=r"faces are \(6, 48, 48\) uint8; expected \(7, 48, 48\) uint8"):
        Portraits(file=tmp_path / "p.npz")


def test_too_many_faces_are_rejected(means: Path) -> None:
    with pytest.raises(EdgeError, match="portraits: 7 faces; expected 0 to 6"):
        camera(means, faces=7)


def scaled(image: Image) -> tuple[Image, float]:
    scale = 320 / max(image.shape[:2])
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)), scale


def haar(image: Image, cascade: cv2.CascadeClassifier) -> list[Box]:
    small, scale = scaled(image)
    found = cascade.detectMultiScale(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), 1.1, 5, minSize=(24, 24))
    return [Box(*(value / scale for value in box)) for box in found]


def yunet(image: Image, network: cv2.FaceDetectorYN) -> list[Box]:
    small, scale = scaled(image)
    network.setInputSize((small.shape[1], small.shape[0]))
    found = network.detect(small)[1]
    return [] if found is None else [Box(*(value / scale for value in row[:4])) for row in found]


@pytest.fixture(params=["haar", "yunet"])
def detect(request: pytest.FixtureRequest):
    """OpenCV's detector alone, without our code."""
    if request.param == "haar":
        cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
        return lambda image: haar(image, cascade)
    data: Path = request.getfixturevalue("shared_data")
    file = data / "models/detectors/face_detection_yunet_2023mar.onnx"
    network = cv2.FaceDetectorYN.create(str(file), "", (320, 320), 0.7)
    return lambda image: yunet(image, network)


@pytest.mark.parametrize(("width", "height", "faces"), [(320, 240, 4), (640, 480, 3), (1280, 720, 2)])
def test_detectors_find_every_face_and_nothing_else(detect, width: int, height: int, faces: int) -> None:
    if not FILE.exists():
        pytest.skip("edge/models/portraits.npz is not there yet")
    portraits = Portraits(width=width, height=height, faces=faces, fps=10)
    shown = found = others = 0
    for n in range(0, 350, 9):
        image, truth = portraits.render(n)
        boxes = detect(image)
        seen = sum(max((face.box.iou(box) for box in boxes), default=0.0) > 0.5 for face in truth)
        shown += len(truth)
        found += seen
        others += len(boxes) - seen
    assert found >= 0.98 * shown
    assert others == 0


def test_detectors_find_nothing_in_the_background(detect, means: Path) -> None:
    portraits = camera(means, faces=0, width=320, height=240)
    assert sum(len(detect(portraits.render(n)[0])) for n in range(0, 1000, 10)) == 0
