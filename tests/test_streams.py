"""Videos and cameras read through FFmpeg: generated, damaged and served by the tests."""

from __future__ import annotations

import http.server
import itertools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import open_source
from edge.sources.capture import Capture, Slots
from edge.sources.pace import Silence, Timeline
from edge.types import EdgeError, Image
from tests.captures import StatusLog, until
from tests.fakes import RtspCamera
from tests.films import SECOND, ffmpeg, films, pictures  # noqa: F401
from tests.web_camera import WebCamera, begin_mjpeg, folder, mjpeg, send_part, whole


def frames_of(path: Path) -> list[Image]:
    return pictures(open_source(str(path), paced=False))


def mean_difference(one: Image, other: Image) -> float:
    """Mean absolute difference of two pictures, in gray levels."""
    return float(np.abs(one.astype(np.int16) - other).mean())


def jpegs(count: int, size: tuple[int, int] = (160, 120)) -> list[bytes]:
    """Pictures with their number encoded in brightness; number() reads it."""
    found = []
    for n in range(count):
        image = np.random.default_rng(n).integers(0, 20, (size[1], size[0])).astype(np.uint8) + 20 + 5 * n
        found.append(cv2.imencode(".jpg", image)[1].tobytes())
    return found


def number(image: Image) -> int:
    return round((float(image.mean()) - 29.5) / 5)


# Decoding


@pytest.mark.parametrize(
    "options",
    [("-pix_fmt", "yuv420p", "-c:v", "libx264", "-qp", "1"),
     ("-pix_fmt", "yuvj420p", "-c:v", "libx264", "-qp", "1"),
     ("-pix_fmt", "yuv420p10le", "-c:v", "libx264", "-qp", "1"), ("-pix_fmt", "yuyv422", "-c:v", "rawvideo"),
     ("-pix_fmt", "yuvj444p", "-c:v", "mjpeg", "-q:v", "1"), ("-pix_fmt", "bgr24", "-c:v", "rawvideo"),
     ("-pix_fmt", "rgba", "-c:v", "rawvideo"), ("-pix_fmt", "gbrp", "-c:v", "ffv1")],
    ids=lambda options: options[1] + "-" + options[3],
)  # fmt: skip
def test_black_is_0_and_white_255_in_every_format(
    tmp_path: Path, options: tuple[str, ...], films: Path
) -> None:
    container = "nut" if "rawvideo" in options else "mkv"
    (first, *_), (true, *_) = (
        frames_of(ffmpeg(tmp_path / f"a.{container}", *options)),
        frames_of(films / "lossless.mkv"),
    )
    assert int(first.min()) <= 2
    assert int(first.max()) >= 253
    assert mean_difference(first, true) < 2.0


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_rotated_phone_video_is_upright(films: Path, tmp_path: Path, degrees: int, turns: int) -> None:
    turned = tmp_path / "turned.mp4"
    copy = ["ffmpeg", "-v", "error", "-i", str(films / "h264.mp4"), "-c", "copy"]
    subprocess.run([*copy, "-metadata:s:v:0", f"rotate={degrees}", str(turned)], check=True)
    for upright, flat in zip(frames_of(turned), frames_of(films / "h264.mp4"), strict=True):
        np.testing.assert_array_equal(upright, np.rot90(flat, turns))


@pytest.mark.parametrize(
    "options",
    [("-c:v", "mpeg2video", "-q:v", "2"), ("-c:v", "libx264", "-qp", "10", "-top", "1")],
    ids=["mpeg2", "h264"],
)
def test_interlaced_video_is_deinterlaced(tmp_path: Path, options: tuple[str, ...]) -> None:
    fields = SECOND.replace("rate=10", "rate=20") + ",tinterlace=4"
    woven = frames_of(
        ffmpeg(tmp_path / "a.ts", *options, "-flags", "+ildct+ilme", "-pix_fmt", "yuv420p", source=fields)
    )
    true = frames_of(ffmpeg(tmp_path / "true.mkv", "-c:v", "ffv1", "-pix_fmt", "gray"))
    assert len(woven) >= 9
    for one, other in itertools.islice(zip(woven, true, strict=False), 9):
        assert mean_difference(one, other) < 8.0


def test_frames_over_8192_pixels_are_rejected_in_one_line(tmp_path: Path) -> None:
    wide = ffmpeg(tmp_path / "wide.avi", "-c:v", "mjpeg", source="testsrc=size=8200x32:rate=5:duration=1")
    high = ffmpeg(tmp_path / "high.mkv", "-c:v", "ffv1", source="testsrc=size=32x9000:rate=5:duration=1")
    for path, size in ((wide, "8200x32"), (high, "32x9000")):
        with pytest.raises(
            EdgeError, match=rf"^{path}: pictures of {size}; 8192 pixels a side are the limit, [^\n]+$"
        ):
            open_source(str(path)).read()


