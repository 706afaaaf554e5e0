"""Networks compared: cost, pairwise differences, averages over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.types import LABELS, EdgeError
from tests.tiny_onnx import level, write_onnx
from training.__main__ import main
from training.data import Dataset
from training.measure.compare import compare, count, p_text
from training.measure.model_files import open_network, open_networks

TRUTH = np.array([0, 1, 2, 3, 4, 5, 6, 3, 3, 3])


def rows() -> Dataset:
    images = np.stack([np.full((48, 48), level(LABELS[label]), np.uint8) for label in TRUTH])
    n = len(TRUTH)
    return Dataset(images, TRUTH, np.ones(n, np.uint8), np.zeros((n, 10), np.uint8), np.arange(n))


def write_run(folder: Path, seed: int, *, white: float, network: str = "made-up") -> Path:
    """A run with an ONNX network; *white* other than 255 makes its input too dark or bright."""
    folder.mkdir()
    record = {"network": network, "recipe": {"seed": seed, "epochs": 3}, "start_from": None}
    (folder / "recipe.json").write_text(json.dumps(record))
    return write_onnx(folder / "model.onnx", ["n", 48, 48, 1], white=white)


def test_rows_correct_in_only_one_network_are_counted_and_tested(tmp_path: Path) -> None:
    right = write_onnx(tmp_path / "right.onnx", ["n", 48, 48, 1])
    dark = write_onnx(tmp_path / "dark.onnx", ["n", 48, 48, 1], white=510)
    found = compare(open_networks([right, dark]), rows(), "PublicTest")
    assert [row.figures[0].accuracy for row in found.rows] == [1.0, 0.1]
    assert (found.rows[0].cost.parameters, found.rows[0].size) == (14, right.stat().st_size)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.only_first, pair.only_second) == ("right.onnx", "dark.onnx", 9, 0)
    assert pair.p == pytest.approx(1 / 2**9)


def test_runs_that_differ_only_in_seed_are_averaged(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / "a", 1, white=255),
        write_run(tmp_path / "b", 2, white=510),
        write_run(tmp_path / "c", 3, white=255, network="another"),
    ]
    (seeds,) = compare(open_networks(paths), rows(), "PublicTest").seeds
    assert (seeds.network, seeds.runs) == ("made-up", ["a/model.onnx", "b/model.onnx"])
    assert seeds.mean == pytest.approx(0.55)
    assert seeds.deviation == pytest.approx(0.9 / 2**0.5)


def test_damaged_record_of_a_run_is_named(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", 1, white=255)
    (tmp_path / "a" / "recipe.json").write_text("{")
    with pytest.raises(EdgeError, match=r"recipe\.json: not the record of a run"):
        compare([open_network(path)], rows(), "PublicTest")


def test_compare_prints_a_table_and_writes_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = rows()
    np.savez(tmp_path / "publictest.npz", images=data.images, labels=data.labels)
    runs = [write_run(tmp_path / "a", 1, white=255), write_run(tmp_path / "b", 2, white=510)]
    (runs[0].parent / "history.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n")
    out = tmp_path / "report"
    arguments = [*map(str, runs), "--data", str(tmp_path / "publictest.npz"), "--out", str(out)]
    assert main(["compare", *arguments]) == 0
    reported = capsys.readouterr().out
    assert "made-up, FER2013: 55.00 ± 63.64 %" in reported
    assert "FER2013: a/model.onnx 9, b/model.onnx 0, p = .002" in reported
    assert json.loads((out / "figures.json").read_text())["pairs"][0]["only_first"] == 9
    report = (out / "report.md").read_text().splitlines()
    assert "| a/model.onnx | 9 : 0, p = .002 |" in report
    first = "[a/model.onnx](recipes/a-model-onnx.json)"
    assert f"| {first} | 100.00 (72.25–100.00) | 0.195 | 14 | 7 | 1 kB | 2 of 3 |" in report
    assert (out / "recipes/a-model-onnx.json").read_text() == (tmp_path / "a/recipe.json").read_text()
    picture = cv2.imread(str(out / "comparison.png"))
    assert picture.shape[1] > 600
    assert (out / "comparison.png").stat().st_size < 60_000


def test_large_counts_are_abbreviated_and_small_p_values_bounded() -> None:
    assert [count(value) for value in (None, 7, 743_000, 31_234_567)] == ["–", "7", "743 k", "31.2 M"]
    assert [p_text(p) for p in (1e-9, 0.0391, 1.0)] == ["< .001", "= .039", "= 1.000"]
