"""`emotion-edge detect` with the shipped detector on unusual pictures."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from edge.__main__ import main
from edge.sources.portraits import Portraits
from edge.types import Box, Image


@pytest.fixture(scope="module")
def portrait() -> tuple[Image, Box]:
    """640x480 BGR with one face, and where it is."""
    image, (one,) = Portraits(faces=1, paced=False).render(0)
    return image, one.box


def report(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    assert main(["detect", "--json", *more, str(path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return json.loads(line)  # type: ignore[no-any-return]


def boxes(reported: dict[str, object]) -> list[Box]:
    assert isinstance(reported["faces"], list)
    return [Box(*face["box"]) for face in reported["faces"]]


def rotated(image: Image) -> Image:
    """As a camera on its side stores it; EXIF orientation 6 undoes the rotation."""
    return np.ascontiguousarray(np.rot90(image))


def save(path: Path, image: Image, form: str) -> None:
    match form:
        case "gray":
            cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        case "16 bits":
            cv2.imwrite(str(path), image.astype(np.uint16) * 257)
        case "alpha":
            cv2.imwrite(str(path), np.dstack([image, np.zeros(image.shape[:2], np.uint8)]))
        case "palette":
            Pillow.fromarray(image[:, :, ::-1]).quantize(128).save(path)
        case "EXIF":
            picture = Pillow.fromarray(rotated(image)[:, :, ::-1])
            exif = picture.getexif()
            exif[0x112] = 6
            picture.save(path, exif=exif, quality=95)


@pytest.mark.parametrize("name", ["gray.png", "16 bits.png", "alpha.png", "palette.png", "EXIF.jpg"])
def test_pixel_format_and_exif_rotation_do_not_move_the_box(
    name: str, portrait: tuple[Image, Box], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, _ = portrait
    cv2.imwrite(str(tmp_path / "plain.png"), image)
    save(tmp_path / name, image, name.partition(".")[0])
    (plain,) = boxes(report(tmp_path / "plain.png", capsys))
    reported = report(tmp_path / name, capsys)
    assert reported["size"] == [640, 480]
    (box,) = boxes(reported)
    assert box.iou(plain) > 0.9


def test_json_line_has_the_documented_keys_and_types(
    portrait: tuple[Image, Box], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), portrait[0])
    assert main(["detect", "--json", str(tmp_path / "a.png")]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f'{{"file": "{tmp_path}/a.png", "size": [640, 480], "faces": [{{"box": [')
    reported = json.loads(text)
    assert list(reported) == ["file", "size", "faces", "ms"]
    (face,) = reported["faces"]
    assert list(face) == ["box", "score", "eyes"]
    assert [type(side) for side in face["box"]] == [float] * 4
    assert 0 < face["score"] <= 1
    (left, left_y), (right, right_y) = face["eyes"]
    x, y, width, height = face["box"]
    assert x < left < right < x + width
    assert y < min(left_y, right_y) <= max(left_y, right_y) < y + height
    assert reported["ms"] > 0


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (20, 4000), (4000, 20), (1, 900), (31, 33)])
def test_tiny_or_very_long_picture_has_no_face(
    size: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((*size, 3), 90, np.uint8))
    reported = report(tmp_path / "a.png", capsys)
    assert (reported["size"], reported["faces"]) == ([size[1], size[0]], [])


def test_damaged_files_get_a_line_each_and_the_rest_is_searched(
    portrait: tuple[Image, Box], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "whole.png"), portrait[0])
    cv2.imwrite(str(tmp_path / "whole.jpg"), portrait[0])
    for name in ("whole.png", "whole.jpg"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(content[: len(content) // 2])
    (tmp_path / "none.bmp").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture, and not taken for one")
    assert main(["detect", "--json", str(tmp_path)]) == 0
    reported = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [Path(one["file"]).name for one in reported] == [
        "cut-whole.jpg", "cut-whole.png", "none.bmp", "whole.jpg", "whole.png"
    ]  # fmt: skip
    for one in reported[:3]:
        assert one["error"] == f"{one['file']}: not a readable image"
    for one in reported[3:]:
        assert len(one["faces"]) == 1


@pytest.mark.parametrize("shape", [(4, 3), (16, 9), (9, 16), (3, 4), (21, 9), (1, 1)])
@pytest.mark.parametrize("long_side", ["256", "320", "300", "640"])
def test_any_camera_shape_is_searched_at_any_long_side(
    shape: tuple[int, int], long_side: str, portrait: tuple[Image, Box], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    # Paste the face into the middle of a 720 px picture of this shape.
    image, truth = portrait
    side = 260
    x, y = (round(middle - side / 2) for middle in truth.center)
    head = image[y : y + side, x : x + side]
    scale = 720 / max(shape)
    width, height = round(shape[0] * scale), round(shape[1] * scale)
    whole = np.full((height, width, 3), 110, np.uint8)
    left, top = (width - side) // 2, (height - side) // 2
    whole[top : top + side, left : left + side] = head
    cv2.imwrite(str(tmp_path / "a.png"), whole)
    reported = report(tmp_path / "a.png", capsys, "--long-side", long_side)
    assert reported["size"] == [width, height]
    (box,) = boxes(reported)
    x, y = box.center
    # The detector's box lies within the FER2013 frame.
    assert abs(x - width / 2) < 0.1 * side
    assert abs(y - height / 2) < 0.15 * side
    assert 0.5 * side < box.width < side
