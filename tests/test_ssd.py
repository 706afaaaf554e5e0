"""Single-shot networks: shapes, cells to boxes, cards, and rejected files."""

import json
import math
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.card import Anchors, Card, Center, Grid, read_card, read_detector
from edge.analysis.detectors import FACES, open_detector
from edge.analysis.detectors.decode import AnchorDecoder, CenterDecoder, Found, best, blended, least_step
from edge.analysis.detectors.ssd import FRAMING, Ssd
from edge.analysis.tensors import dequantize
from edge.node.build import open_configured_detector
from edge.settings import Settings
from edge.settings.tables import Detector
from edge.types import Box, EdgeError, Image, TensorSpec
from tests import bright_cells

INT8 = np.dtype(np.int8)
FLOAT = np.dtype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bright_cells.write_model(tmp_path_factory.mktemp("cells"))


@pytest.fixture
def network_copy(network: Path, tmp_path: Path) -> Path:
    for suffix in (".tflite", ".json"):
        shutil.copy(network.with_suffix(suffix), tmp_path)
    return tmp_path / network.name


def dark_picture(rows: int, columns: int, *cells: tuple[int, int], scale: int = 1) -> Image:
    """A dark picture in which these (row, column) cells of 32 x *scale* pixels are white."""
    image, side = np.full((rows, columns), 20, np.uint8), 32 * scale
    for row, column in cells:
        image[row * side : (row + 1) * side, column * side : (column + 1) * side] = 255
    return image


@pytest.mark.parametrize("size", [(240, 320), (180, 320), (320, 180), (256, 320), (96, 200)])
def test_cell_becomes_the_expected_box_in_any_shape(network: Path, size: tuple[int, int]) -> None:
    finder = Ssd(network)
    # The cell's centre is 112, 48; its box is offset by a quarter of a stride to the right and up.
    (face,) = finder.find(dark_picture(*size, (1, 3)))
    assert face.box == pytest.approx((120 - 32, 40 - 32 * math.exp(0.5), 64, 64 * math.exp(0.5)), abs=1.5)
    assert face.score == pytest.approx(1 / (1 + math.exp(-4)), abs=0.02)
    assert face.eyes is not None
    assert np.ravel(face.eyes).tolist() == pytest.approx([96, 32, 128, 32], abs=1)


def test_one_network_serves_several_shapes_in_turn(network: Path) -> None:
    finder = Ssd(network)
    first = finder.find(dark_picture(240, 320, (2, 2)))
    assert len(finder.find(dark_picture(320, 180, (7, 1), (2, 3)))) == 2
    assert finder.find(dark_picture(240, 320)) == []  # no state remains from the previous picture
    assert finder.find(dark_picture(240, 320, (2, 2))) == first


def test_detector_gives_framed_boxes_in_full_resolution(network: Path) -> None:
    detector = open_detector("ssd", file=network)
    assert detector.description.startswith(f"ssd ({network}, bright cells 1, ")
    assert (detector.long_side, detector.min_face) == (320, 0.05)
    image = dark_picture(720, 1280, (1, 3), scale=4)
    (own,) = detector.find(image)
    assert own.box.width == pytest.approx(256, rel=0.02)
    (framed,) = detector.detect(image)
    assert framed.box.width == pytest.approx(FRAMING.size * own.box.width)
    assert framed.box.center == pytest.approx((448, 128 + 0.144 * 256), abs=6)


def test_picture_is_zoomed_as_the_card_says(network_copy: Path) -> None:
    shape = read_detector(network_copy).card.input.model_dump()
    bright_cells.write_card(network_copy, input={**shape, "zoom": 2.0})
    detector = open_detector("ssd", file=network_copy, long_side=160)
    small = np.full((120, 160), 20, np.uint8)
    small[16:32, 48:64] = 255  # one network cell after enlarging
    (face,) = detector.find(small)
    assert face.box == pytest.approx((60 - 16, 20 - 16 * math.exp(0.5), 32, 32 * math.exp(0.5)), abs=1.5)
    # A larger picture is not shrunk to long_side first, which would turn this cell gray.
    (face,) = detector.find(dark_picture(240, 320, (1, 3)))
    assert face.box == pytest.approx((120 - 32, 40 - 32 * math.exp(0.5), 64, 64 * math.exp(0.5)), abs=1.5)
    assert face.eyes is not None
    assert np.ravel(face.eyes).tolist() == pytest.approx([96, 32, 128, 32], abs=1.5)


def test_shipped_network_sees_each_value_of_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = Ssd(FACES)
    runtime, seen = finder.chosen.runtime, []
    run = runtime.run
    monkeypatch.setattr(runtime, "run", lambda tensor: (seen.append(tensor.copy()), run(tensor))[1])
    image = np.arange(256, dtype=np.uint8).repeat(16).reshape(64, 64)
    for part in (image, image[:, ::2], image.T):  # not all contiguous
        finder.find(part)
        rows, columns = part.shape
        shown = dequantize(seen[-1][0, :rows, :columns, 0], runtime.input)
        assert np.abs(shown - part).max() <= runtime.input.scale / 2


