"""Conformance of every source that can run here, and specifics of single ones."""

from __future__ import annotations

import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import open_source, source_kind, v4l2
from edge.sources.images import Images
from edge.sources.portraits import Portraits
from edge.sources.video import open_file
from edge.types import EdgeError, EndOfStreamError, Source
from tests.clips import exhaust, keeps_pace, number, numbered_picture, video
from tests.fake_drivers import FakeDriver, FakePicamera2
from tests.fakes import RtspCamera, StreamServer

__all__ = ["video"]  # a fixture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for n in range(1, 4):
        cv2.imwrite(str(path / f"{n}.png"), numbered_picture(n))
    (path / "notes.txt").write_text("no picture")
    return path


@pytest.fixture
def means(tmp_path: Path) -> Path:
    path = tmp_path / "portraits.npz"
    faces = np.random.default_rng(1).integers(0, 256, (7, 48, 48)).astype(np.uint8)
    np.savez(path, faces=faces)
    return path


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with StreamServer() as server:
        yield server


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    with RtspCamera() as camera:
        yield camera


@pytest.fixture
def usb_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(FakeDriver, "period", 0.05)
    monkeypatch.setattr(cv2, "VideoCapture", FakeDriver)
    device = tmp_path / "video0"
    device.touch()
    return str(device)


@pytest.fixture
def picamera2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePicamera2, "period", 0.05)
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=FakePicamera2))


@pytest.fixture(params=["file", "folder", "image", "portraits", "http", "rtsp", "v4l2", "picamera"])
def opened(request: pytest.FixtureRequest) -> Iterator[Callable[[], Source]]:
    """Opens one kind of source; closes all of them at the end."""
    sources: list[Source] = []

    def open_one() -> Source:
        match request.param:
            case "file":
                source: Source = open_file(request.getfixturevalue("video"))
            case "folder":
                source = Images(request.getfixturevalue("folder"), fps=20)
            case "image":
                source = Images(request.getfixturevalue("folder") / "1.png", fps=20)
            case "portraits":
                source = Portraits(width=160, height=120, fps=20, file=request.getfixturevalue("means"))
            case "http":
                source = open_source(request.getfixturevalue("server").address)
            case "v4l2":
                source = v4l2.Camera(request.getfixturevalue("usb_device"), fps=20)
            case "picamera":
                request.getfixturevalue("picamera2")
                source = open_source("picamera", fps=15)
            case _:
                source = open_source(request.getfixturevalue("rtsp_camera").address)
        sources.append(source)
        return source

    yield open_one
    for source in sources:
        source.close()


def test_every_source_gives_bgr_or_luma_of_one_size(opened: Callable[[], Source]) -> None:
    source = opened()
    first, second = source.read(), source.read()
    assert first.dtype == np.uint8
    assert first.ndim == 2 or first.shape[2] == 3
    assert first.shape == second.shape


@pytest.mark.quiet_clock
def test_every_source_keeps_its_pace_and_declares_still_correctly(opened: Callable[[], Source]) -> None:
    source = opened()
    slept = 0.0
    for _ in range(60):  # a stream starts with frames buffered while it was probed
        began = time.monotonic()
        source.read()
        slept = time.monotonic() - began
        if slept > 0.02:
            break
    assert 0.02 < slept < 5.0  # 1/20 s, on a busy machine
    assert source.still == isinstance(source, Images)


def test_every_source_may_be_closed_twice_and_then_fails(opened: Callable[[], Source]) -> None:
    source = opened()
    source.read()
    source.close()
    source.close()
    with pytest.raises(EdgeError, match="closed"):
        source.read()


def test_every_source_releases_its_reader_on_interrupt(opened: Callable[[], Source]) -> None:
    source = opened()
    ended = threading.Event()

    def read_on() -> None:
        try:
            while True:
                source.read()
        except EdgeError:
            ended.set()

    reader = threading.Thread(target=read_on)
    reader.start()
    time.sleep(0.05)
    source.interrupt()
    assert ended.wait(2.0)
    reader.join()


