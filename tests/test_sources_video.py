"""Videos as sources: pace, loops, every picture, little memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.sources import open_source
from edge.sources.pace import RateLimit
from edge.sources.video import open_file
from edge.types import EdgeError, EndOfStreamError
from tests.clips import keeps_pace, number, video

__all__ = ["video"]  # a fixture


@pytest.mark.quiet_clock
def test_video_plays_once_at_its_own_pace(video: Path) -> None:
    def play() -> None:
        source = open_file(video)
        assert [number(source.read()) for _ in range(8)] == [1, 2, 3, 4, 5, 6, 7, 8]
        with pytest.raises(EndOfStreamError):  # the last frame is shown for its duration
            source.read()
        source.close()

    keeps_pace(play, 0.4)


@pytest.mark.quiet_clock
def test_looped_video_starts_over_in_step(video: Path) -> None:
    def play() -> None:
        source = open_file(video, loop=True)
        numbers = [number(source.read()) for _ in range(20)]
        source.close()
        assert numbers == [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4]

    keeps_pace(play, 0.95)


@pytest.mark.quiet_clock
def test_fps_drops_frames_and_keeps_the_pace(video: Path) -> None:
    def play() -> None:
        source = open_file(video, fps=10)
        assert [number(source.read()) for _ in range(4)] == [1, 3, 5, 7]
        source.close()

    keeps_pace(play, 0.3)


@pytest.mark.quiet_clock
def test_unpaced_video_gives_each_frame_at_once(video: Path) -> None:
    def play() -> None:
        source = open_file(video, paced=False)
        assert [number(source.read()) for _ in range(8)] == [1, 2, 3, 4, 5, 6, 7, 8]
        source.close()

    keeps_pace(play, 0.05)


def test_slow_reader_misses_no_frame_of_a_video(video: Path) -> None:
    source = open_file(video)
    first = number(source.read())
    time.sleep(0.3)
    assert [first, *(number(source.read()) for _ in range(7))] == [1, 2, 3, 4, 5, 6, 7, 8]
    source.close()


def test_rate_limit_passes_10_of_24_and_does_not_catch_up() -> None:
    limit = RateLimit(10)
    assert sum(limit.passes(n / 24) for n in range(240)) == 100
    assert limit.passes(20.0)
    assert not limit.passes(20.05)
    assert limit.passes(20.11)


@pytest.mark.quiet_clock
def test_animated_gif_keeps_its_own_timing(shared_data: Path) -> None:
    def play() -> None:
        source = open_source(str(shared_data / "videos/intel/face-demographics-walking-and-pause.gif"))
        shapes = {source.read().shape for _ in range(13)}
        source.close()
        assert shapes == {(270, 480)}

    keeps_pace(play, 1.0)  # 12 pictures at 80 to 90 ms


def test_real_video_has_all_its_frames(shared_data: Path) -> None:
    source = open_source(str(shared_data / "videos/WolfgangLanger_Pexels.mp4"), paced=False)
    shapes = {source.read().shape for _ in range(472)}
    with pytest.raises(EndOfStreamError):
        source.read()
    source.close()
    assert shapes == {(360, 640)}


def test_invalid_video_is_reported_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(4000))
    with pytest.raises(EdgeError, match=r"cut\.mp4: no video that FFmpeg can read$"):
        open_source(str(path))
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == ""


def test_video_costs_little_memory_and_no_decoder_threads(tmp_path: Path) -> None:
    path = tmp_path / "hd.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=1920x1080:rate=24", "-t", "1",
         "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", str(path)],
        check=True,
    )  # fmt: skip
    program = (
        "import sys, os, cv2; cv2.setNumThreads(1)\n"
        "from edge.sources import open_source\n"
        "threads = len(os.listdir('/proc/self/task'))\n"
        "source = open_source(sys.argv[1], paced=False)\n"
        "for _ in range(24): image = source.read()\n"
        "assert len(os.listdir('/proc/self/task')) == threads\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 120  # MiB, of them 50 Python with numpy and OpenCV
