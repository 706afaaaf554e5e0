"""Fakes of the camera driver modules, limited to the parts in use."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np


class FakeDriver:
    """A fake cv2.VideoCapture of a USB 2 camera: YUYV is slow beyond 640x480, MJPEG is not."""

    period = 0.0  # s between two pictures

    def __init__(self, path: str, *_: object) -> None:
        self.path = Path(path)
        self.settings: dict[int, float] = {}
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, key: int, value: float) -> bool:
        self.settings[key] = value
        return True

    def get(self, key: int) -> float:
        slow = self.settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"YUYV")
        if key == cv2.CAP_PROP_FPS and slow and self.settings[cv2.CAP_PROP_FRAME_WIDTH] > 640:
            return 10.0
        return self.settings[key]

    def grab(self) -> bool:
        time.sleep(self.period)
        return self.path.exists() and not self.released

    def retrieve(self) -> tuple[bool, np.ndarray]:
        width, height = int(self.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self.get(cv2.CAP_PROP_FRAME_HEIGHT))
        assert self.settings[cv2.CAP_PROP_CONVERT_RGB] == 0
        if self.settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*"YUYV"):
            return True, np.full((height, width, 2), (90, 128), np.uint8)
        _, jpeg = cv2.imencode(".jpg", np.full((height, width), 60, np.uint8))
        return True, jpeg.reshape(1, -1)

    def release(self) -> None:
        self.released = True


class FakePicamera2:
    """A fake of the picamera2 API in use, with rows padded to 64 bytes."""

    period = 0.0  # s between two pictures

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.closed = False

    @staticmethod
    def global_camera_info() -> list[dict[str, object]]:
        return [
            {"Num": 0, "Model": "imx708", "Id": "/base/soc/i2c0mux/i2c@1/imx708@1a"},
            {"Num": 1, "Model": "C270", "Id": "/base/scb/pcie@7d500000/usb@0,0:1.0-046d:0825"},
        ]

    def create_video_configuration(
        self, main: dict[str, object], controls: dict[str, float]
    ) -> dict[str, object]:
        assert main["format"] == "YUV420"
        assert controls == {"FrameRate": 15}
        return {"main": main}

    def configure(self, configuration: dict[str, object]) -> None:
        self.configuration = configuration

    def camera_configuration(self) -> dict[str, dict[str, object]]:
        return {"main": {"size": (100, 48), "stride": 128}}

    def start(self) -> None: ...

    def capture_array(self, name: str, wait: float) -> np.ndarray:
        assert (name, wait) == ("main", 5.0)
        assert not self.closed
        time.sleep(self.period)
        planes = np.full((72, 128), 99, np.uint8)
        planes[:48, :100] = 7
        return planes

    def close(self) -> None:
        self.closed = True
