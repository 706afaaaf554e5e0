"""Csv files with blank lines, unclosed quotes and invalid votes: each costs at most its own row."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.types import EdgeError
from training import data

PIXELS = " ".join(str(value % 256) for value in range(48 * 48))
GOOD = f"3,{PIXELS},Training"
HEADER = "emotion,pixels,Usage"
VOTES = ",".join(data.VOTES)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("bad", "reported"),
    [
        ('"3,1 2 3,Training', "an unclosed quote"),
        (f"3,{'1 ' * 100_000},Training", "field larger than field limit (131072)"),
    ],
)
def test_unparsable_row_is_named_and_costs_no_other_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: str, reported: str
) -> None:
    path = write(tmp_path / "f.csv", HEADER, GOOD, bad, GOOD)
    line = f"{path}:3: not a row of a csv: {reported}; expected emotion, pixels, usage"
    with pytest.raises(EdgeError) as caught:
        data.read([path])
    assert str(caught.value) == f"{line}; fix it, or skip it with --skip-bad"
    assert data.read([path], skip_bad=True).rows.tolist() == [0, 2]
    assert capsys.readouterr().err == f"{line}\nskipped: 1 bad row (--skip-bad)\n"


def test_unparsable_header_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", '"emotion,pixels', GOOD)
    with pytest.raises(EdgeError, match=r"f\.csv:1: not a row of a csv: an unclosed quote; "):
        data.read([path])
    path = write(tmp_path / "f.csv", GOOD)  # no header
    with pytest.raises(EdgeError) as caught:
        data.read([path])
    assert len(str(caught.value)) < len(str(path)) + 250


def test_blank_lines_are_not_rows_and_line_numbers_match_an_editor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = " ".join(["0"] * 48 * 48)
    path = write(tmp_path / "F.CSV", HEADER, GOOD, "", f"4,{black},Training", "  ", "")
    votes = write(tmp_path / "v.csv", VOTES, "0,10,0,0,0,0,0,0,0,0", "0,0,0,9,0,0,0,0,0,0", "")
    dataset = data.read([path], votes)
    assert dataset.labels.tolist() == [3, 4]
    assert dataset.votes[:, :4].tolist() == [[0, 10, 0, 0], [0, 0, 0, 9]]
    assert capsys.readouterr().err.startswith(f"{path}: line 4: blank (a single gray value); kept")


@pytest.mark.parametrize("count", ["x", "300", "²", "9" * 5000, "-1", "1.5", ""])
def test_row_with_unreadable_votes_is_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: str
) -> None:
    path = write(tmp_path / "f.csv", HEADER, GOOD, GOOD.replace("3,", "4,", 1), f"9,{PIXELS},Training")
    odd = f"{count},10,0,0,0,0,0,0,0,0"
    votes = write(tmp_path / "v.csv", VOTES, odd, "0,0,0,9,0,0,0,0,0,0", odd)
    dataset = data.read([path], votes, skip_bad=True)
    assert (dataset.labels.tolist(), dataset.rows.tolist()) == ([4], [1])
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == f"{path}:4: emotion '9'; expected a number 0 to 6"
    assert second.startswith(f"{votes}:2: votes '{count[:60]}")
    assert second.endswith("; expected ten numbers 0 to 255")
    assert last == "skipped: 2 bad rows (--skip-bad)"  # the third row is bad anyway


def test_votes_are_joined_to_exactly_one_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "f.csv", HEADER, GOOD)
    for paths in ([path, path], [tmp_path]):
        with pytest.raises(EdgeError, match=r"v\.csv: joined to a csv by row; expected one csv"):
            data.read(paths, tmp_path / "v.csv")
