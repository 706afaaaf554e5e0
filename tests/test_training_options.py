"""Options of a run: teachers, early stopping, best epoch, seed, backend."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from training import data as data_sets
from training.__main__ import main

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PLAIN = "epochs = 1\nbatch = 21\nlearning_rate = 0.02\nferplus = 0.0\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """84 Training and 28 PublicTest pictures, some of them bright."""
    labels = np.arange(112) % 7
    images = np.random.default_rng(0).integers(0, 100, (112, 48, 48), np.uint8)
    images[labels < 3] += 100
    path = tmp_path_factory.mktemp("data") / "made_up.npz"
    np.savez(path, images=images, labels=labels, usage=(np.arange(112) >= 84).astype(np.uint8))
    return path


def arguments(data: Path, out: Path, recipe: str, *more: str) -> list[str]:
    path = out.with_name(f"{out.name}.toml")
    path.write_text(recipe)
    given = ["fit", "--model", "edge-xs", "--data", str(data), "--recipe", str(path), "--out", str(out)]
    return [*given, "--threads", "1", *more]


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "teacher"
    assert main(arguments(data, out, PLAIN, "--seed", "7")) == 0
    return out


def test_seed_option_is_in_the_record(run: Path) -> None:
    assert json.loads((run / "recipe.json").read_text())["recipe"]["seed"] == 7


def test_run_distils_its_teachers_and_records_them(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "student"
    recipe = PLAIN + 'distill = 0.6\nmixup = 0.2\noptimizer = "adam"\nschedule = "constant"\n'
    teachers = f"{run},{run / 'model.keras'}"
    assert main(arguments(data, out, recipe, "--teachers", teachers)) == 0
    record = json.loads((out / "recipe.json").read_text())
    assert [teacher["recipe"]["seed"] for teacher in record["teachers"]] == [7, 7]
    assert (record["recipe"]["distill"], len(history(out))) == (0.6, 1)


def test_incompatible_teachers_and_recipe_get_one_line(
    run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def last_line(recipe: str, *more: str) -> str:
        assert main(arguments(data, tmp_path / "none", PLAIN + recipe, *more)) == 1
        return capfd.readouterr().err.splitlines()[-1]

    assert last_line("distill = 0.5") == "the recipe distils (distill = 0.5); expected --teachers RUN,RUN"
    assert last_line("", "--teachers", str(run)).startswith("--teachers: unused by the recipe")
    (tmp_path / "model.keras").write_text("junk")
    message = last_line("distill = 0.5", "--teachers", str(tmp_path))
    assert message.startswith(f"{tmp_path}/model.keras: not a Keras model")
    assert last_line("distill = 0.5", "--teachers", str(tmp_path / "no")).startswith(f"{tmp_path}/no: ")
    assert not (tmp_path / "none").exists()


def test_early_stopping_ends_the_run_and_keeps_the_best_epoch(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    out = tmp_path / "stopped"
    recipe = PLAIN.replace("epochs = 1", "epochs = 12").replace("0.02", "0.3")  # too high for steady progress
    recipe += 'ema = 0.0\nearly_stopping = 2\nkeep = "best"\nschedule = "plateau"\nplateau_patience = 1\n'
    assert main(arguments(data, out, recipe)) == 0
    accuracies = [float(row["accuracy_fer2013"]) for row in history(out)]
    best = accuracies.index(max(accuracies))
    assert len(accuracies) == min(best + 3, 12)
    rows = data_sets.read([data]).split("PublicTest")
    model = keras.models.load_model(out / "model.keras", compile=False)
    chosen = model.predict(rows.images[..., None].astype(np.float32), verbose=0).argmax(1)
    assert float((chosen == rows.labels).mean()) == pytest.approx(accuracies[best], abs=1e-5)
    if len(accuracies) < 12:
        assert f"stopped: epoch {best + 1} was the best of {best + 3}" in capfd.readouterr().err
    rates = [float(row["learning_rate"]) for row in history(out)]
    assert rates[0] == pytest.approx(0.3)
    if best + 3 <= 12:
        assert rates[best + 2] == pytest.approx(rates[best] / 10)

    # A stopped run stays stopped.
    assert main(arguments(data, out, recipe, "--resume")) == 0
    assert [float(row["accuracy_fer2013"]) for row in history(out)] == accuracies


def test_missing_backend_gets_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(arguments(data, tmp_path / "out", PLAIN, "--backend", "torch")) == 1
    assert capsys.readouterr().err == (
        "--backend torch: not installed; run pip install torch, or choose another backend\n"
    )


def test_negative_number_of_workers_is_rejected(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments(data, tmp_path / "out", PLAIN, "--workers", "-1"))
    assert "'-1'; expected a whole number from 0 on" in capsys.readouterr().err
