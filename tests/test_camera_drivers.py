"""Pi and USB cameras, tested with fake drivers."""

from __future__ import annotations

import sys
import threading
import time
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import describe_cameras, open_source
from edge.sources.capture import Capture, Slots
from edge.sources.v4l2 import Camera, capture_devices, picture
from edge.types import EdgeError
from tests.captures import StatusLog, until
from tests.fake_drivers import FakeDriver, FakePicamera2


def test_missing_video_device_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"^/dev/video97: no such device; is the camera plugged in\?$"):
        open_source("/dev/video97")
    path = tmp_path / "video0"
    path.touch()
    with pytest.raises(EdgeError, match="the driver refuses"):
        Camera(str(path))


@pytest.mark.parametrize(("size", "luma"), [((640, 480), 90), ((1280, 720), 60)])
def test_usb_camera_selects_the_fastest_format_with_luma(
    size: tuple[int, int], luma: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeDriver)
    device = tmp_path / "video0"
    device.touch()
    source = Camera(str(device), width=size[0], height=size[1], fps=15)
    image = source.read()
    assert image.shape == (size[1], size[0])
    assert int(image[0, 0]) == luma
    source.close()


def test_luma_is_extracted_from_packed_formats() -> None:
    luma = np.arange(8, dtype=np.uint8).reshape(2, 4) * 10
    color = np.full(8, 200, np.uint8)
    yuyv = np.stack([luma.reshape(-1), color], axis=1)
    for shape in ((2, 4, 2), (1, 16)):
        np.testing.assert_array_equal(picture(yuyv.reshape(shape), "YUYV", 4, 2), luma)
    nv12 = np.concatenate([luma.reshape(-1), color[:4]]).reshape(3, 4)
    np.testing.assert_array_equal(picture(nv12, "NV12", 4, 2), luma)
    assert picture(nv12[:1], "NV12", 4, 2) is None  # cut short
    _, jpeg = cv2.imencode(".jpg", np.full((48, 64, 3), 60, np.uint8))
    padded = np.concatenate([jpeg.reshape(-1), np.zeros(500, np.uint8)])[None, :]
    decoded = picture(padded, "MJPG", 64, 48)
    assert decoded is not None
    assert decoded.shape == (48, 64)
    assert picture(np.zeros((1, 500), np.uint8), "MJPG", 64, 48) is None
    bgr = np.zeros((48, 64, 3), np.uint8)
    assert picture(bgr, "BGR3", 64, 48) is bgr


def nodes(root: Path, *given: tuple[str, str, int]) -> tuple[Path, Path]:
    """sysfs and dev with (node, driver's name, index) each."""
    sysfs, dev = root / "video4linux", root / "dev"
    dev.mkdir()
    for node, name, index in given:
        (sysfs / node).mkdir(parents=True)
        (sysfs / node / "name").write_text(f"{name}\n")
        (sysfs / node / "index").write_text(f"{index}\n")
        (dev / node).touch()
    return sysfs, dev


def test_only_nodes_that_capture_pictures_are_cameras(tmp_path: Path) -> None:
    sysfs, dev = nodes(
        tmp_path,
        ("video0", "HD Pro Webcam C920", 0),
        ("video1", "HD Pro Webcam C920", 1),  # the same camera's metadata node
        ("video2", "bcm2835-isp-capture0", 0),
        ("video3", "rp1-cfe-csi2_ch0", 0),
        ("video4", "hantro-vpu-dec", 0),
        ("video5", "Dec 2019 Cam", 0),
        ("video6", "Gone", 0),
    )
    (dev / "video6").unlink()  # as in a container without that device
    assert [path for path, _ in capture_devices(sysfs, dev)] == [f"{dev}/video0", f"{dev}/video5"]


def test_devices_are_listed_by_number_with_names(tmp_path: Path) -> None:
    sysfs, dev = nodes(tmp_path, ("video10", "Second", 0), ("video2", "First", 0), ("subdev0", "s", 0))
    found = capture_devices(sysfs, dev)
    assert [tuple(device) for device in found] == [(f"{dev}/video2", "First"), (f"{dev}/video10", "Second")]
    assert capture_devices(tmp_path / "absent") == []
    model = tmp_path / "model"
    model.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert [path for path, _ in capture_devices(sysfs, dev, model)] == [f"{dev}/video2"]


