"""The preview: pictures in memory, while somebody looks at them on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy.typing as npt

from edge.types import Box, Image

UNSEEN_S = 60.0  # without a viewer it ends
LONGEST_S = 600.0  # and so it does in any case
STALE_S = 5.0  # older pictures are not shown, such as those of a camera that was switched off
LONG_SIDE = 640  # pixels of what is sent, at most
QUALITY = 75  # of JPEG


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame and what is to be blurred in it."""

    image: Image
    taken: float  # monotonic s
    faces: tuple[Box, ...] = ()


class _Run(NamedTuple):
    started: float  # monotonic s
    why: str = ""  # it is to end


class Preview:
    """Asked for and looked at by the page's thread; begun, fed and ended by the analysis thread's tick().

    *clock* gives monotonic s. No lock: the threads share single assignments only.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._asked = False
        self._run: _Run | None = None
        self._seen = 0.0  # when a picture was last looked at, monotonic s
        self._pictures: dict[str, Picture] = {}

    def ask(self) -> None:
        """Have it begin with the next tick."""
        self._asked = True

    def end(self, why: str) -> None:
        """Have it end with the next tick; no picture is given from now on."""
        self._asked = False
        if self._run is not None:
            self._run = self._run._replace(why=why)

    @property
    def on(self) -> bool:
        """Whether pictures are given now."""
        return self._run is not None and not self._over(self._run)

    @property
    def left_s(self) -> float:
        """Seconds until it ends at the latest; 0 while it is off."""
        run = self._run
        return max(0.0, run.started + LONGEST_S - self._clock()) if run and self.on else 0.0

    def look(self, camera: str) -> Picture | None:
        """The newest picture that may be seen; keeps the preview on."""
        if not self.on:
            return None
        now = self._seen = self._clock()
        picture = self._pictures.get(camera)
        return picture if picture is not None and now - picture.taken < STALE_S else None

    def show(self, camera: str, picture: Picture) -> None:
        """Make *picture* the camera's newest."""
        if self.on:
            self._pictures[camera] = picture

    def tick(self) -> str:
        """Begin or end if due: "begins", why it ended, or "" where nothing changed."""
        if self._run is None:
            if not self._asked:
                return ""
            self._asked, self._seen = False, self._clock()
            self._run = _Run(self._seen)
            return "begins"
        why = self._over(self._run)
        if why:
            self._run, self._pictures = None, {}
        return why

    def _over(self, run: _Run) -> str:
        """Why *run* is over; empty while it is not."""
        now = self._clock()
        if run.why:
            return run.why
        if now - run.started >= LONGEST_S:
            return f"{LONGEST_S / 60:g} minutes are over"
        return f"no viewer for {UNSEEN_S:g} s" if now - self._seen >= UNSEEN_S else ""


def jpeg(picture: Picture, *, blur: bool) -> bytes:
    """*picture* for a browser, at most LONG_SIDE pixels long; with *blur* its faces cannot be recognized."""
    image: npt.NDArray[Any] = _blurred(picture) if blur else picture.image
    scale = LONG_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return encoded.tobytes()


def _blurred(picture: Picture) -> Image:
    """A copy with each face, and a quarter more around it, drawn from six by six cells."""
    image = picture.image.copy()
    height, width = image.shape[:2]
    for box in picture.faces:
        left, top = (max(0, int(edge)) for edge in (box.x - box.width / 4, box.y - box.height / 4))
        right = min(width, int(box.x + box.width * 1.25) + 1)
        bottom = min(height, int(box.y + box.height * 1.25) + 1)
        if right > left and bottom > top:
            part = image[top:bottom, left:right]
            cells = cv2.resize(part, (6, 6), interpolation=cv2.INTER_AREA)
            image[top:bottom, left:right] = cv2.resize(
                cells, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
            )
    return image