def test_min_score_is_the_cards_unless_overridden(network_copy: Path) -> None:
    gray = dark_picture(256, 320, (1, 3))
    gray[gray == 255] = 140  # a logit of -.5
    assert Ssd(network_copy).find(gray) == []
    (face,) = Ssd(network_copy, min_score=0.3).find(gray)
    decode = json.loads(network_copy.with_suffix(".json").read_text())["decode"]
    bright_cells.write_card(network_copy, decode={**decode, "min_score": 0.3})
    assert Ssd(network_copy).find(gray) == [face]
    assert Ssd(network_copy, min_score=0.99).find(dark_picture(256, 320, (1, 3))) == []


def test_configured_ssd_runs_and_auto_detects_the_file_kind(network: Path) -> None:
    chosen = Detector(kind="auto", file=network, min_score=0.6, min_face=0.3)
    detector = open_configured_detector(Settings(detector=chosen))
    assert (detector.finder.name, detector.min_face) == ("ssd", 0.3)
    assert detector.detect(dark_picture(480, 640)) == []


def test_card_framing_takes_precedence(network_copy: Path) -> None:
    bright_cells.write_card(network_copy, framing={"down": 0.1, "size": 1.5})
    assert Ssd(network_copy).framing == (0.1, 1.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": {"height": 192, "width": 320, "channels": 1, "range": [0, 255]}},
         r"card says input \(1, 192, 320, 1\), model takes \(1, 256, 320, 1\)"),
        ({"decode": {"form": "center", "strides": [16], "scores": ["score_8"], "boxes": ["box_16"]}},
         r"card says output 'score_8' of \(1, 16, 20, 1\), model gives "),
        ({"decode": {"form": "center", "strides": [8, 16], "scores": ["score_8"], "boxes": ["a", "b"]}},
         "2 strides, 1 scores"),
        ({"decode": {"form": "corners"}}, "not a model card: decode"),
        ({"kind": "classifier"}, "the card of a classifier; detector.file takes a detector's"),
        ({"files": {}}, "its card lists nothing, not this file"),
    ],
)  # fmt: skip
def test_mismatched_card_is_reported(network_copy: Path, changes: dict[str, object], message: str) -> None:
    bright_cells.write_card(network_copy, **changes)
    with pytest.raises(EdgeError, match=message):
        Ssd(network_copy)


def test_detector_card_is_rejected_for_a_classifier(network: Path) -> None:
    with pytest.raises(EdgeError, match=r"faces\.json: the card of a detector; model\.file takes a classif"):
        read_card(network.with_suffix(".json"), Card)
    assert read_detector(network).card.decode.max_overlap == 0.4


def test_edge_tpu_file_is_rejected_without_its_twin(network_copy: Path) -> None:
    network_copy.write_bytes(network_copy.read_bytes() + b"edgetpu-custom-op")
    bright_cells.write_card(network_copy)
    with pytest.raises(EdgeError) as caught:
        open_detector("ssd", file=network_copy)
    assert str(caught.value).startswith(
        f"{network_copy}: compiled for the Edge TPU, and its uncompiled twin is not in its card, for the CPU "
        "while the chip is away; `quantize --target coral` makes both"
    )


# Decoding


def center(**changes: object) -> Center:
    return Center(form="center", strides=(8,), scores=("s",), boxes=("b",), **changes)  # type: ignore[arg-type]


def test_int8_scores_are_compared_in_quantised_steps() -> None:
    spec = TensorSpec((1, 4, 4, 1), INT8, 0.1, 20)
    assert least_step(0.5, spec) == 20
    assert least_step(0.7, spec) == 29  # a logit of .847: the step above it
    assert least_step(0.7, TensorSpec((1, 4, 4, 1), FLOAT)) == pytest.approx(0.8473, abs=1e-4)
    assert (least_step(0, spec), least_step(1, spec)) == (-math.inf, math.inf)


def test_outputs_are_found_by_name_or_unique_shape() -> None:
    named = (TensorSpec((1, 2, 3, 4), FLOAT, name="b:0"), TensorSpec((1, 2, 3, 1), FLOAT, name="s"))
    tensors = np.zeros((1, 2, 3, 4), np.float32), np.full((1, 2, 3, 1), -9, np.float32)
    tensors[1][0, 1, 2] = 3
    tensors[0][0, 1, 2] = (0.5, 0, 0, math.log(2))
    for outputs in (named, tuple(spec._replace(name="") for spec in named)):
        found = CenterDecoder(center(), outputs, (16, 24), "x").found(tensors, 0.5)
        assert found.boxes.tolist() == [pytest.approx([24 - 8, 12 - 16, 16, 32])]
        assert found.eyes is None
    with pytest.raises(EdgeError, match=r"x: card says output 's' of \(1, 2, 3, 1\), model gives b:0"):
        CenterDecoder(center(), named[:1], (16, 24), "x")