def test_pi_camera_gives_unpadded_luma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=FakePicamera2))
    source = open_source("picamera", fps=15, width=100, height=48)
    image = source.read()
    assert image.shape == (48, 100)
    assert set(image.reshape(-1).tolist()) == {7}
    source.close()
    with pytest.raises(EdgeError, match=r"^picamera:1: list index out of range; is it connected"):
        open_source("picamera:1", fps=15)


def test_auto_prefers_the_pi_camera_to_usb(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("picamera2")
    module.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    module.Picamera2 = FakePicamera2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    assert describe_cameras()[0] == ("picamera:0", "imx708")
    assert ("picamera:1", "C270") not in describe_cameras()
    source = open_source("auto", fps=15)
    assert source.read().shape == (48, 100)
    source.close()


def test_missing_picamera2_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(EdgeError, match=r"^picamera:0: .*apt install python3-picamera2 "):
        open_source("picamera")


def test_auto_without_camera_lists_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.sources.describe_cameras", list)
    with pytest.raises(EdgeError, match=r"picamera2 .*, no /dev/video\* gives pictures; plug one in"):
        open_source("auto")


def usb_camera(monkeypatch: pytest.MonkeyPatch, driver: type[FakeDriver]) -> None:
    monkeypatch.setattr(driver, "period", 0.02)
    monkeypatch.setattr(cv2, "VideoCapture", driver)


@pytest.mark.quiet_clock
def test_unplugged_usb_camera_is_back_within_10_s_of_its_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[FakeDriver] = []

    class Counted(FakeDriver):
        def __init__(self, path: str, *more: object) -> None:
            super().__init__(path, *more)
            opened.append(self)

    usb_camera(monkeypatch, Counted)
    device = tmp_path / "video0"
    story = StatusLog()
    capture = Capture("hall", lambda: Camera(str(device)), Slots(), story)
    capture.start()
    until(lambda: story.reported)
    device.touch()
    until(lambda: capture.status == "online")
    device.unlink()
    until(lambda: capture.status == "offline")
    time.sleep(2.0)  # retries happen meanwhile
    device.touch()
    back = time.monotonic()
    until(lambda: capture.status == "online")
    assert time.monotonic() - back < 10
    capture.stop()
    assert story.reported == [
        ("offline", f"{device}: no such device; is the camera plugged in?"),
        ("online", ""),
        ("offline", f"{device}: no picture came; unplugged?"),
        ("online", ""),
    ]
    assert [driver.released for driver in opened] == [True, True]


def test_usb_driver_error_on_release_is_only_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(FakeDriver):
        def release(self) -> None:
            super().release()
            raise cv2.error("VIDIOC_STREAMOFF: no such device")

    usb_camera(monkeypatch, Raising)
    device = tmp_path / "video0"
    device.touch()
    capture = Capture("hall", lambda: Camera(str(device)), Slots(), StatusLog(), retry_s=(0.05, 0.1))
    capture.start()
    until(lambda: capture.status == "online")
    device.unlink()
    until(lambda: capture.status == "offline")
    device.touch()
    until(lambda: capture.status == "online")
    capture.stop()
    assert "camera hall: the driver failed to close it" in caplog.text


@pytest.mark.quiet_clock
def test_pi_camera_that_hangs_in_close_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    class Hanging(FakePicamera2):
        period = 0.02

        def close(self) -> None:
            over.wait(60)

    monkeypatch.setitem(sys.modules, "picamera2", types.SimpleNamespace(Picamera2=Hanging))
    capture = Capture("hall", lambda: open_source("picamera", fps=15), Slots(), StatusLog())
    capture.start()
    until(lambda: capture.status == "online")
    began = time.monotonic()
    capture.stop(0.3)
    assert 0.25 < time.monotonic() - began < 1.5
    over.set()
