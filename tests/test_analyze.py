"""`emotion-edge analyze`: tables, annotated videos and totals that match the daemon's events."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from edge.__main__ import main
from edge.sources.portraits import Portraits
from edge.types import LABELS, Image
from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.process import Start, emotion_edge, start  # noqa: F401

FPS = 10


def film(path: Path, pictures: list[Image], times: Iterable[float] | None = None) -> Path:
    """An H.264 video of *pictures* in *path*, at *times* or FPS pictures a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12", "preset": "ultrafast", "bf": "0"}
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.height, stream.width = pictures[0].shape[:2]
        at = iter(times or (n / FPS for n in range(10**6)))
        for image in pictures:
            form = "gray" if image.ndim == 2 else "bgr24"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=form)
            frame.time_base, frame.pts = Fraction(1, 1000), round(next(at) * 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def portraits(seconds: float, faces: int = 2) -> list[Image]:
    camera = Portraits(faces=faces, fps=FPS, paced=False)
    return [camera.render(n)[0] for n in range(round(seconds * FPS))]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces for 12 s, a wall for 2 s."""
    pictures = portraits(12)
    wall = np.full_like(pictures[0], 128)
    return film(tmp_path_factory.mktemp("clip") / "two faces.mp4", [*pictures, *[wall] * 20])


def analyze(*arguments: str | Path) -> dict[str, Any]:
    ended = emotion_edge("analyze", *arguments, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_csv_has_a_row_per_face_and_per_transition(clip: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    found = analyze(clip, "--csv", table)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    faces = [row for row in rows if row["row"] == "face"]
    events = [row for row in rows if row["row"] == "event"]
    assert len(faces) + len(events) == len(rows)
    assert (found["frames"], found["frames_with_face"]) == (140, len({row["time"] for row in faces}))
    assert found["seconds"] == pytest.approx(14, abs=0.2)
    assert 115 <= found["frames_with_face"] <= 121
    assert {row["track"] for row in faces} == {"1", "2"}
    camera = Portraits(faces=2, fps=FPS, paced=False)
    for row in faces[100:110]:
        x, y, width, height = (float(row[side]) for side in ("x", "y", "width", "height"))
        truth = [portrait.box for portrait in camera.render(round(float(row["time"]) * FPS))[1]]
        assert any(abs(x + width / 2 - box.x - box.width / 2) < box.width / 4 for box in truth)
        assert abs(y + height / 2 - truth[0].y - truth[0].height / 2) < truth[0].height
        assert sum(float(row[label]) for label in LABELS) == pytest.approx(1, abs=0.01)
    reported = [(row["event"], row["track"], row["from"], row["emotion"]) for row in events]
    assert reported == [
        (one["event_type"], str(one["track"]), one["from"], one["to"]) for one in found["transitions"]
    ]
    assert [kind for kind, *_ in reported].count("face_appeared") == 2
    assert [kind for kind, *_ in reported].count("face_left") == 2
    assert len(reported) > 4  # the portraits change their expressions
    for track in found["tracks"]:
        assert sum(track["seconds"].values()) == pytest.approx(track["to"] - track["from"], abs=0.01)


def test_transitions_match_the_daemon(clip: Path, broker: Mosquitto, start: Start) -> None:
    found = analyze(clip)
    with subscriber(broker.port) as client:
        daemon = start(
            f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
            f'[[camera]]\nname = "hall"\nsource = "{clip}"\nfps = {FPS}\n'
        )
        wanted = len(found["transitions"])
        topic = "emotion-edge/pi/hall/event"
        assert eventually(lambda: len(client.payloads(topic)) >= wanted, timeout_s=40)
        assert daemon.stop()[0] == 0
        events = [json.loads(payload) for payload in client.payloads(topic)][:wanted]
    reported = [(one["event_type"], one["track"], one["from"], one["to"]) for one in found["transitions"]]
    assert reported == [(one["event_type"], one["track"], one["from"], one["to"]) for one in events]
    ours = np.array([one["time"] for one in found["transitions"]])
    theirs = np.array([datetime.fromisoformat(one["ts"]).timestamp() for one in events])
    # The median: a loaded machine may skip a picture now and then.
    assert np.median(np.abs((ours - ours[0]) - (theirs - theirs[0]))) <= 0.1


def test_frames_are_timed_by_their_timestamps(tmp_path: Path) -> None:
    pictures = portraits(4)
    slow = film(tmp_path / "slow.mkv", pictures, (n / FPS * 3 for n in range(len(pictures))))
    found = analyze(slow)
    assert found["seconds"] == pytest.approx(12, abs=0.5)
    appeared = [one["time"] for one in found["transitions"] if one["event_type"] == "face_appeared"]
    assert min(appeared) >= 0.3


def test_annotated_video_is_portable_and_keeps_timing(tmp_path: Path) -> None:
    pictures = [cv2.resize(image, (642, 362)) for image in portraits(2)]
    times = [n / FPS + 0.03 * (n % 2) for n in range(len(pictures))]
    video = film(tmp_path / "in.mkv", pictures, times)
    out = tmp_path / "out.mp4"
    analyze(video, "--annotate", out)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (642, 362)
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=0.002)
    drawn, bare = frames[-1].to_ndarray(format="bgr24"), pictures[-1]
    assert (np.abs(drawn.astype(int) - bare).max(axis=2) > 60).sum() > 500  # boxes and words
    assert np.ptp(drawn.astype(int), axis=2).max() > 50  # in color
    head = out.read_bytes()[:4096]
    assert head.index(b"moov") < head.index(b"mdat") if b"mdat" in head else b"moov" in head


def test_several_videos_share_one_timeline(clip: Path, tmp_path: Path) -> None:
    wall = film(tmp_path / "wall.mkv", [np.full((240, 320), 90, np.uint8)] * 20)
    plot = tmp_path / "plot.png"
    ended = emotion_edge("analyze", clip, wall, "--plot", plot)
    assert (ended.returncode, ended.stderr) == (0, "")
    first, *faces, last = ended.stdout.splitlines()
    assert first.startswith(f"{clip}: 14.")
    assert [line.split()[:2] for line in faces] == [["face", "1"], ["face", "2"]]
    assert last == f"{wall}: 2.0 s, 20 pictures, 0 with a face, 0 transitions"
    picture = cv2.imread(str(plot))
    assert picture.shape[1] > 900
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_bad_file_does_not_stop_the_others(clip: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.mp4"
    words.write_text("no video\n")
    ended = emotion_edge("analyze", words, clip, "--json")
    bad, good = (json.loads(line) for line in ended.stdout.splitlines())
    assert ended.returncode == 1
    assert bad["error"].startswith(f"{words}: ")
    assert good["frames"] == 140


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["{t}/none.mp4"], "{t}/none.mp4: no such file"),
        (["{t}"], "{t}: a folder; name the video files in it"),
        (["{t}/words.txt"], "{t}/words.txt: "),
        (["{v}", "--annotate", "{v}"], "--annotate {v}: is a video to be read; name another file"),
        (["{v}", "--csv", "{v}"], "--csv {v}: is a video to be read; name another file"),
        (["{v}", "--csv", "{t}/no/x.csv"], "--csv {t}/no/x.csv: no such folder; make it first"),
        (["{v}", "--csv", "{t}"], "--csv {t}: Is a directory"),
        (["{v}", "--annotate", "{t}/x.avi"], "--annotate {t}/x.avi: expected a name that ends in .mp4"),
        (["{v}", "{v}", "--annotate", "{t}/x.mp4"], "--annotate {t}/x.mp4: 2 videos; name one"),
        (["{v}", "--plot", "{t}/x.svg"], "--plot {t}/x.svg: expected a name that ends in .png"),
        (["{v}", "--csv", "/dev/full"], "--csv /dev/full: No space left on device"),
    ],
)
def test_invalid_request_gets_one_line(
    options: list[str], line: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.txt").write_text("no video\n")
    place = {"t": str(tmp_path), "v": str(clip)}
    assert main(["analyze", *(option.format(**place) for option in options)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(line.format(**place))
    assert message.count("\n") == 1
