"""What comes over the network: live streams, videos on a web server, addresses of a single picture."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Literal

import av

from edge.host.redaction import masked
from edge.sources import DEFAULT_FPS
from edge.sources.leash import Leash
from edge.sources.opened import Opened
from edge.sources.pace import Silence
from edge.sources.streams import Live, Polled
from edge.sources.video import Player
from edge.types import EdgeError, Image

Transport = Literal["tcp", "udp"]

# White lists: what a stream, its playlists and its redirects may lead to. crypto is HLS's own encryption, and
# what it wraps is held to the list as well.
_WEB = "http,https,tcp,tls,crypto"
_RTSP = "rtsp,rtsps,rtp,srtp,rtcp,udp,tcp,tls"
# From the first picture to the second, where the stream does not say how fast they come: before a new
# connection tests whether the camera lives, and where that proves nothing (whoever connects must wait).
_FIRST_S, _KEPT_WAITING_S = 6.0, 30.0
_PROMPT_S = 1.0  # to connect and get a picture
_OPEN_S = 30.0  # until the first picture: a camera of one in 10 s is waited for; to connect takes 5 s at most
# Addresses that fell silent after their first pictures: perhaps slow, and given time until seen to be quick.
_mistrusted: set[str] = set()

# FFmpeg takes an address for the pattern of many pictures, numbered or alike, when its end looks like a
# picture's name: "/back%20door.jpg" has a "%20d" in it, "/shot?id=1.jpg" a "?".
_PATTERN = re.compile(r"(?=.*(?:[*?{]|%\d*d)).*\.\w{2,5}", re.S)


def _no_pattern(address: str) -> str:
    """*address* as FFmpeg does not take it for a pattern, and the same to the server."""
    return address + ("&" if "?" in address else "?") if _PATTERN.fullmatch(address) else address


class Network:
    """The stream at *address* (rtsp, rtsps, http, https), opened by the first read(), which interrupt() ends.

    A live stream is read at its own pace, at most *fps* pictures a second; what ends is played like a file,
    with *loop* again and again; an address that gives one picture is asked for it *fps* times a second.
    """

    def __init__(
        self,
        address: str,
        *,
        fps: float | None = None,
        loop: bool = False,
        paced: bool = True,
        transport: Transport = "tcp",
    ) -> None:
        self._address = _no_pattern(address)
        self._fps = fps
        self._loop = loop
        self._paced = paced
        self._rtsp = address.lower().startswith("rtsp")
        self._options = {"rtsp_transport": transport} if self._rtsp else {"extension_picky": "0"}
        self._leash = Leash(masked(address))
        self._source: Player | Live | Polled | None = None
        self._prompt = True  # it gave its first picture at once

    @property
    def still(self) -> bool:
        return self._source is not None and self._source.still

    @property
    def patience(self) -> float:
        return _OPEN_S if self._source is None else self._source.patience

    @property
    def damaged(self) -> int:
        return 0 if self._source is None else self._source.damaged

    def read(self) -> Image:
        self._leash.check()
        if self._source is None:
            self._source = self._begin()
        try:
            return self._source.read()
        except EdgeError:
            if isinstance(self._source, Live):
                (_mistrusted.add if self._source.slow else _mistrusted.discard)(self._address)
            raise

    def interrupt(self) -> None:
        self._leash.interrupt()

    def close(self) -> None:
        self._leash.interrupt()
        if self._source is not None:
            self._source.close()

    def _open(self, limit_s: float = _OPEN_S) -> Opened:
        protocols = _RTSP if self._rtsp else _WEB
        return Opened(self._address, self._leash, protocols=protocols, options=self._options, limit_s=limit_s)

    def _begin(self) -> Player | Live | Polled:
        """Open the address and see what it gives."""
        began = time.monotonic()
        opened = self._open()
        self._prompt = time.monotonic() - began < _PROMPT_S
        if self._rtsp:
            return self._live(opened)
        if opened.format.endswith("_pipe") or opened.format == "image2":
            return self._one_or_many(opened)
        if opened.finite:
            open_again = self._open if self._loop else None
            return Player(opened, self._leash, open_again=open_again, fps=self._fps, paced=self._paced)
        return self._live(opened)

    def _live(self, opened: Opened, begun: Iterable[av.VideoFrame] = ()) -> Live:
        trusted = self._address not in _mistrusted
        spread = opened.format == "hls" and self._paced
        if trusted and opened.declares_rate:
            first_s = Silence.LEAST_S
        else:
            first_s = _FIRST_S if trusted and self._prompt else _KEPT_WAITING_S
        probe = self._open if first_s == _FIRST_S and not spread else None
        return Live(opened, self._leash, probe, fps=self._fps, spread=spread, first_s=first_s, begun=begun)

    def _one_or_many(self, opened: Opened) -> Live | Polled:
        """What *opened*, a bare picture, is: one picture, or the first of many without a container."""
        first = opened.next(_OPEN_S)
        try:
            second = None if first is None else opened.next(_OPEN_S)
        except EdgeError:  # where the answer has no length, FFmpeg takes its end for a fault
            self._leash.check()
            if self._leash.expired:
                raise
            second = None
        if first is not None and second is None:
            image = opened.picture(first)
            opened.close()
            return Polled(image, self._open, self._leash, fps=self._fps or DEFAULT_FPS)
        begun = [frame for frame in (first, second) if frame is not None]
        return self._live(opened, begun)
