"""When the preview shows pictures, and their content."""

from __future__ import annotations

import cv2
import numpy as np

from edge.types import Box
from edge.web.preview import LONGEST_S, UNSEEN_S, Picture, Preview, jpeg
from tests.fakes import Clock


def picture(taken: float = 100.0) -> Picture:
    return Picture(np.zeros((4, 4, 3), np.uint8), taken)


def started_preview() -> tuple[Preview, Clock]:
    clock = Clock(100.0)
    preview = Preview(clock)
    preview.ask()
    assert preview.tick() == "begins"
    return preview, clock


def test_no_picture_is_kept_or_shown_before_a_request() -> None:
    preview = Preview(Clock(100.0))
    preview.show("hall", picture())
    assert (preview.on, preview.look("hall"), preview.tick()) == (False, None, "")
    preview.ask()
    assert not preview.on  # only tick() starts it, and reports that
    assert preview.tick() == "begins"
    assert (preview.on, preview.look("hall")) == (True, None)
    shown = picture()
    preview.show("hall", shown)
    assert preview.look("hall") is shown
    assert preview.look("porch") is None


def test_preview_ends_a_minute_after_the_last_view() -> None:
    preview, clock = started_preview()
    for _ in range(5):
        clock.now += 59
        assert preview.tick() == ""
        preview.look("hall")
    clock.now += UNSEEN_S
    assert not preview.on  # at once, without a tick
    assert preview.look("hall") is None
    assert preview.tick() == "no viewer for 60 s"
    assert preview.tick() == ""


def test_preview_ends_after_ten_minutes_with_viewers() -> None:
    preview, clock = started_preview()
    while clock.now < 100 + LONGEST_S - 1:
        clock.now += 1
        preview.look("hall")
        assert preview.tick() == ""
    assert preview.left_s == 1
    clock.now += 1
    assert preview.look("hall") is None
    assert preview.tick() == "10 minutes are over"
    assert preview.left_s == 0


def test_picture_is_dropped_at_the_end_and_not_shown_by_the_next_preview() -> None:
    preview, _ = started_preview()
    preview.show("hall", picture())
    preview.end("ended on the page")
    assert preview.look("hall") is None
    assert preview.tick() == "ended on the page"
    preview.ask()
    assert preview.tick() == "begins"
    assert preview.look("hall") is None


def test_cancelled_request_starts_nothing() -> None:
    preview = Preview(Clock(100.0))
    preview.ask()
    preview.end("the analysis did not answer")
    assert preview.tick() == ""


def test_last_picture_of_a_disabled_camera_expires() -> None:
    preview, clock = started_preview()
    preview.show("hall", picture(clock.now))
    clock.now += 4
    assert preview.look("hall") is not None
    clock.now += 2
    assert preview.look("hall") is None


def test_picture_is_at_most_640_wide_in_luma_and_color() -> None:
    for image in (np.full((1080, 1920, 3), 90, np.uint8), np.full((1080, 1920), 90, np.uint8)):
        decoded = cv2.imdecode(
            np.frombuffer(jpeg(Picture(image, 0.0), blur=False), np.uint8), cv2.IMREAD_COLOR
        )
        assert decoded.shape == (360, 640, 3)
        assert abs(int(decoded.mean()) - 90) <= 1


def test_blur_removes_face_detail_and_leaves_the_rest() -> None:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    boxes = (Box(100.0, 120.0, 90.0, 90.0), Box(400.0, 200.0, 60.0, 60.0))
    before = image.copy()
    plain, blurred = (decoded(jpeg(Picture(image, 0.0, boxes), blur=blur)) for blur in (False, True))
    assert (image == before).all()  # the analysis' picture is unchanged
    for box in boxes:
        inside = np.s_[int(box.y) : int(box.y + box.height), int(box.x) : int(box.x + box.width)]
        assert detail(blurred[inside]) < 0.25 * detail(plain[inside])
    outside = np.ones(image.shape[:2], bool)
    for box in boxes:
        outside[
            max(0, int(box.y - box.height / 2)) : int(box.y + 1.5 * box.height),
            max(0, int(box.x - box.width / 2)) : int(box.x + 1.5 * box.width),
        ] = False
    assert np.abs(plain.astype(int) - blurred)[outside].mean() < 1


def test_face_beyond_the_edge_is_blurred_up_to_the_edge() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    boxes = (Box(-40, -40, 80, 80), Box(90, 90, 80, 80), Box(300, 300, 10, 10), Box(20, -50, 10, 20))
    blurred = decoded(jpeg(Picture(image, 0.0, boxes), blur=True))
    assert detail(blurred[:50, :50]) < 0.3 * detail(blurred[60:, :40])


def decoded(encoded: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)


def detail(part: np.ndarray) -> float:
    """Mean difference of adjacent pixels."""
    return float(np.abs(np.diff(part.astype(int), axis=1)).mean())