def test_resolution_change_in_the_stream_is_followed() -> None:
    parts = [*jpegs(3), *jpegs(3, (320, 240)), *jpegs(3, (64, 48))]
    with WebCamera({"/a": mjpeg(parts)}) as camera:
        source = open_source(f"{camera.address}/a")
        shapes = [source.read().shape for _ in parts]
        source.close()
    assert shapes == [(120, 160)] * 3 + [(240, 320)] * 3 + [(48, 64)] * 3


@pytest.mark.parametrize("kind", ["image/jpg", "image/pjpeg", "text/plain"])
def test_mjpeg_parts_are_read_whatever_their_content_type(kind: str) -> None:
    with WebCamera({"/a": mjpeg(jpegs(20), 0.01, kind)}) as camera:
        source = open_source(f"{camera.address}/a")
        seen = [number(source.read()) for _ in range(10)]
        source.close()
    assert seen == list(range(seen[0], seen[0] + 10))


# Damage


@pytest.mark.parametrize(
    "damage",
    [lambda part: part[: len(part) // 2], lambda part: b"503 busy" * 40, lambda part: part[:12],
     lambda part: b"\xff\xd8\xff\xd9"],
    ids=["half", "words", "head", "hollow"],
)  # fmt: skip
def test_damaged_part_of_a_stream_is_skipped_and_counted(damage: Callable[[bytes], bytes]) -> None:
    parts = jpegs(20)
    for n in (4, 11, 12):
        parts[n] = damage(parts[n])
    with WebCamera({"/a": mjpeg(parts, 0.01)}) as camera:
        source = open_source(f"{camera.address}/a")
        seen = [number(source.read()) for _ in range(17)]
        assert seen == [n for n in range(20) if n not in (4, 11, 12)]
        assert source.damaged == 3  # type: ignore[attr-defined]
        source.close()


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "mpeg4.avi"])
def test_corrupted_file_plays_without_its_damaged_part(films: Path, tmp_path: Path, name: str) -> None:
    content = bytearray((films / name).read_bytes())
    middle = content.find(b"mdat") + 4 if name.endswith("mp4") else 0
    at = middle + (len(content) - middle) // 2
    content[at : at + 300] = bytes(300)
    torn = tmp_path / name
    torn.write_bytes(content)
    whole_film = frames_of(films / name)
    shown = frames_of(torn)
    assert 5 <= len(shown) <= len(whole_film)
    assert mean_difference(shown[0], whole_film[0]) < 1.0


def test_capture_counts_damaged_frames(tmp_path: Path) -> None:
    parts = jpegs(9)
    parts[3] = parts[6] = b"no picture"
    with WebCamera({"/a": mjpeg(parts, 0.02)}) as camera:
        capture = Capture(
            "door", lambda: open_source(f"{camera.address}/a"), Slots(), StatusLog(), retry_s=(9.0, 9.0)
        )
        capture.start()
        until(lambda: capture.frames == 7)
        capture.stop()
    assert (capture.frames, capture.damaged) == (7, 2)


# Addresses


@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4.avi", "h264.ts"])
def test_video_on_a_web_server_plays_once_at_its_pace(films: Path, name: str) -> None:
    with WebCamera(folder(films)) as camera:
        began = time.monotonic()
        shown = pictures(open_source(f"{camera.address}/{name}"))
        assert time.monotonic() - began > 0.9
    assert len(shown) == 10


def test_looped_video_on_a_web_server_starts_over(films: Path) -> None:
    with WebCamera(folder(films)) as camera:
        source = open_source(f"{camera.address}/h264.mp4", loop=True, paced=False)
        shown = [source.read() for _ in range(25)]
        source.close()
    np.testing.assert_array_equal(shown[3], shown[23])


@pytest.mark.parametrize("path", ["/snapshot", "/picture.jpg", "/cgi?user=a&shot=1.png", "/back%20door.jpg"])
def test_snapshot_address_is_polled_at_fps(path: str) -> None:
    taken = itertools.count()
    shots = jpegs(9)
    answer = whole(lambda: shots[next(taken) % 9], "image/jpeg")
    with WebCamera({path.partition("?")[0]: answer}) as camera:
        source = open_source(camera.address + path, fps=10)
        began = time.monotonic()
        seen = [number(source.read()) for _ in range(8)]
        assert time.monotonic() - began > 0.65
        assert seen == list(range(8))
        assert source.still
        source.close()


def test_snapshot_may_omit_content_length() -> None:
    shots = iter(jpegs(9))

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n\r\n" + next(shots))
        request.close_connection = True

    with WebCamera({"/cgi": answer}) as camera:
        source = open_source(f"{camera.address}/cgi", fps=20)
        assert [number(source.read()) for _ in range(4)] == list(range(4))
        source.close()


