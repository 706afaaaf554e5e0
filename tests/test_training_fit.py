"""A run on synthetic pictures: the files it writes, and that a kill costs at most one epoch."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.broker import eventually
from training.__main__ import main
from training.fit import records

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RECIPE = "epochs = 4\nbatch = 35\nlearning_rate = 0.02\nferplus = 0.0\nseed = 3\nsnapshots = 2\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """420 Training and 70 PublicTest pictures: a bright square's place is the label; 1 blank, 2 leaked."""
    labels = np.arange(490) % 7
    images = np.random.default_rng(0).integers(0, 100, (490, 48, 48), np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(int(label), 3)
        image[top * 16 : top * 16 + 14, left * 16 : left * 16 + 14] += 150
    images[0] = 77
    images[[7, 14]] = images[[420, 427]]
    path = tmp_path_factory.mktemp("data") / "made_up.npz"
    np.savez(path, images=images, labels=labels, usage=(np.arange(490) >= 420).astype(np.uint8))
    return path


def arguments(data: Path, out: Path, *more: str, model: str = "plain") -> list[str]:
    recipe = data.with_name("recipe.toml")
    recipe.write_text(RECIPE)
    given = [
        "fit",
        "--model",
        model,
        "--data",
        data,
        "--recipe",
        recipe,
        "--out",
        out,
        "--threads",
        "1",
        *more,
    ]
    return [str(one) for one in given]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run.

    In a process of its own: there --threads 1 counts, and sums come in one order. In this one another
    test may have started TensorFlow with more.
    """
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert start_process(arguments(data, out)).wait() == 0
    return out


def start_process(given: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "training", *given], stderr=subprocess.DEVNULL)


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_run_writes_network_record_and_calibration_data(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == [
        "calibration.npz", "checkpoint.npz", "epoch-003.keras", "epoch-004.keras", "history.csv",
        "model.keras", "recipe.json", "tensorboard",
    ]  # fmt: skip
    assert [row["epoch"] for row in history(run)] == ["1", "2", "3", "4"]
    record = json.loads((run / "recipe.json").read_text())
    assert (record["network"], record["training_rows"], record["recipe"]["batch"]) == ("plain", 417, 35)
    with np.load(run / "calibration.npz") as archive:
        assert archive["images"].shape[0] == 417 + 70
        assert np.bincount(archive["usage"]).tolist() == [417, 70]


def test_loss_falls(run: Path) -> None:
    losses = [float(row["loss"]) for row in history(run)]
    assert losses[-1] < losses[0]


@pytest.mark.timeout(900)  # three processes that each import a backend
def test_killed_run_resumes_on_the_same_curve(data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    process = start_process(arguments(data, out, "--workers", "2"))
    assert eventually((out / "checkpoint.npz").exists, 400)
    time.sleep(random.uniform(0, 0.2))  # any moment after the first checkpoint
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=120)[1] == []  # the workers ended with their parent
    assert len(history(out)) >= 1
    # Without workers: the result does not depend on their number.
    assert start_process(arguments(data, out, "--resume")).wait() == 0
    for resumed, whole in zip(history(out), history(run), strict=True):
        assert resumed["epoch"] == whole["epoch"]
        assert float(resumed["loss"]) == pytest.approx(float(whole["loss"]), rel=1e-3)
        assert float(resumed["accuracy_fer2013"]) == pytest.approx(float(whole["accuracy_fer2013"]), abs=0.06)


def test_run_of_an_older_recipe_can_resume(data: Path, run: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    record = json.loads((old / "recipe.json").read_text())
    for key in ("optimizer", "schedule", "mixup", "distill"):
        del record["recipe"][key]
    del record["recipe"]["augment"]["jpeg"]
    (old / "recipe.json").write_text(json.dumps(record))
    assert main(arguments(data, old, "--resume")) == 0
    assert history(old) == history(run)


def test_skipped_rows_are_reported_and_counted(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = data.with_name("huge.toml")
    recipe.write_text(RECIPE.replace("batch = 35", "batch = 1000"))
    code = main(
        ["fit", "--model", "plain", "--data", str(data), "--recipe", str(recipe), "--out", str(tmp_path)]
    )
    assert code == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "Training rows skipped, of 420: 1 blank, 2 with pixels that recur in PublicTest",
        "417 usable Training rows; expected 1000 (a batch) or more",
    ]


def test_run_is_neither_overwritten_nor_resumed_as_another(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def last_line(*given: str, model: str = "plain", out: Path = run) -> str:
        assert main(arguments(data, out, *given, model=model)) == 1
        return capsys.readouterr().err.splitlines()[-1]

    assert last_line() == f"{run}: contains a run; continue it with --resume, or choose another --out"
    message = last_line("--resume", model="edge-s")
    assert message == f"{run}/recipe.json: made with other settings: network; choose another --out"
    assert last_line("--resume", out=tmp_path).startswith(f"{tmp_path}: no run to resume here")
    assert last_line(model="big", out=tmp_path).startswith(
        "--model big: unknown network; expected cnn-64-128-256, "
    )


def test_one_folder_cannot_be_trained_in_twice_at_once(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with records.open_run(out, {}, resume=False, defaults={}):
        before = (out / "recipe.json").read_bytes()
        for given in ([], ["--resume"]):
            assert main(arguments(data, out, *given)) == 1
            reported = capsys.readouterr().err.splitlines()[-1]
            assert reported == f"{out}: in use by another emotion-train; choose another --out"
        assert (out / "recipe.json").read_bytes() == before
    with records.open_run(out, {}, resume=False, defaults={}):
        pass  # the lock was released


def test_recipe_with_votes_needs_votes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--model", "plain", "--data", str(data), "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("the data has no votes; add --ferplus FILE")


def test_evaluate_measures_the_network_of_a_run(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    model = str(run / "model.keras")
    assert main(["evaluate", model, "--data", str(data), "--json", str(report)]) == 0
    (figures,) = json.loads(report.read_text())["figures"]
    assert (figures["data"], figures["split"], figures["n"]) == ("FER2013", "PublicTest", 70)
    assert figures["accuracy"] == pytest.approx(float(history(run)[-1]["accuracy_fer2013"]), abs=1e-6)
    assert "FER2013, PublicTest, n = 70" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none.keras", "No such file or directory"),
        ("text.keras", "not a Keras model"),
        ("model.h6", "unknown format .h6"),
    ],
)
def test_evaluate_rejects_invalid_models_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, line: str
) -> None:
    path = tmp_path / name
    if not name.startswith("none"):
        path.write_text("hello")
    assert main(["evaluate", str(path), "--data", str(data)]) == 1
    (reported,) = capsys.readouterr().err.splitlines()
    assert reported.startswith(f"{path}: {line}")


def test_run_starts_from_other_weights_and_records_it(run: Path, data: Path, tmp_path: Path) -> None:
    import keras

    options = arguments(data, tmp_path / "second", "--start-from", str(run / "model.keras"))
    still = "epochs = 1\nbatch = 35\nlearning_rate = 0.0\nweight_decay = 0.0\nferplus = 0.0\nema = 0.0\n"
    data.with_name("recipe.toml").write_text(still)
    assert main(options) == 0
    first, second = (
        keras.models.load_model(path / "model.keras", compile=False).trainable_variables
        for path in (run, tmp_path / "second")
    )
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(before, after)
    record = json.loads((tmp_path / "second" / "recipe.json").read_text())
    assert record["start_from"]["recipe"]["epochs"] == 4


@pytest.mark.parametrize(
    ("content", "message"), [(None, "another architecture than edge-s"), (b"junk", "not a Keras model")]
)
def test_unusable_start_weights_get_one_line(
    content: bytes | None,
    message: str,
    run: Path,
    data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    weights = run / "model.keras"
    if content is not None:
        weights = tmp_path / "junk.keras"
        weights.write_bytes(content)
    options = arguments(data, tmp_path / "out", "--start-from", str(weights), model="edge-s")
    assert main(options) == 1
    assert message in capfd.readouterr().err.splitlines()[-1]


def test_average_is_the_mean_of_the_weights(run: Path, data: Path, tmp_path: Path) -> None:
    import keras

    one, mean = keras.models.load_model(run / "model.keras", compile=False), tmp_path / "mean"
    one.set_weights([3 * weight for weight in one.get_weights()])
    (tmp_path / "tripled").mkdir()
    one.save(tmp_path / "tripled" / "model.keras")
    for name in ("recipe.json", "calibration.npz"):
        (tmp_path / "tripled" / name).write_bytes((run / name).read_bytes())
    runs = [str(run / "model.keras"), str(tmp_path / "tripled" / "model.keras")]
    assert main(["average", *runs, "--out", str(mean)]) == 0
    averaged = keras.models.load_model(mean / "model.keras", compile=False).get_weights()
    for tripled, found in zip(one.get_weights(), averaged, strict=True):
        np.testing.assert_allclose(found, tripled * 2 / 3, rtol=1e-6)
    record = json.loads((mean / "recipe.json").read_text())
    assert record == {**json.loads((run / "recipe.json").read_text()), "networks": 2}  # kept once
    assert (mean / "calibration.npz").exists()


def test_averaging_one_network_is_rejected(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["average", str(run / "model.keras"), "--out", str(tmp_path / "mean")]) == 1
    assert "only one network; expected two or more" in capfd.readouterr().err


def test_balance_shifts_the_biases_and_nothing_else(
    run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import keras

    out = tmp_path / "balanced"
    assert main(["balance", str(run), "--data", str(data), "--strength", "0.4", "--out", str(out)]) == 0
    printed = capfd.readouterr().out
    assert "single crop: " in printed
    assert "cross-validated " in printed
    recorded = json.loads((out / "recipe.json").read_text())["balanced"]
    assert (recorded["strength"], recorded["votes"]) == (0.4, True)
    before, after = (keras.models.load_model(one / "model.keras", compile=False) for one in (run, out))
    *same, bias = before.get_weights()
    *others, shifted = after.get_weights()
    for one, other in zip(same, others, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(shifted - bias, list(recorded["shifts"].values()), atol=1e-4)
    assert (out / "calibration.npz").read_bytes() == (run / "calibration.npz").read_bytes()


def test_balance_adds_a_shift_to_the_fitted_one(
    run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shifts = []
    for name, more in (("plain", []), ("more", ["--shift", "disgust=0.5"])):
        given = ["balance", str(run), "--data", str(data), *more, "--out", str(tmp_path / name)]
        assert main(given) == 0
        shifts.append(json.loads((tmp_path / name / "recipe.json").read_text())["balanced"]["shifts"])
    assert shifts[1].pop("disgust") - shifts[0].pop("disgust") == pytest.approx(0.5, abs=1e-3)
    assert shifts[1] == shifts[0]
    given = ["balance", str(run), "--data", str(data), "--shift", "nosuch=1", "--out", str(tmp_path / "x")]
    assert main(given) == 1
    assert "--shift nosuch: no such label; expected angry, disgust, " in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main([*given[:-3], "disgust", *given[-2:]])
    assert "'disgust'; expected a label and a number, as in disgust=0.5" in capfd.readouterr().err


def test_balance_needs_rows_of_each_label(
    run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with np.load(data) as archive:
        kept = (archive["usage"] == 0) | (archive["labels"] != 1)
        np.savez(tmp_path / "fewer.npz", **{name: archive[name][kept] for name in archive})
    given = ["balance", str(run), "--data", str(tmp_path / "fewer.npz"), "--out", str(tmp_path / "out")]
    assert main(given) == 1
    assert "no PublicTest rows of disgust in the data" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_balance_refuses_other_labels_and_incomplete_runs(
    run: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    partial = tmp_path / "partial"
    partial.mkdir()
    for name in ("model.keras", "recipe.json"):
        shutil.copy(run / name, partial / name)
    given = ["--data", str(data), "--out", str(tmp_path / "out")]
    assert main(["balance", str(partial), *given]) == 1
    assert f"{partial}: no calibration.npz; expected" in capfd.readouterr().err
    record = json.loads((partial / "recipe.json").read_text())
    (partial / "recipe.json").write_text(json.dumps({**record, "labels": ["smile", "no_smile"]}))
    shutil.copy(run / "calibration.npz", partial)
    assert main(["balance", str(partial), *given]) == 1
    assert "the run's labels are smile, no_smile, the data's angry, disgust" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