@pytest.mark.quiet_clock
def test_folder_is_shown_by_name_and_ends(folder: Path) -> None:
    def show() -> None:
        source = Images(folder, fps=20)
        assert [number(source.read()) for _ in range(3)] == [1, 2, 3]
        with pytest.raises(EndOfStreamError):
            source.read()

    keeps_pace(show, 0.15)


def test_looped_folder_starts_over(folder: Path) -> None:
    source = Images(folder, fps=200, loop=True)
    assert [number(source.read()) for _ in range(5)] == [1, 2, 3, 1, 2]


def test_damaged_image_is_reported_once_and_skipped(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "2.png").write_bytes(b"not a png")
    source = Images(folder, fps=200, loop=True)
    assert [number(source.read()) for _ in range(4)] == [1, 3, 1, 3]
    assert [record.message for record in caplog.records] == [
        f"{folder}/2.png: not a readable image; left out"
    ]


def test_folder_of_damaged_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(EdgeError, match="none of the folder's images can be read"):
        Images(tmp_path, fps=10, loop=True).read()


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"no images in this folder; \.avif, \.bmp"):
        open_source(str(tmp_path))


def test_single_image_is_repeated(folder: Path) -> None:
    source = open_source(str(folder / "2.png"), fps=100)
    assert [number(source.read()) for _ in range(10)] == [2] * 10


def test_source_kind_follows_from_its_form(video: Path, folder: Path) -> None:
    kinds = {
        "auto": "auto",
        "portraits": "portraits",
        "picamera": "picamera",
        "picamera:1": "picamera",
        "/dev/video0": "v4l2",
        "/dev/v4l/by-id/usb-cam": "v4l2",
        "rtsp://user:secret@10.0.0.7/stream": "network",
        "http://10.0.0.7:8080/video.mjpg": "network",
        "nvarguscamerasrc ! nvvidconv ! appsink": "gstreamer",
        "rtspsrc location=rtsp://10.0.0.7/a ! decodebin ! appsink": "gstreamer",
        str(video): "video",
        str(folder): "images",
        str(folder / "1.png"): "images",
    }
    assert {source: source_kind(source) for source in kinds} == kinds


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://host/a.mp4", "concat://a|b", "tcp://host:1"])
def test_unknown_scheme_is_rejected(source: str) -> None:
    with pytest.raises(EdgeError, match=r"this scheme is not read; known are auto, portraits, picamera"):
        open_source(source)


def test_misspelt_name_error_lists_the_known_sources() -> None:
    with pytest.raises(EdgeError, match=r"source 'portrait': no such file .*known are auto, portraits"):
        open_source("portrait")


def test_pipeline_needs_an_opencv_with_gstreamer() -> None:
    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(EdgeError, match=r"^nvargus ! appsink: this OpenCV is built without GStreamer"):
        open_source("nvargus ! appsink")


@pytest.mark.quiet_clock
def test_stream_with_frozen_sender_fails_in_time(server: StreamServer) -> None:
    source = open_source(server.address)
    for _ in range(10):  # the stream's interval is known then
        source.read()
    server.freeze()
    began = time.monotonic()
    with pytest.raises(EdgeError, match="no picture came"):
        exhaust(source)
    assert time.monotonic() - began < 15.0  # 5.2 measured; the machine may be busy
    source.close()


def test_password_in_an_address_is_never_shown() -> None:
    with pytest.raises(EdgeError, match=r"^http://\*{8}@127\.0\.0\.1:1/s: connection refused"):
        open_source("http://admin:secret@127.0.0.1:1/s").read()


@pytest.mark.parametrize("password", ["S3 cret\"'", "a/b?c#d@e:f", "100% a%41"])
def test_camera_login_uses_the_raw_password(password: str) -> None:
    """Percent-encoded characters are decoded: %41 is an A."""
    with RtspCamera(f"me:{password.replace('%41', 'A')}") as camera:
        source = open_source(camera.address.replace("://", f"://me:{password}@"))
        try:
            assert source.read().shape[:2] == (240, 320)
        finally:
            source.close()
        with pytest.raises(EdgeError, match=r"^rtsp://\*{8}@127\.0\.0\.1:\d+/camera: ") as refused:
            open_source(camera.address.replace("://", f"://me:{password}X@")).read()
        assert password not in str(refused.value)