def test_hls_is_paced_evenly_across_segments(tmp_path: Path) -> None:
    """A live stream in 2 s segments, each available only when complete."""
    film = ffmpeg(tmp_path / "a.ts", "-c:v", "libx264", "-g", "20", "-pix_fmt", "yuv420p",
                  source="testsrc=size=160x120:rate=10:duration=16")  # fmt: skip
    cut = ["ffmpeg", "-v", "error", "-i", str(film), "-c", "copy", "-f", "segment", "-segment_time", "2"]
    subprocess.run([*cut, str(tmp_path / "part%d.ts")], check=True)
    began = time.monotonic()

    def playlist() -> bytes:
        first = min(5, int((time.monotonic() - began) / 2))
        parts = "".join(f"#EXTINF:2.0,\npart{n}.ts\n" for n in range(first, first + 3))
        return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:{first}\n{parts}".encode()

    answers = {**folder(tmp_path), "/live.m3u8": whole(playlist, "application/vnd.apple.mpegurl")}
    with WebCamera(answers) as camera:
        source = open_source(f"{camera.address}/live.m3u8")
        source.read()
        times = [time.monotonic()]
        for _ in range(80):  # four segments and more
            source.read()
            times.append(time.monotonic())
        source.close()
    assert times[-1] - times[0] == pytest.approx(8.0, abs=1.0)
    assert max(b - a for a, b in itertools.pairwise(times)) < 1.0


def test_slow_camera_stays_online_and_logs_its_rate(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with WebCamera({"/a": mjpeg(jpegs(4), 2.2)}) as camera:
        story = StatusLog()
        limits = {"stall_s": 0.5, "give_up_s": 0.8}
        capture = Capture("door", lambda: open_source(f"{camera.address}/a"), Slots(), story, **limits)
        capture.start()
        until(lambda: capture.frames == 4)
        capture.stop()
    assert story.reported == [("online", "")]
    assert "camera door: slow: a picture every 2.2 s" in caplog.text


def silent_after(parts: list[bytes], first: int) -> Callable[..., None]:
    """Send the *first* of *parts* on the first connection only, then hang, as under SIGSTOP."""
    given = iter(parts[:first])

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        mjpeg(given)(request)
        request.connection.settimeout(30.0)
        request.connection.recv(1)  # until the client leaves

    return answer


@pytest.mark.parametrize("first", [1, 2, 3])
def test_camera_that_stops_after_its_first_frames_is_given_up_in_10_s(first: int) -> None:
    with WebCamera({"/a": silent_after(jpegs(4), first)}) as camera:
        source = open_source(f"{camera.address}/a")
        for n in range(first):
            assert number(source.read()) == n
        began = time.monotonic()
        with pytest.raises(EdgeError, match=r"no picture came for [49] s"):
            source.read()
        source.close()
    assert time.monotonic() - began < 9.9


@pytest.mark.parametrize("doubled", [False, True])
def test_camera_with_one_frame_in_many_seconds_is_never_given_up(
    doubled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is scaled down 20 times."""
    monkeypatch.setattr("edge.sources.network._FIRST_S", 0.3)
    monkeypatch.setattr("edge.sources.pace.Silence.LEAST_S", 0.3)
    shots = jpegs(9)

    def answer(request: http.server.BaseHTTPRequestHandler) -> None:
        """Send the current picture at once (some servers send it twice), then one per second."""
        now = len(camera.requested) - 1
        begin_mjpeg(request)
        for _ in range(1 + doubled):
            send_part(request, shots[now])
        for _ in range(4):
            time.sleep(1.0)
            send_part(request, shots[now + 1])

    with WebCamera({"/a": answer}) as camera:
        source = open_source(f"{camera.address}/a")
        for _ in range(5):
            source.read()
        source.close()
    assert len(camera.requested) in (2, 3)


def test_silence_is_judged_by_the_streams_own_interval() -> None:
    quick, slow, bursts = (Silence(first_s=30.0) for _ in range(3))
    assert quick.patience == 30.0
    for n in range(100):
        quick.note(n / 10)
        slow.note(n * 10.0)
        bursts.note(n // 60 * 6.0 + n / 1000)
    assert quick.patience == 4.0
    assert slow.patience == 25.0
    assert bursts.patience > 12.0
    for n in range(700):
        slow.note(1000 + n / 10)
    assert slow.patience == 4.0


def test_timeline_never_falls_or_halts() -> None:
    line = Timeline(20.0)
    stamps = [5.0, 5.1, 5.1, None, 5.4, 1.0, 1.1, 9000.0, 9000.1]
    assert [round(line.place(stamp, 0.1), 6) for stamp in stamps] == [
        0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8
    ]  # fmt: skip


def test_rtsp_over_udp_gives_frames() -> None:
    with RtspCamera(udp=True) as camera:
        source = open_source(camera.address, rtsp_transport="udp")
        shapes = {source.read().shape for _ in range(10)}
        source.close()
    assert shapes == {(240, 320)}
