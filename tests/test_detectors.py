"""Conformance of every detector, and how one is selected."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.analysis.detectors import FaceDetector, open_detector
from edge.analysis.detectors.shared import Framing, framed, shrink
from edge.types import Box, ConfigError, EdgeError, Face, Image

YUNET = "models/detectors/face_detection_yunet_2023mar.onnx"


@pytest.fixture(params=["haar", "yunet"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def detector(kind: str, request: pytest.FixtureRequest) -> FaceDetector:
    if kind == "haar":
        return open_detector("haar")
    return open_detector("yunet", file=request.getfixturevalue("yunet_file"))


@pytest.fixture
def yunet_file(shared_data: Path) -> Path:
    path = shared_data / YUNET
    if not path.exists():
        pytest.skip("YuNet's file is not in ../shared/data/models/detectors")
    return path


@pytest.fixture
def group(shared_data: Path) -> Image:
    """1000x667, five faces; Haar sees four of them (one wears sunglasses)."""
    return np.asarray(cv2.imread(str(shared_data / "videos/multi_face.jpg")), np.uint8)


@pytest.fixture
def portrait(shared_data: Path) -> Image:
    return np.asarray(cv2.imread(str(shared_data / "videos/single_face.jpg")), np.uint8)


def frames(path: Path, every: int) -> Iterator[Image]:
    video = cv2.VideoCapture(str(path))
    number = 0
    while video.grab():
        if number % every == 0:
            yield np.asarray(video.retrieve()[1], np.uint8)
        number += 1
    video.release()
    assert number > 0


def nearest(face: Face, faces: list[Face]) -> float:
    return max((face.box.iou(other.box) for other in faces), default=0.0)


# Conformance


@pytest.mark.parametrize("value", [0, 127, 255])
def test_uniform_picture_has_no_face(detector: FaceDetector, value: int) -> None:
    assert detector.detect(np.full((480, 640, 3), value, np.uint8)) == []


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (3, 640), (640, 3), (24, 320), (33, 57)])
def test_tiny_or_thin_picture_has_no_face(detector: FaceDetector, size: tuple[int, int]) -> None:
    for fill in (0, 200):
        assert detector.detect(np.full((*size, 3), fill, np.uint8)) == []
        assert detector.detect(np.full(size, fill, np.uint8)) == []


def test_single_face_is_found_in_place(detector: FaceDetector, portrait: Image) -> None:
    (face,) = detector.detect(portrait)
    # Annotated by hand: from above the brows to the chin, 572x562 picture.
    assert face.box.iou(Box(155, 152, 237, 237)) > 0.85
    assert face.box.width == face.box.height
    assert 0 < face.score <= 1


def test_luma_finds_the_faces_of_color(detector: FaceDetector, group: Image) -> None:
    color = detector.detect(group)
    gray = detector.detect(np.asarray(cv2.cvtColor(group, cv2.COLOR_BGR2GRAY), np.uint8))
    assert len(gray) == len(color) >= 4
    assert min(nearest(face, gray) for face in color) > 0.8


def test_large_picture_gives_the_same_faces_in_its_own_pixels(
    detector: FaceDetector, portrait: Image
) -> None:
    (small,) = detector.detect(portrait)
    (large,) = detector.detect(np.asarray(cv2.resize(portrait, None, fx=7, fy=7), np.uint8))
    assert Box(*(value / 7 for value in large.box)).iou(small.box) > 0.85


def test_picture_below_long_side_is_searched_unscaled(detector: FaceDetector, portrait: Image) -> None:
    small = np.asarray(cv2.resize(portrait, (160, 157), interpolation=cv2.INTER_AREA), np.uint8)
    (face,) = detector.detect(small)
    assert Box(*(value * 572 / 160 for value in face.box)).iou(Box(155, 152, 237, 237)) > 0.8


def test_face_at_the_edge_does_not_move_another(detector: FaceDetector, portrait: Image) -> None:
    head = portrait[100:430, 100:450]  # the face lies at 55, 52 in it
    pad = np.full((500, 1000, 3), 128, np.uint8)
    alone = pad.copy()
    alone[60:390, 500:850] = head
    both = alone.copy()
    both[:290, :310] = head[40:, 40:]  # the FER2013 frame starts at 15, 12: the brow touches the top
    (lonely,) = detector.detect(alone)
    faces = sorted(detector.detect(both), key=lambda face: face.box.x)
    assert len(faces) == 2
    assert faces[1].box.iou(lonely.box) > 0.95
    assert faces[1].box.iou(Box(555, 112, 237, 237)) > 0.8
    assert faces[0].box.iou(Box(15, 12, 237, 237)) > 0.75


def test_detection_is_independent_of_earlier_pictures(
    detector: FaceDetector, group: Image, portrait: Image
) -> None:
    first = detector.detect(group)
    detector.detect(portrait[:200, :100])
    assert detector.detect(group) == first
    assert len(first) >= 4


def test_input_picture_is_not_modified(detector: FaceDetector, portrait: Image) -> None:
    before = portrait.copy()
    detector.detect(portrait)
    assert np.array_equal(portrait, before)


def test_face_smaller_than_min_face_is_dropped(detector: FaceDetector, portrait: Image) -> None:
    # 237 px of 572 are .41 of the long side.
    for min_face, count in ((0.3, 1), (0.5, 0)):
        detector.min_face = min_face
        assert len(detector.detect(portrait)) == count


def test_empty_room_has_no_face(detector: FaceDetector, shared_data: Path) -> None:
    assert [detector.detect(image) for image in frames(shared_data / "videos/no_face.mp4", 7)] == [[]] * 14


def test_moving_face_is_found_in_95_percent_of_frames(detector: FaceDetector, shared_data: Path) -> None:
    found = [
        len(detector.detect(image)) == 1
        for image in frames(shared_data / "videos/WolfgangLanger_Pexels.mp4", 6)
    ]
    assert len(found) == 79
    assert np.mean(found) >= 0.95


def test_bilinear_shrinking_finds_the_faces_of_averaging(detector: FaceDetector, group: Image) -> None:
    fast = detector.detect(group)
    averaged = cv2.resize(group, (320, 213), interpolation=cv2.INTER_AREA)
    slow = detector.detect(np.asarray(averaged, np.uint8))
    assert len(fast) == len(slow)
    for face in slow:
        assert nearest(Face(Box(*(value * 3.125 for value in face.box)), 1.0), fast) > 0.85


# Haar against YuNet


def test_haar_and_yunet_frame_a_face_alike(yunet_file: Path, group: Image, shared_data: Path) -> None:
    haar, yunet = open_detector("haar"), open_detector("yunet", file=yunet_file)
    pictures = [group, *frames(shared_data / "videos/WolfgangLanger_Pexels.mp4", 24)]
    overlaps = []
    for image in pictures:
        networks = yunet.detect(image)
        overlaps += [nearest(face, networks) for face in haar.detect(image)]
    assert len(overlaps) >= 20
    assert min(overlaps) >= 0.6
    assert np.median(overlaps) > 0.75


def test_yunet_keeps_three_people_apart(yunet_file: Path, shared_data: Path) -> None:
    detector = open_detector("yunet", file=yunet_file)
    clip = shared_data / "videos/intel/face-demographics-walking-and-pause.gif"
    counts = [len(detector.detect(image)) for image in frames(clip, 2)]
    assert np.mean([count == 3 for count in counts]) >= 0.9


def test_yunet_gives_the_image_left_eye_first(yunet_file: Path, portrait: Image) -> None:
    detector = open_detector("yunet", file=yunet_file)
    for image in (portrait, np.ascontiguousarray(portrait[:, ::-1])):
        (face,) = detector.detect(image)
        assert face.eyes is not None
        (left_x, left_y), (right_x, right_y) = face.eyes
        x, y = face.box.center
        assert left_x < x < right_x
        assert left_y < y
        assert right_y < y
        assert right_x - left_x == pytest.approx(0.36 * face.box.width, rel=0.15)


def test_haar_has_few_false_positives_on_photos(shared_data: Path) -> None:
    folder = shared_data / "faces/facemask853"
    photos = json.loads((folder / "annotations.json").read_text())[::12]
    detector, false = open_detector("haar"), 0
    for photo in photos:
        image = np.asarray(cv2.imread(str(folder / "images" / photo["file"])), np.uint8)
        for face in detector.detect(image):
            x, y = face.box.center
            false += not any(
                left < x < right and top < y < bottom
                for left, top, right, bottom in (box["xyxy"] for box in photo["boxes"])
            )
    assert len(photos) == 72
    assert false <= 5


# Shrinking and framing


@pytest.mark.parametrize(("rows", "columns"), [(360, 640), (480, 640), (720, 1280), (333, 517), (640, 360)])
@pytest.mark.parametrize("zoom", [1.0, 1.4])
def test_shrinking_gray_is_at_most_a_level_off_exact_bilinear(rows: int, columns: int, zoom: float) -> None:
    image = np.random.default_rng(rows).integers(0, 256, (rows, columns), np.uint8)
    before = cv2.ipp.useIPP_NotExact()

    small = shrink(image, 320, "luma", zoom)

    exact = cv2.resize(image, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_LINEAR)
    assert np.abs(small.astype(int) - exact).max() <= 1
    assert cv2.ipp.useIPP_NotExact() == before


def test_shrink_keeps_shape_and_gives_the_requested_color() -> None:
    wide, thin = np.zeros((720, 1280, 3), np.uint8), np.zeros((2000, 3), np.uint8)
    assert shrink(wide, 320, "luma").shape == (180, 320)
    assert shrink(wide, 320, "bgr").shape == (180, 320, 3)
    assert shrink(thin, 320, "bgr").shape == (320, 1, 3)
    assert shrink(np.zeros((100, 200), np.uint8), 320, "luma").shape == (100, 200)


def test_face_without_eyes_is_framed_around_its_box() -> None:
    face = framed(Face(Box(100, 100, 50, 70), 0.9), Framing(down=0.1, size=1.2))
    assert face.box == pytest.approx((95, 110, 60, 60))
    assert face.score == 0.9


def test_tilted_face_is_framed_along_its_own_axis() -> None:
    # Eyes fall by 45 degrees to the right, so the chin lies to the lower left of them.
    face = framed(Face(Box(80, 80, 100, 100), 1.0, ((90, 90), (110, 110))), Framing(down=0.2, size=1.0))
    assert face.box.center == pytest.approx((100 - 14.142, 100 + 14.142), abs=0.001)
    assert face.box.width == 100


# Selection


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of the fetched YuNet file, in an installation without the shipped network."""
    monkeypatch.setattr("edge.analysis.detectors.FACES", tmp_path / "faces.tflite")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "face_detection_yunet_2023mar.onnx"