def test_anchors_decode_in_row_order() -> None:
    decode = Anchors(
        form="anchors", grids=(Grid(stride=8, anchors=2), Grid(stride=16, anchors=1)), scores="s", boxes="b",
        scale=16, eyes=(1, 0),
    )  # fmt: skip
    outputs = TensorSpec((1, 9, 1), FLOAT, name="s"), TensorSpec((1, 9, 8), FLOAT, name="b")
    scores, boxes = np.full((1, 9, 1), -200, np.float32), np.zeros((1, 9, 8), np.float32)
    scores[0, 5], scores[0, 8] = 200, 0  # the second row's first cell; the coarse grid's only one
    boxes[0, 5] = (1, 2, 4, 6, -1, -2, 3, 4)
    found = AnchorDecoder(decode, outputs, (16, 16), "x").found((scores, boxes), 0.4)
    assert found.scores.tolist() == [pytest.approx(1), 0.5]
    assert found.boxes.tolist() == [[3, 11, 4, 6], [8, 8, 0, 0]]
    assert found.eyes is not None
    assert found.eyes[0].tolist() == [7, 16, 3, 10]
    assert best(found, 0.4) == [0]  # the other has no size
    none = AnchorDecoder(decode, outputs, (16, 16), "x").found((scores - 400, boxes), 0.4)
    assert (len(none.scores), best(none, 0.4)) == (0, [])


def test_best_of_overlapping_boxes_is_kept() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 10, 10], [np.inf, 0, 10, 10]], float)
    assert best(Found(np.array([0.6, 0.9, 0.7, 0.99]), boxes, None), 0.4) == [1, 2]


def test_box_and_eyes_are_the_mean_of_the_cells_that_agree() -> None:
    boxes = np.array([(0, 0, 10, 10), (2, 0, 10, 10), (8, 0, 10, 10), (1, np.nan, 10, 10)], float)
    eyes = np.array([(3, 4, 7, 4), (5, 5, 9, 5), (11, 4, 15, 4), (0, 0, 0, 0)], float)
    scores = np.array([0.8, 0.4, 0.6, 0.99])
    both = blended(Found(scores, boxes, eyes), [0, 2])
    assert both.scores.tolist() == [0.8, 0.6]
    assert both.boxes[0].tolist() == pytest.approx([0.4, 0, 10, 10])  # four parts and one
    assert both.boxes[1].tolist() == [8, 0, 10, 10]  # no other cell overlaps it enough
    assert both.eyes is not None
    assert both.eyes[0].tolist() == pytest.approx([3.4, 4.2, 7.4, 4.2])
    without = blended(Found(scores * 0, boxes, None), [0])  # scores may underflow to 0
    assert (without.eyes, without.boxes[0].tolist()) == (None, pytest.approx([1, 0, 10, 10]))
    none = blended(Found(np.empty(0), np.empty((0, 4)), None), [])
    assert none.boxes.shape == (0, 4)


def test_many_faces_are_blended_as_each_alone() -> None:
    random = np.random.default_rng(0)
    boxes = np.hstack((random.uniform(0, 300, (500, 2)), random.uniform(20, 60, (500, 2))))
    found = Found(random.uniform(0.02, 1, 500), boxes, np.tile(boxes[:, :2], 2))
    kept = best(found, 0.4)
    assert len(kept) > 100  # more than are blended at once
    alone = [blended(found, [one]) for one in kept]
    together = blended(found, kept)
    np.testing.assert_allclose(together.boxes, np.concatenate([one.boxes for one in alone]))
    assert together.eyes is not None
    np.testing.assert_allclose(together.eyes, together.boxes[:, [0, 1, 0, 1]])


def test_half_a_face_is_not_a_second_face() -> None:
    boxes = np.array([(100, 50, 200, 300), (200, 120, 90, 150), (260, 20, 90, 90), (10, 10, 40, 40)], float)
    scores = np.array([0.8, 0.6, 0.7, 0.5])
    assert best(Found(scores, boxes, None), 0.4) == [0, 2, 3]  # less than half of the third one is inside
    surer = np.array([0.6, 0.8, 0.7, 0.5])
    assert best(Found(surer, boxes, None), 0.4) == [
        1,
        2,
        0,
        3,
    ]  # a small face in front of a larger one: both stay
    assert Box(0, 0, 10, 10).iou(Box(1, 0, 10, 10)) > 0.4
