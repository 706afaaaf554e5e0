"""Reading one picture file of any bit depth; unreadable files are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import source_kind
from edge.sources.images import SUFFIXES, is_image, read_image
from edge.types import EdgeError, Image

RAMP = np.add.outer(np.arange(48), np.arange(64)).astype(np.float64)  # 0 to 110
RAMP /= RAMP.max()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("suffix", "colors"), [(".png", 1), (".tiff", 3), (".pgm", 1)])
def test_deep_picture_is_scaled_by_the_bits_it_uses(
    tmp_path: Path, bits: int, suffix: str, colors: int
) -> None:
    deep = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    path = tmp_path / f"deep{suffix}"
    cv2.imwrite(str(path), np.dstack([deep] * colors))
    found = read_image(path)
    assert (found.shape, found.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(found[..., 0] - RAMP * 255).max() <= 1


def test_float_picture_is_scaled_into_range(tmp_path: Path) -> None:
    bright = np.dstack([RAMP * 40] * 3).astype(np.float32)
    bright[0, 0] = np.nan
    cv2.imwrite(str(tmp_path / "bright.tiff"), bright)
    assert np.abs(read_image(tmp_path / "bright.tiff")[1:, 1:, 0] - RAMP[1:, 1:] * 255).max() <= 1


def test_black_picture_stays_black(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 48), np.uint16))
    assert not read_image(tmp_path / "black.png").any()


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".gif", ".avif", ".webp", ".dib", ".JPG"])
def test_pictures_of_many_suffixes_are_read(tmp_path: Path, suffix: str) -> None:
    written = {".jfif": ".jpg", ".dib": ".bmp"}.get(suffix, suffix)
    content = cv2.imencode(written, np.dstack([np.rint(RAMP * 255).astype(np.uint8)] * 3))[1]
    path = tmp_path / f"face{suffix}"
    path.write_bytes(content.tobytes())
    assert is_image(path)
    rough = 40 if suffix == ".gif" else 6  # OpenCV's GIF encoder uses few colors
    assert np.abs(read_image(path)[..., 0].astype(int) - RAMP * 255).mean() < rough
    assert source_kind(str(path)) == "images"


@pytest.mark.parametrize(
    ("name", "head", "message"),
    [
        ("phone.heic", b"\0\0\0\x24ftypheic\0\0\0\0", "HEIC, which is not read here; save it as JPEG"),
        ("phone.jpg", b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC, which is not read here; save it as JPEG"),
        ("burst.HEIF", b"\0\0\0\x18ftyphevc\0\0\0\0", "HEIC, which is not read here; save it as JPEG"),
        ("new.jxl", b"\xff\x0a\0\0", "JPEG XL, which is not read here; save it as JPEG or PNG"),
        ("box.jxl", b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a", "JPEG XL, which is not read here"),
        ("text.png", b"hello", "not a readable image"),
        ("empty.jpg", b"", "not a readable image"),
    ],
)
def test_unsupported_format_is_named(tmp_path: Path, name: str, head: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(head + b"\0" * 40 if head else b"")
    assert is_image(path)
    assert path.suffix.lower() in SUFFIXES or not name.endswith(("jpg", "png"))
    with pytest.raises(EdgeError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(("frames", "kind"), [(1, "images"), (3, "video")])
def test_animated_gif_is_a_video(tmp_path: Path, frames: int, kind: str) -> None:
    def face(shade: int) -> Image:
        return np.full((32, 32, 3), shade, np.uint8)

    animation = cv2.Animation()
    animation.frames = [face(40 * i + 40) for i in range(frames)]
    animation.durations = np.full(frames, 100, np.int32)
    cv2.imwriteanimation(str(tmp_path / "a.gif"), animation)
    assert source_kind(str(tmp_path / "a.gif")) == kind
