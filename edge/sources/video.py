"""A video that ends: a file, or one on a web server, played at its own pace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.sources.leash import Leash
from edge.sources.opened import Opened, Playback
from edge.sources.pace import Timeline
from edge.types import EdgeError, EndOfStreamError, Image

_READ_S = 15.0  # what the next picture may take to be read: a disk that wakes, a busy server
_LONGEST_GAP_S = 60.0  # pictures that lie further apart: the stamps jump; the scene does not pause


class Player(Playback):
    """Plays *opened* at its own pace, at most *fps* pictures a second; with *open_again* forever.

    Nothing is left out for a slow reader. With *paced* false each picture comes as soon as it is decoded.
    """

    def __init__(
        self,
        opened: Opened,
        leash: Leash,
        *,
        open_again: Callable[[], Opened] | None = None,
        fps: float | None = None,
        paced: bool = True,
    ) -> None:
        super().__init__(opened, leash, fps, paced=paced)
        self.patience = 0.0
        self._open_again = open_again
        self._timeline = Timeline(_LONGEST_GAP_S)
        self._shown = False  # a picture of this turn

    def read(self) -> Image:
        while True:
            self._leash.check()
            frame = self._opened.next(_READ_S)
            if frame is None:
                self._rewind()
                continue
            stamp = self._timeline.place(frame.time, self._opened.period)
            self._shown = True
            self.patience = 2 * self._timeline.gap + 1.0
            if not self._limit.passes(stamp):
                continue
            image = self._opened.picture(frame)
            self._pace.wait(stamp)
            return image

    def _rewind(self) -> None:
        if not self._shown:
            raise EdgeError(f"{self._leash.name}: no picture in it")
        period = self._opened.period
        if self._open_again is None:
            self._pace.wait(self._timeline.now + period)  # the last picture has its time too
            raise EndOfStreamError(f"{self._leash.name}: played to its end")
        # Opened once more and not sought: not every container can be sought in.
        self._replace(self._open_again)
        self._timeline.begin_again(period)
        self._shown = False


def open_file(path: Path, *, fps: float | None = None, loop: bool = False, paced: bool = True) -> Player:
    """The video in *path*, which may lead to files only, not to the network; EdgeError where it is none."""
    leash = Leash(str(path))

    def open_again() -> Opened:
        # With the protocol and an absolute path: FFmpeg takes what precedes a colon for a protocol.
        return Opened(f"file:{path.absolute()}", leash, protocols="file", options={}, limit_s=_READ_S)

    return Player(open_again(), leash, open_again=open_again if loop else None, fps=fps, paced=paced)
