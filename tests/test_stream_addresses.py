"""What an address may refer to, and why one fails to open."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.sources import open_source
from edge.types import EdgeError
from tests.fakes import RtspCamera
from tests.films import films, pictures  # noqa: F401
from tests.web_camera import WebCamera, folder, status, whole

# Restrictions


@pytest.mark.parametrize(
    "form",
    ["file://{film}", "{film}", "concat:{film}|{film}", "data:video/mp2t;base64,{data}",
     "subfile,,start,0,end,0,,:{film}", "pipe:0", "file:///etc/passwd"],
)  # fmt: skip
def test_network_playlist_never_reads_a_file(films: Path, form: str) -> None:
    film = films / "h264.ts"
    line = form.format(film=film, data=b64encode(film.read_bytes()).decode())
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{line}\n#EXT-X-ENDLIST\n".encode()
    with WebCamera({"/a.m3u8": whole(playlist, "application/vnd.apple.mpegurl")}) as camera:
        source = open_source(f"{camera.address}/a.m3u8")
        with pytest.raises(EdgeError, match=r"a\.m3u8: [^\n]+$"):
            source.read()
        source.close()


@pytest.mark.parametrize(
    "target", ["file://{film}", "concat:{film}", "rtsp://127.0.0.1:1/", "ftp://127.0.0.1/a.ts"]
)
def test_redirect_never_leaves_the_web(films: Path, target: str) -> None:
    film = films / "h264.ts"
    with WebCamera({"/a": status(302, Location=target.format(film=film))}) as camera:
        source = open_source(f"{camera.address}/a")
        with pytest.raises(EdgeError):
            source.read()
        source.close()


def test_redirect_within_the_web_is_followed(films: Path) -> None:
    with WebCamera({**folder(films), "/a": status(302, Location="/h264.mp4")}) as camera:
        assert len(pictures(open_source(f"{camera.address}/a", paced=False))) == 10


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat"])
def test_local_file_never_reads_from_the_network(films: Path, tmp_path: Path, name: str) -> None:
    with WebCamera(folder(films)) as camera:
        address = f"{camera.address}/h264.ts"
        text = {
            "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n",
            "list.ffconcat": f"ffconcat version 1.0\nfile {address}\n",
        }[name]
        (tmp_path / name).write_text(text)
        with pytest.raises(EdgeError, match=rf"{name}: [^\n]+$"):
            open_source(str(tmp_path / name)).read()
        assert camera.requested == []


# Failures


@pytest.fixture
def web() -> Iterator[WebCamera]:
    song = whole(b"<html>sign in</html>" * 50, "text/html")
    answers = {"/401": status(401, WWW_Authenticate='Basic realm="a"'), "/403": status(403), "/page": song}
    with WebCamera({**answers, "/503": status(503)}) as camera:
        yield camera


@pytest.mark.parametrize(
    ("address", "words"),
    [("{web}/401", r"user name or password is missing or wrong \(401\); expected http://user:password@host/…"),
     ("{web}/403", r"the user may not see this \(403\)"), ("{web}/nothing", r"nothing at this path \(404\)"),
     ("{web}/page", "no video that FFmpeg can read"), ("{web}/503", "the server answers 5XX"),
     ("http://127.0.0.1:1/a", "connection refused"), ("rtsp://127.0.0.1:1/a", "connection refused"),
     ("http://no-such-host.invalid/a", r"no such host no-such-host\.invalid"),
     ("rtsp://no-such-host.invalid/a", r"no such host no-such-host\.invalid")],
)  # fmt: skip
def test_failure_to_open_an_address_is_one_line_with_the_reason(
    web: WebCamera, address: str, words: str
) -> None:
    source = open_source(address.format(web=web.address))
    with pytest.raises(EdgeError, match=rf"^\S+: {words}[^\n]*$"):
        source.read()
    source.close()


def test_audio_file_has_no_video(tmp_path: Path) -> None:
    song = tmp_path / "song.mka"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "flac", str(song)]
    subprocess.run(command, check=True)
    with pytest.raises(EdgeError, match=rf"^{song}: no video in it$"):
        open_source(str(song))


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp"])
def test_silent_camera_releases_its_reader_on_interrupt(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = open_source(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a")
        threading.Timer(0.3, source.interrupt).start()
        began = time.monotonic()
        with pytest.raises(EdgeError, match="closed while it was read"):
            source.read()
        assert time.monotonic() - began < 5.0
        source.close()


def test_camera_without_tcp_suggests_the_other_transport() -> None:
    with RtspCamera(udp=True) as camera:
        source = open_source(camera.address)
        with pytest.raises(
            EdgeError, match=r"^\S+: the camera does not send this way; set rtsp_transport to"
        ):
            source.read()
        source.close()
