from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edge.analysis.detectors import open_detector
from edge.analysis.detectors.shared import Framing, framed
from edge.types import Box, EdgeError, Face, Image
from training.framing import measure, place, report, run


class TrueFinder:
    """A detector that finds the white area, which is the FER2013 frame in these pictures."""

    name = "marker"
    color: Literal["luma", "bgr"] = "luma"
    framing = Framing(down=0.0, size=1.0)
    zoom = 1.0

    def __init__(self, *, eyes: bool, blind: bool = False) -> None:
        self.eyes, self.blind = eyes, blind

    def find(self, image: Image) -> list[Face]:
        """A box of half the frame's side, its centre a tenth of the side above the frame's."""
        if self.blind:
            return []
        rows, columns = np.nonzero(image > 128)
        side = columns.max() + 1.0 - columns.min()
        x, y = columns.min() + side / 2, rows.min() + side / 2 - side / 10
        box = Box(x - side / 4, y - side / 4, side / 2, side / 2)
        if not self.eyes:
            return [distant_face(), Face(box, 1.0)]
        eyes = (x - side / 8, y - side / 10), (x + side / 8, y - side / 10)
        return [Face(box, 1.0, eyes)]


def distant_face() -> Face:
    return Face(Box(0, 0, 20, 20), 1.0)


@pytest.fixture
def pictures() -> Image:
    """White with a black rim, which the canvas repeats."""
    images = np.zeros((40, 48, 48), np.uint8)
    images[:, 1:-1, 1:-1] = 255
    return images


def faces_of_fer2013(shared_data: Path, count: int) -> Image:
    deltas = np.load(shared_data / "fer2013/training.npz")["delta"][:count]
    return np.cumsum(np.cumsum(deltas, 1, dtype=np.uint8), 2, dtype=np.uint8)


def test_canvas_centres_the_picture_and_repeats_its_border() -> None:
    image = np.full((48, 48), 90, np.uint8)
    canvas, frame = place(image, 101)
    assert canvas.shape == (320, 320)
    assert frame == (109, 109, 101, 101)
    assert set(canvas.ravel().tolist()) == {90}


def test_known_offset_and_size_are_measured(pictures: Image) -> None:
    # In widths of its box (half the frame): the frame's centre lies .2 lower, its side is 2.
    measured = measure(pictures, TrueFinder(eyes=False))
    assert (measured.shown, measured.found) == (40, 40)
    assert measured.right.median == pytest.approx(0, abs=0.02)
    assert measured.down.median == pytest.approx(0.2, abs=0.02)
    assert measured.size.median == pytest.approx(2, rel=0.06)  # the rim is not white
    assert measured.size.mad < 0.02


def test_offset_is_measured_from_the_eyes_if_there_are_eyes(pictures: Image) -> None:
    measured = measure(pictures, TrueFinder(eyes=True))
    assert measured.down.median == pytest.approx(0.4, abs=0.02)
    assert measured.others["distance of the eyes"].median == pytest.approx(4, rel=0.06)


def test_measured_framing_undoes_the_detectors_offset(pictures: Image) -> None:
    finder = TrueFinder(eyes=True)
    framing = measure(pictures, finder).framing
    canvas, frame = place(pictures[0], 150)
    assert framed(finder.find(canvas)[0], framing).box.iou(frame) > 0.95


def test_detector_that_finds_nothing_is_rejected(pictures: Image) -> None:
    with pytest.raises(EdgeError, match="marker found only 0 of 40 faces"):
        measure(pictures, TrueFinder(eyes=False, blind=True))


def test_report_starts_with_the_constant_to_copy(pictures: Image) -> None:
    finder = TrueFinder(eyes=False)
    lines = report(finder, measure(pictures, finder))
    assert lines[0].startswith("marker: Framing(down=0.2")
    assert lines[0].endswith("in the code: down=0.000, size=1.000")
    assert lines[1].startswith("n = 40 found of 40;")


def test_haar_framing_constants_match_fer2013(shared_data: Path) -> None:
    finder = open_detector("haar").finder
    measured = measure(faces_of_fer2013(shared_data, 400), finder, count=200)
    assert measured.found >= 120
    assert measured.down.median == pytest.approx(finder.framing.down, abs=0.01)
    assert measured.size.median == pytest.approx(finder.framing.size, rel=0.03)


def test_yunet_framing_constants_match_fer2013(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = shared_data / "models/detectors/face_detection_yunet_2023mar.onnx"
    finder = open_detector("yunet", file=file).finder
    images = faces_of_fer2013(shared_data, 800)
    measured = measure(images, finder, count=500)
    assert measured.found >= 400
    assert measured.down.median == pytest.approx(finder.framing.down, abs=0.01)
    assert measured.size.median == pytest.approx(finder.framing.size, rel=0.03)
    assert measured.size.mad < min(size.mad for size in measured.others.values())
    run(images, detector="yunet", file=file, count=100)
    assert capsys.readouterr().out.startswith("yunet: Framing(down=0.1")


def test_unknown_detector_is_rejected(pictures: Image) -> None:
    with pytest.raises(EdgeError, match="unknown detector 'dlib'; expected haar, ssd or yunet"):
        run(pictures, detector="dlib")
