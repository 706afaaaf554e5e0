"""`emotion-edge analyze --movements`: movements in a video; a slow video is rejected."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from edge.__main__ import main
from edge.sources.portraits import Portraits
from training.__main__ import main as train
from training.micro.faces import of_folder
from training.micro.render import Renderer
from training.micro.script import Movement, write_script

TRUTH = Movement("mouth_left", 1.0, 1.1, 1.25, 0.03, (-0.7, -0.7))


def film(path: Path, fps: int) -> Path:
    """A small portrait in a larger picture, moving its mouth once."""
    import cv2

    folder = path.parent / "face"
    folder.mkdir()
    cv2.imwrite(str(folder / "portrait.png"), Portraits(faces=1).render(0)[0])
    (person,) = of_folder(folder)
    script = write_script(1, seconds=2.6, moving=False, nuisances=False)
    script = replace(script, movements=(TRUTH,), eye_distance=90.0)
    renderer = Renderer(person, script)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = 480, 400, "gray"
        for _, image in renderer.frames(fps):
            picture = np.full((400, 480), 110, np.uint8)
            picture[40 : 40 + image.shape[0], 90 : 90 + image.shape[1]] = image
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode(None))
    return path


def test_movement_is_reported_with_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, table = film(tmp_path / "moves.mkv", 60), tmp_path / "table.csv"
    assert main(["analyze", "--movements", "--json", "--csv", str(table), str(video)]) == 0
    found = json.loads(capsys.readouterr().out)
    (moved,) = found["movements"]
    assert moved["region"] == "mouth_left"
    assert moved["onset"] == pytest.approx(TRUTH.onset, abs=0.06)
    assert moved["offset"] == pytest.approx(TRUTH.offset, abs=0.06)
    assert found["blinks"] == 0
    assert found["faces_too_small"] == []
    lines = table.read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["row"] == "movement"]
    assert [(row["event"], float(row["time"])) for row in rows] == [("mouth_left", moved["onset"])]


def test_spotter_finds_the_movement_in_an_interpolated_slow_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`emotion-train micro spot --videos`: its rate of movements per minute."""
    video = film(tmp_path / "slow.mkv", 30)
    assert train(["micro", "spot", "--videos", str(video)]) == 0
    first, moved, last = capsys.readouterr().out.splitlines()
    found = re.fullmatch(r"slow.mkv: 1 movements in (2\.\d) s with a face", first)
    assert found
    assert "mouth_left" in moved
    assert float(moved.split()[2]) == pytest.approx(TRUTH.onset, abs=0.08)
    seconds = float(found.group(1))
    assert last.startswith(f"together: 1 movements in {seconds} s, ")
    assert float(last.split()[6]) == pytest.approx(60 / seconds, abs=1)


def test_slow_video_is_rejected_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = film(tmp_path / "slow.mkv", 30)
    assert main(["analyze", "--movements", str(video)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("slow.mkv: --movements: 30.0 pictures a second; expected at least 58")
