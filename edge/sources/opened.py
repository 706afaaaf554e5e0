"""A file or stream that FFmpeg opened: what is in it, and its pictures one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cached_property, partial

import av
from av.stream import Discard
from av.video.stream import VideoStream

from edge.sources.leash import NOMINAL_S, Leash
from edge.sources.pace import Pace, RateLimit
from edge.sources.pictures import Pictures
from edge.types import EdgeError, Image

MAX_SIDE = 8192  # pixels
_DAMAGED_IN_A_ROW = 250  # packets without one picture: what comes is no video any more
# A file's small pictures are decoded in one go, so many or so many pixels: an analysis takes FFmpeg and PyAV
# out of the processor's cache, and a cold start is most of what a small picture costs.
_BURST, _BURST_PIXELS = 8, 8 * 320 * 240
_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC: a song's cover


class Opened:
    """The video at *address*, by *protocols* only: a white list, also for playlists and redirects.

    EdgeError, which begins with the leash's name, where it does not open within *limit_s*, has no video or
    one of more than MAX_SIDE pixels.
    """

    def __init__(
        self, address: str, leash: Leash, *, protocols: str, options: Mapping[str, str], limit_s: float
    ) -> None:
        self._leash = leash
        self.damaged = 0  # pictures that could not be decoded
        given = {"protocol_whitelist": protocols, "fpsprobesize": "0", **options}
        self._open = partial(av.open, address, options=given, timeout=NOMINAL_S, metadata_errors="replace")
        self._address = address
        self._at_hand = protocols == "file"  # what comes next need not be waited for
        self._begin(None, limit_s)
        self._ready: deque[av.VideoFrame] = deque()
        self._any = False  # picture was decoded
        self._pictures = Pictures()
        self._faults = 0  # in a row
        self._drained = False

    def _begin(self, form: str | None, limit_s: float) -> None:
        """Open it as *form* (None: as FFmpeg takes it)."""
        self._leash.take(limit_s)
        try:
            self._container = self._open(format=form)
        except (av.FFmpegError, OSError, UnicodeError, ValueError) as error:
            raise self._complaint(error, self._address, limit_s) from error
        try:
            self._stream = self._chosen()
        except EdgeError:
            self.close()
            raise
        self._packets = iter(self._container.demux(self._stream))
        context = self._stream.codec_context
        pixels = max(1, context.width * context.height)
        self._burst = min(_BURST, _BURST_PIXELS // pixels) if self._at_hand else 1

    @property
    def format(self) -> str:
        """FFmpeg's name of the container, for example ``mov,mp4,m4a,3gp,3g2,mj2``."""
        return str(self._container.format.name)

    @property
    def finite(self) -> bool:
        """Whether it is known to end: it has a length in seconds or, except playlists, in bytes."""
        return self.seconds is not None or (self.format != "hls" and self._container.size > 0)

    @property
    def seconds(self) -> float | None:
        """How long it is; None where the container does not say."""
        duration = self._container.duration
        return duration / av.time_base if duration and duration > 0 else None

    @cached_property  # its fractions take longer than a small picture's luma
    def period(self) -> float:
        """Seconds from one picture to the next as the container says, 1/25 where it does not."""
        rate = self._rate or self._stream.guessed_rate
        return 1 / float(rate) if rate and 0 < rate <= 1000 else 0.04

    @property
    def declares_rate(self) -> bool:
        """Whether the stream says how fast its pictures come; what FFmpeg says of MJPEG is made up."""
        return bool(self._rate) and self._stream.codec_context.name != "mjpeg"

    @property
    def _rate(self) -> Fraction | None:
        """Pictures a second as container or codec say; None or 0 where neither does."""
        return self._stream.average_rate or self._stream.codec_context.framerate

    def next(self, limit_s: float) -> av.VideoFrame | None:
        """The next picture; None at the end. EdgeError when none came for *limit_s*, and once interrupted."""
        while not self._ready:
            if self._drained:
                return None
            self._feed(limit_s)
            while 0 < len(self._ready) < self._burst and not (self._faults or self._drained):
                self._feed(limit_s)
        self._leash.check()
        frame = self._ready.popleft()
        self._check_size(frame.width, frame.height)
        return frame

    def picture(self, frame: av.VideoFrame) -> Image:
        return self._pictures.picture(frame)

    def color(self, frame: av.VideoFrame) -> Image:
        return self._pictures.color(frame)

    def close(self) -> None:
        self._container.close()

    def _chosen(self) -> VideoStream:
        """The best video stream; nothing else is read or downloaded."""
        videos = [
            stream for stream in self._container.streams.video
            if not int(stream.disposition) & _ATTACHED and stream.codec_context is not None
        ]  # fmt: skip
        if not videos:
            raise EdgeError(f"{self._leash.name}: no video in it")
        chosen = max(videos, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
        for stream in self._container.streams:
            if stream is not chosen:
                stream.discard = Discard.all
        context = chosen.codec_context
        self._check_size(context.width, context.height)
        # One thread decodes 1080p H.264 in 6 ms; each further one holds pictures of its own.
        context.thread_count = 1
        if context.name == "mjpeg":
            # Half a JPEG is gray below and no error otherwise. Other decoders mark what they had to conceal.
            context.options = {"err_detect": "explode"}
        return chosen

    def _check_size(self, width: int, height: int) -> None:
        if max(width, height) > MAX_SIDE:
            raise EdgeError(
                f"{self._leash.name}: pictures of {width}x{height}; {MAX_SIDE} pixels a side are the limit, "
                "have them made smaller"
            )

    def _feed(self, limit_s: float) -> None:
        """Decode one more packet. What is damaged is counted and left out."""
        self._leash.take(limit_s)
        try:
            packet = next(self._packets, None)
        except av.InvalidDataError as error:
            if self.format == "mpjpeg" and not self._any and not self._leash.expired:
                # Its parts are not called image/jpeg, as FFmpeg insists; the pictures may be as good.
                self.close()
                self._begin("mjpeg", limit_s)
                return
            self._leash_or_damage(error, limit_s)
            self._packets = iter(self._container.demux(self._stream))
            return
        except (av.FFmpegError, OSError) as error:
            raise self._complaint(error, "", limit_s) from error
        if self._leash.expired:  # a rest that FFmpeg gives before its error
            raise self._complaint(EdgeError(), "", limit_s)
        if packet is None:
            self._drained = True
            return
        try:
            frames = packet.decode()
        except av.EOFError:
            return
        except (av.FFmpegError, OSError, ValueError) as error:
            self._leash_or_damage(error, limit_s)
            return
        for frame in frames:
            if isinstance(frame, av.VideoFrame):
                if frame.is_corrupt:
                    self.damaged += 1
                    continue
                self._faults, self._any = 0, True
                self._ready.append(frame)

    def _leash_or_damage(self, error: Exception, limit_s: float) -> None:
        self._leash.check()
        if self._leash.expired:
            raise self._complaint(error, "", limit_s) from error
        self.damaged += 1
        self._faults += 1
        if self._faults >= _DAMAGED_IN_A_ROW:
            raise EdgeError(
                f"{self._leash.name}: damaged; {self._faults} pictures in a row cannot be decoded"
            )

    def _complaint(self, error: Exception, address: str, limit_s: float) -> EdgeError:
        """*error* in one line; *address* is that of an opening."""
        self._leash.check()
        name = self._leash.name
        if self._leash.expired:
            return EdgeError(f"{name}: no picture came for {limit_s:.0f} s")
        from edge.sources.complaints import complaint

        return EdgeError(f"{name}: {complaint(error, address)}")


class Playback:
    """What the sources that play *opened* share; at most *fps* pictures a second."""

    still = False

    def __init__(self, opened: Opened, leash: Leash, fps: float | None, *, paced: bool = True) -> None:
        self._opened = opened
        self._leash = leash
        self._limit = RateLimit(fps)
        self._pace = Pace(paced=paced, interrupted=leash.interrupted)
        self._damaged = 0  # in what was opened before

    @property
    def damaged(self) -> int:
        return self._damaged + self._opened.damaged

    def interrupt(self) -> None:
        self._leash.interrupt()

    def close(self) -> None:
        self._leash.interrupt()
        self._opened.close()

    def _replace(self, open_again: Callable[[], Opened]) -> None:
        self._damaged += self._opened.damaged
        self._opened.close()  # before: many cameras serve one at a time
        self._opened = open_again()