def test_auto_falls_back_to_haar_and_says_how_to_get_yunet(state: Path) -> None:
    detector = open_detector("auto")
    assert detector.finder.name == "haar"
    cascade = f"{cv2.data.haarcascades}haarcascade_frontalface_default.xml"
    assert detector.description == (
        f"haar ({cascade}), because no network {state.parents[1]}/faces.tflite in this installation; name "
        f"one in detector.file; no YuNet file at {state}; `emotion-edge models fetch yunet` gets it"
    )
    assert detector.state == detector.because


def test_auto_selects_yunet_if_its_file_exists(state: Path, yunet_file: Path) -> None:
    shutil.copy(yunet_file, state)
    assert open_detector("auto").description.startswith(f"yunet ({state}), because no network ")


def test_damaged_yunet_file_makes_auto_use_haar_and_yunet_fail(state: Path) -> None:
    state.write_bytes(b"\x08\x07" * 1000)
    assert f"; {state}: sha256 " in open_detector("auto").description
    with pytest.raises(EdgeError, match="remove it and fetch it again"):
        open_detector("yunet")


def test_configured_file_must_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing, junk = tmp_path / "missing.onnx", tmp_path / "junk.onnx"
    junk.write_bytes(b"not a network")
    for kind in ("auto", "yunet"):
        with pytest.raises(EdgeError, match=r"missing.onnx: no such file; `emotion-edge models fetch"):
            open_detector(kind, file=missing)  # type: ignore[arg-type]
        with pytest.raises(EdgeError, match=r"junk.onnx: OpenCV 4.* cannot run it"):
            open_detector(kind, file=junk)  # type: ignore[arg-type]
    with pytest.raises(EdgeError, match=r"missing.onnx: no such file"):
        open_detector("haar", file=missing)
    with pytest.raises(EdgeError, match=r"junk.onnx: not a cascade"):
        open_detector("haar", file=junk)
    assert capfd.readouterr().err == ""  # OpenCV adds no lines of its own


def test_unknown_kind_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="'dlib' is not known; expected auto, ssd, yunet or haar"):
        open_detector("dlib")  # type: ignore[arg-type]


def test_opencv_without_cascades_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(EdgeError, match="has no CascadeClassifier; install opencv-python-headless<5"):
        open_detector("haar")


def test_debian_cascades_are_found_without_cv2_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = Path(cv2.data.haarcascades)
    monkeypatch.delattr(cv2, "data")
    monkeypatch.setattr("edge.analysis.detectors.haar.DEBIAN", tmp_path)
    with pytest.raises(EdgeError, match=r"not found in .*; install opencv-data"):
        open_detector("haar")
    shutil.copy(wheel / "haarcascade_frontalface_default.xml", tmp_path)
    assert open_detector("haar").description == f"haar ({tmp_path}/haarcascade_frontalface_default.xml)"
