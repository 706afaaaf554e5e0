"""Evaluation of a network with known predictions: both label sets, leaks, mirror images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from edge.types import LABELS, EdgeError
from tests.tiny_onnx import level, write_onnx
from training.__main__ import main
from training.data import VOTES, Dataset
from training.measure.compare import compare
from training.measure.evaluate import Evaluation, chosen_split, evaluate, label_sets, table
from training.measure.model_files import Network, open_network

# label, prediction, split, FER+ vote (ten times)
ROWS = (
    ("happy", "happy", 0, "happiness"),
    ("angry", "angry", 0, "anger"),
    ("happy", "happy", 1, "happiness"),  # recurs in Training
    ("sad", "sad", 1, "neutral"),
    ("fear", "surprise", 1, "surprise"),
    ("neutral", "neutral", 1, "NF"),
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return open_network(write_onnx(tmp_path_factory.mktemp("network") / "bright.onnx", ["n", 48, 48, 1]))


def pictures() -> Dataset:
    images = np.stack([np.full((48, 48), level(seen), np.uint8) for _, seen, _, _ in ROWS])
    images[1:, 0, 0] = np.arange(1, len(ROWS)) * 9  # all different …
    images[2] = images[0]  # … except the leaked one
    votes = np.zeros((len(ROWS), len(VOTES)), np.uint8)
    for row, (_, _, _, vote) in enumerate(ROWS):
        votes[row, VOTES.index(vote)] = 10
    labels = np.array([LABELS.index(label) for label, _, _, _ in ROWS])
    usage = np.array([usage for _, _, usage, _ in ROWS], np.uint8)
    return Dataset(images, labels, usage, votes, np.arange(len(ROWS)))


def accuracies(found: Evaluation, of: str) -> list[tuple[str, int, float]]:
    return [(one.data, one.n, one.accuracy) for one in getattr(found, of)]


def test_both_label_sets_are_evaluated_with_and_without_leaked_rows(network: Network) -> None:
    found = evaluate(network, pictures(), "PublicTest")
    assert accuracies(found, "figures") == [("FER2013", 4, 3 / 4), ("FER+ majority (plus7)", 3, 2 / 3)]
    assert accuracies(found, "without_leaked_rows") == [
        ("FER2013", 3, 2 / 3),
        ("FER+ majority (plus7)", 2, 1 / 2),
    ]
    assert found.mirrored == []


def test_without_training_rows_or_votes_there_is_one_set_of_figures(network: Network) -> None:
    rows = pictures().split("PublicTest")
    bare = Dataset(rows.images, rows.labels, rows.usage, np.zeros_like(rows.votes), rows.rows)
    found = evaluate(network, bare, "PublicTest")
    assert accuracies(found, "figures") == [("FER2013", 4, 3 / 4)]
    assert found.without_leaked_rows == []
    assert "rows that also occur in Training: unknown (add the Training rows to --data)" in table(found)


def test_table_says_if_no_row_recurs_in_training(network: Network) -> None:
    rows = pictures()
    found = evaluate(network, rows.take(np.arange(len(rows)) != 0), "PublicTest")  # without the leaked row
    assert found.without_leaked_rows == []
    assert table(found).splitlines()[-1] == "  no row's exact pixels also occur in Training"


def test_votes_without_a_majority_form_no_label_set(network: Network) -> None:
    rows = pictures().split("PublicTest")
    split = dataclasses.replace(rows, votes=np.full_like(rows.votes, 2))
    assert [one.name for one in label_sets(split)] == ["FER2013"]
    assert accuracies(evaluate(network, split, "PublicTest"), "figures") == [("FER2013", 4, 3 / 4)]
    assert [one.data for one in compare([network], split, "PublicTest").rows[0].figures] == ["FER2013"]


def test_label_set_is_named_by_the_source_of_its_rows() -> None:
    rows = pictures()
    mixed = dataclasses.replace(rows, source=np.array(["FER2013", "mine", "mine", "mine", "theirs", "mine"]))
    assert [label_sets(mixed.split(split))[0].name for split in ("Training", "PublicTest")] == [
        "FER2013 + mine",
        "mine + theirs",
    ]


def test_training_rows_are_not_leaks_of_themselves(network: Network) -> None:
    assert evaluate(network, pictures(), "Training").without_leaked_rows == []


def test_mirrored_average_is_a_separate_line(network: Network) -> None:
    found = evaluate(network, pictures(), "PublicTest", mirror=True)
    # The network only uses the mean, so mirroring changes nothing.
    assert accuracies(found, "mirrored") == accuracies(found, "figures")
    lines = [line.split()[:3] for line in table(found).splitlines()]
    assert lines.count(["mean", "with", "mirror"]) == 2
    assert lines.count(["not", "in", "Training"]) == 2


def test_picture_and_mirror_image_weigh_the_same(network: Network) -> None:
    def by_the_left_corner(tensor: np.ndarray) -> np.ndarray:
        return np.eye(7)[(tensor[:, 0, 0, 0] > 0).astype(int)] * 0.9 + 0.1 / 7

    left = Network("left", network.path, network.opened._replace(run=by_the_left_corner), network.contract)
    images = np.zeros((1, 48, 48), np.uint8)
    images[0, 0, 0] = 255
    one = Dataset(images, np.array([1]), np.array([1], np.uint8), np.zeros((1, 10), np.uint8), np.arange(1))
    found = evaluate(left, one, "PublicTest", mirror=True)
    assert found.figures[0].reliability[0].confidence == pytest.approx(0.9 + 0.1 / 7)
    assert found.mirrored[0].reliability[0].confidence == pytest.approx(0.45 + 0.1 / 7)


def test_split_without_rows_names_those_that_have_some() -> None:
    with pytest.raises(EdgeError, match=r"no rows of PrivateTest .*; use --split Training or PublicTest"):
        chosen_split(pictures(), "PrivateTest")
    with pytest.raises(EdgeError, match="--split public: expected Training, PublicTest, PrivateTest"):
        chosen_split(pictures(), "public")


def write_npz(folder: Path) -> Path:
    rows = pictures()
    path = folder / "rows.npz"
    np.savez(path, images=rows.images, labels=rows.labels, usage=rows.usage, ferplus=rows.votes)
    return path


def test_evaluate_writes_report_json_and_plots(network: Network, tmp_path: Path) -> None:
    report, figures = tmp_path / "reports" / "made-up", tmp_path / "figures.json"
    reported = ["--data", str(write_npz(tmp_path)), "--out", str(report), "--json", str(figures), "--tta"]
    assert main(["evaluate", str(network.path), *reported]) == 0
    assert sorted(file.name for file in report.iterdir()) == [
        "bright-onnx-confusion.png",
        "bright-onnx-reliability.png",
        "figures.json",
        "report.md",
    ]
    value = json.loads(figures.read_text())
    assert value == json.loads((report / "figures.json").read_text())
    assert [one["accuracy"] for one in value["figures"]] == [3 / 4, 2 / 3]
    lines = (report / "report.md").read_text().splitlines()
    assert "| FER2013 | all | 4 | 75.00 (30.06–95.44) | 75.00 | 0.120 |" in lines
    assert "| FER2013 | not in Training | 3 | 66.67 (20.77–93.85) | 66.67 | 0.231 |" in lines
    assert "![Confusion matrices](bright-onnx-confusion.png)" in lines


def test_unwritable_report_gets_one_line(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    data = str(write_npz(tmp_path))
    assert main(["evaluate", str(network.path), "--data", data, "--out", str(tmp_path / "file" / "x")]) == 1
    reported = capsys.readouterr().err.splitlines()[-1]
    assert reported == f"{tmp_path}/file/x: Not a directory; expected a writable folder for --out"
