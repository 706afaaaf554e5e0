"""`predict` on any pictures, as lines and as a grid; and `curves` of runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources.portraits import Portraits
from tests.tiny_onnx import level, write_onnx
from training.__main__ import main
from training.measure import predict


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_onnx(tmp_path_factory.mktemp("network") / "bright.onnx", ["n", 48, 48, 1]))


def write_picture(path: Path, label: str, size: int = 48) -> Path:
    cv2.imwrite(str(path), np.full((size, size, 3), level(label), np.uint8))
    return path


def test_each_picture_of_a_folder_gets_a_line_and_a_grid_cell(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, grid = tmp_path / "pictures", tmp_path / "grid.png"
    folder.mkdir()
    happy = write_picture(folder / "a.png", "happy")
    sad = write_picture(folder / "b.jpg", "sad", size=300)
    assert main(["predict", str(folder), "--model", model, "--out", str(grid)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{happy}: happy 0.79", f"{sad}: sad 0.79"]
    assert cv2.imread(str(grid)).shape == (255, 350, 3)
    assert grid.stat().st_size < 60_000


def test_unreadable_files_get_one_line_after_the_rest(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, text = write_picture(tmp_path / "a.png", "happy"), tmp_path / "text.png"
    text.write_text("hello")
    missing = tmp_path / "none.png"
    assert main(["predict", str(text), str(good), str(missing), "--model", model]) == 1
    reported = capsys.readouterr()
    assert reported.out.splitlines() == [f"{good}: happy 0.79"]
    assert reported.err.splitlines() == [
        f"{text}: not a readable image",
        f"{missing}: No such file or directory",
    ]


def test_truncated_grid_is_reported(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "SHOWN", 2)
    picture, grid = str(write_picture(tmp_path / "a.png", "happy")), tmp_path / "grid.png"
    assert main(["predict", picture, picture, picture, "--model", model, "--out", str(grid)]) == 0
    assert capsys.readouterr().err == f"{grid}: shows the first 2 of 3\n"
    assert cv2.imread(str(grid)).shape[1] == 350


def test_folder_without_pictures_is_named(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(tmp_path), "--model", model]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}: no images here; ")


def test_predict_faces_option_detects_faces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shipped network on the portraits camera, with known truth, and on a wall."""
    image, truth = Portraits(width=640, height=480, faces=2, paced=False).render(0)
    cv2.imwrite(str(tmp_path / "two.png"), image)
    wall = write_picture(tmp_path / "wall.png", "sad", size=300)
    out = tmp_path / "grid.png"
    assert main(["predict", str(tmp_path / "two.png"), str(wall), "--faces", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    seen = sorted(line.split(": ")[1].split()[0] for line in lines[:-1])
    assert seen == sorted(portrait.label for portrait in truth)
    assert lines[-1] == f"{wall}: no face"
    assert out.exists()


HEADER = "epoch,loss,learning_rate,accuracy_fer2013,accuracy_plus7,seconds\n"


def test_curves_are_drawn_for_each_run(tmp_path: Path) -> None:
    for name, accuracy in (("a", 0.4), ("b", 0.5)):
        (tmp_path / name).mkdir()
        lines = f"1,{2 * accuracy},.1,{accuracy},nan,9\n2,1.2,.1,.6,nan,9\n"
        (tmp_path / name / "history.csv").write_text(HEADER + lines)
    out = tmp_path / "curves.png"
    assert main(["curves", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    picture = cv2.imread(str(out))
    assert picture.shape == (350, 860, 3)
    for color in ((0x9F, 0x6F, 0x1F), (0x1F, 0x7B, 0xD9)):  # the first and the second run's lines
        near = np.abs(picture.astype(int) - color).max(2) < 12
        assert near.sum() > 100


def test_legend_for_twelve_runs_widens_the_plot(tmp_path: Path) -> None:
    runs = []
    for number in range(12):
        runs.append(tmp_path / f"run-{number}")
        runs[-1].mkdir()
        (runs[-1] / "history.csv").write_text(HEADER + f"1,{number},.1,.4,.6,9\n2,{number},.1,.5,.7,9\n")
    out = tmp_path / "curves.png"
    assert main(["curves", *map(str, runs), "--out", str(out)]) == 0
    assert cv2.imread(str(out)).shape[1] == 1040


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (None, "No such file or directory; expected a run's folder"),
        ("", "0 epochs of no columns; expected epoch and loss"),
        ("epoch,loss\n", "0 epochs of epoch, loss; expected epoch and loss"),
        ("epoch,loss\n1,x\n", "not the history of a run: could not convert string to float: 'x'"),
        ("epoch,loss\n1\n", "not the history of a run: list index out of range"),
    ],
)
def test_invalid_history_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, reported: str
) -> None:
    if text is not None:
        (tmp_path / "history.csv").write_text(text)
    assert main(["curves", str(tmp_path), "--out", str(tmp_path / "curves.png")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path}/history.csv: {reported}")


def test_missing_run_is_named_by_its_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curves", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == (
        f"{tmp_path}/none/history.csv: No such file or directory; expected a run's folder\n"
    )


@pytest.mark.parametrize("name", ["g.pdf", "g.jpg", "g"])
def test_output_name_other_than_png_is_rejected_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    reported = f"--out {tmp_path / name}: expected a name that ends in .png\n"
    for command in ("predict", "curves"):
        assert main([command, str(tmp_path), "--out", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err == reported
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    shutil.which("capsh") is None, reason="needs capsh to drop root's override of permissions"
)
def test_unreadable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    """Without root's privileges: an unreadable folder of pictures and runs, and an unreadable model."""
    locked, model = tmp_path / "locked", tmp_path / "locked.tflite"
    (locked / "run").mkdir(parents=True)
    model.write_bytes(b"hello")
    locked.chmod(0)
    model.chmod(0)
    wall = str(write_picture(tmp_path / "wall.png", "sad"))
    drop = ["capsh", "--drop=cap_dac_override,cap_dac_read_search", "--", "-c", 'exec "$@"', "sh"]
    code = "import sys; from training.__main__ import main\nfor one in sys.argv[1:]: main(one.split())"
    calls = [
        f"predict {locked}/a.png", f"predict {locked}", f"predict {wall} --model {model}",
        f"predict {wall} --model {locked}/run", f"curves {locked}/run --out {tmp_path}/c.png",
    ]  # fmt: skip
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-c", code, *calls]
    reported = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    locked.chmod(0o700)
    denied = "Permission denied"
    assert reported.splitlines() == [
        f"{locked}/a.png: {denied}", f"{locked}: {denied}", f"{model}: {denied}", f"{locked}/run: {denied}",
        f"{locked}/run/history.csv: {denied}; expected a run's folder",
    ]  # fmt: skip
