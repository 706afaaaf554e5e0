"""Recognition of brief movements: CASME II's sheet and folders, and a protocol without leaks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge.types import EdgeError
from training.__main__ import main
from training.micro import recognize
from training.micro.casme import FIVE, labelled, make_casme, read_casme
from training.micro.evaluate import evaluate
from training.micro.recognize import Fold, Learner, features, folds
from training.micro.scores import accuracy, uar, uf1
from training.runs import import_keras

pytestmark = pytest.mark.timeout(600)  # seconds on an idle core; a loaded machine shares it
openpyxl = pytest.importorskip("openpyxl", reason="needs the extra train")
SUBJECTS, CLIPS = 3, 10
SHUFFLES, CHANCE_TOLERANCE = 4, 0.12  # 24 clips each: a standard error of .05; a leak goes beyond .57


@pytest.fixture(scope="module")
def casme_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("casme")
    make_casme(root, 40, SUBJECTS, CLIPS)
    return root


def test_synthetic_set_is_read_as_casme(casme_root: Path) -> None:
    samples, odd = read_casme(casme_root)
    assert len(samples) == SUBJECTS * CLIPS
    assert odd == ["CASME2-coding-made.xlsx:2: ApexFrame is '/'; using the midpoint"]
    assert {sample.emotion for sample in samples} == set(FIVE)
    kept, labels, names = labelled(samples, 3)
    assert names == ("negative", "positive", "surprise")
    assert len(kept) == SUBJECTS * CLIPS * 4 // 5  # all but "others"
    assert set(labels.tolist()) == {0, 1, 2}


def test_each_invalid_entry_gets_one_line(tmp_path: Path) -> None:
    make_casme(tmp_path, 7, 2, 5)
    (sheet,) = tmp_path.glob("*.xlsx")
    book = openpyxl.load_workbook(sheet)
    table = book.active
    table.cell(3, 2).value = "EP99_99"
    table.cell(4, 3).value = "soon"
    table.cell(5, 4).value = 1
    gone = tmp_path / "pictures" / "sub01" / "EP05_01"
    book.save(sheet)
    for picture in gone.iterdir():
        picture.rename(picture.with_name("x" + picture.name))
    samples, odd = read_casme(tmp_path)
    assert len(samples) == 2 * 5 - 4
    assert odd[1] == f"{sheet.name}:3: sub01/EP99_99: no such folder; skipped"
    assert odd[2] == f"{sheet.name}:4: OnsetFrame is 'soon'; expected a number; skipped"
    assert "expected ascending numbers" in odd[3]
    assert "no img" in odd[4]


def test_other_layouts_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="no CASME2-coding"):
        read_casme(tmp_path)
    book = openpyxl.Workbook()
    book.active.append(["Subject", "Filename"])
    book.save(tmp_path / "CASME2-coding-20140508.xlsx")
    with pytest.raises(EdgeError, match="no column 'OnsetFrame'"):
        read_casme(tmp_path)


def test_subject_in_both_halves_is_rejected() -> None:
    subjects = ["sub01", "sub01", "sub02", "sub03"]
    with pytest.raises(EdgeError, match="sub01: in both halves"):
        Fold.of(subjects, np.array([0, 2]), np.array([1, 3]))
    samples_and_features = []
    for fold in folds(subjects):
        out = {subjects[row] for row in fold.test}
        assert len(out) == 1
        assert out.isdisjoint(subjects[row] for row in fold.train)
        samples_and_features += fold.test.tolist()
    assert sorted(samples_and_features) == [0, 1, 2, 3]
    with pytest.raises(EdgeError, match="only one subject"):
        list(folds(["sub01", "sub01"]))


def test_scores_are_not_weighted_by_class_size() -> None:
    confusion = np.array([[90, 0, 0], [5, 5, 0], [10, 0, 0]])
    assert accuracy(confusion) == pytest.approx(95 / 110)
    assert uar(confusion) == pytest.approx((1 + 0.5 + 0) / 3)
    assert uf1(confusion) == pytest.approx((180 / 195 + 10 / 15 + 0) / 3)
    assert uf1(np.eye(3, dtype=int)) == 1


@pytest.fixture(scope="module")
def samples_and_features(casme_root: Path) -> tuple[list, dict[str, np.ndarray]]:
    samples, _ = read_casme(casme_root)
    return samples, features(samples)


def test_flow_shows_direction_of_movement(samples_and_features: tuple[list, dict[str, np.ndarray]]) -> None:
    samples, inputs = samples_and_features
    assert inputs["flow"].shape == (len(samples), recognize.SIDE, recognize.SIDE, 3)
    assert inputs["apex"].shape == (len(samples), recognize.SIDE, recognize.SIDE, 1)
    up = [row for row, sample in enumerate(samples) if sample.emotion == "surprise"]
    down = [row for row, sample in enumerate(samples) if sample.emotion == "others"]
    top = inputs["flow"][:, : recognize.SIDE // 2, :, 1]
    assert top[up].mean() < top[down].mean()


def test_training_learns_and_shuffled_labels_give_chance(
    samples_and_features: tuple[list, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """UF1 on synthetic clips only shows that the code runs and the network learns."""
    samples, inputs = samples_and_features
    keras = import_keras()
    learner = Learner(keras, 3, 3, 0)
    assert 2_000 <= learner.model.count_params() <= 50_000
    monkeypatch.setattr(recognize, "STEPS", 40)
    monkeypatch.setattr("training.micro.evaluate.INPUTS", {"flow": 3})
    (flow,) = evaluate(keras, samples, inputs, classes=(3,))
    assert flow.confusion.sum() == SUBJECTS * CLIPS * 4 // 5
    assert flow.losses.shape == (SUBJECTS, 40)
    assert flow.losses[:, -5:].mean() < 0.5 * flow.losses[:, :5].mean()  # it learns
    mean = np.mean(
        [
            uar(evaluate(keras, samples, inputs, classes=(3,), seed=seed, shuffled=True)[0].confusion)
            for seed in range(SHUFFLES)
        ]
    )
    assert mean == pytest.approx(1 / 3, abs=CHANCE_TOLERANCE)
    assert uar(flow.confusion) > 1 / 3 + 2 * CHANCE_TOLERANCE


def test_leak_raises_the_score_of_shuffled_labels(
    samples_and_features: tuple[list, dict[str, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training on the test subject too memorizes even shuffled labels."""
    samples, inputs = samples_and_features
    kept, labels, names = labelled(samples, 3)
    flows = inputs["flow"][[samples.index(sample) for sample in kept]]
    subjects = [sample.subject for sample in kept]
    monkeypatch.setattr(recognize, "STEPS", 40)
    whole = Fold(np.arange(len(kept)), np.arange(len(kept)))
    monkeypatch.setattr(recognize, "folds", lambda subjects: [whole])
    shuffled = np.random.default_rng(0).permutation(labels)
    confusion, _ = recognize.leave_one_out(import_keras(), flows, shuffled, subjects, len(names), 0)
    assert uar(confusion) > 1 / 3 + 2 * CHANCE_TOLERANCE


def test_evaluate_and_fit_write_their_results(
    casme_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recognize, "STEPS", 10)
    out = tmp_path / "report"
    assert main(["micro", "evaluate", "--data", str(casme_root), "--out", str(out)]) == 0
    assert "leave-one-subject-out" in capsys.readouterr().out
    found = json.loads((out / "figures.json").read_text())
    assert [(one["input"], len(one["classes"])) for one in found["results"]] == [
        ("flow", 3), ("apex", 3), ("flow", 5), ("apex", 5)
    ]  # fmt: skip
    assert "only show that the code runs" in (out / "report.md").read_text()
    for plot in (out / "confusion.png", out / "loss.png"):
        assert plot.read_bytes().startswith(b"\x89PNG")
        assert f"({plot.name})" in (out / "report.md").read_text()
    assert main(["micro", "fit", "--data", str(casme_root), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model.keras").exists()
    assert (tmp_path / "run" / "loss.png").read_bytes().startswith(b"\x89PNG")
