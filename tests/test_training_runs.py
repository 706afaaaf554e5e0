"""Resuming damaged or different runs, and files that are not our networks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.types import EdgeError
from tests.disk import fill, small_disk
from training import data as data_sets
from training.__main__ import main
from training.fit import records
from training.runs import load

# Keras 3.15 on TensorFlow copies variables in a way that numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RECIPE = "epochs = 1\nbatch = 21\nlearning_rate = 0.02\nferplus = 0.0\nseed = 3\n"


def write_data(path: Path, shift: int = 0) -> Path:
    """42 Training and 14 PublicTest pictures; *shift* changes the Training labels."""
    labels = np.arange(56) % 7
    labels[:42] = (labels[:42] + shift) % 7
    images = np.random.default_rng(0).integers(0, 256, (56, 48, 48), np.uint8)
    np.savez(path, images=images, labels=labels, usage=(np.arange(56) >= 42).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "made_up.npz")


def fit(data: Path, out: Path, *more: str, recipe: str = RECIPE, model: str = "edge-xs") -> list[str]:
    path = data.with_name("recipe.toml")
    path.write_text(recipe)
    given = ["fit", "--model", model, "--data", str(data), "--recipe", str(path), "--out", str(out)]
    return [*given, "--threads", "1", *more]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(fit(data, out)) == 0
    return out


Refusal = Callable[..., str]


@pytest.fixture
def refusal(capfd: pytest.CaptureFixture[str]) -> Refusal:
    """The last line of a command that fails."""

    def last_line(*given: str | Path) -> str:
        assert main([str(one) for one in given]) == 1
        return capfd.readouterr().err.splitlines()[-1]

    return last_line


def halve(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("checkpoint.npz", halve, "not a valid checkpoint of this network"),
        ("checkpoint.npz", lambda _: b"", "not a valid checkpoint of this network"),
        ("checkpoint.npz", flip_a_bit, "not a valid checkpoint of this network"),
        ("checkpoint.npz", lambda _: b"hello", "not a valid checkpoint of this network"),
        ("history.csv", lambda _: b"\xff\x00,,\n3\n", "not the history of a run: "),
        ("history.csv", lambda whole: whole[:-20], "not the history of a run: line 2: expected the columns"),
        ("history.csv", lambda whole: whole.replace(b"\n1,", b"\none,"), "not the history of a run: invalid"),
        ("history.csv", lambda _: b"", "0 epochs, the checkpoint has 1; use another --out"),
        ("recipe.json", lambda _: b"{", "not the record of a run: Expecting property name"),
        ("recipe.json", lambda _: b"\xff", "not the record of a run: 'utf-8' codec"),
        ("recipe.json", lambda _: b"[1]", "not the record of a run: expected an object with a recipe"),
        (
            "recipe.json",
            lambda _: b'{"recipe": 3}',
            "not the record of a run: expected an object with a recipe",
        ),
    ],
)
def test_damaged_run_is_not_resumed_and_the_damaged_file_named(
    run: Path,
    data: Path,
    tmp_path: Path,
    refusal: Refusal,
    name: str,
    damage: Callable[[bytes], bytes],
    message: str,
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(run, out)
    (out / name).write_bytes(damage((out / name).read_bytes()))
    assert refusal(*fit(data, out, "--resume")).startswith(f"{out}/{name}: {message}")


def test_run_resumes_only_with_the_same_rows_and_settings(
    run: Path, data: Path, tmp_path: Path, refusal: Refusal
) -> None:
    other = write_data(tmp_path / "shifted.npz", shift=1)
    place = f"{run}/recipe.json: made with other settings"
    assert refusal(*fit(other, run, "--resume")) == f"{place}: data; choose another --out"
    recipe = RECIPE.replace("21", "14") + "[augment]\nblur = 0.0\n"
    message = refusal(*fit(data, run, "--resume", recipe=recipe, model="plain"))
    assert message == f"{place}: network, recipe (augment.blur, batch); choose another --out"
    taught = fit(data, run, "--resume", "--teachers", str(run), recipe=RECIPE + "distill = 0.5\n")
    assert refusal(*taught) == f"{place}: recipe (distill), --teachers; choose another --out"
    assert main(fit(data, run, "--resume")) == 0


def test_run_without_a_data_hash_can_resume(run: Path, data: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    record = json.loads((old / "recipe.json").read_text())
    assert len(record.pop("data_hash")) == 16
    (old / "recipe.json").write_text(json.dumps(record))
    assert main(fit(data, old, "--resume")) == 0


def test_data_hash_is_independent_of_integer_type(data: Path) -> None:
    rows = data_sets.read([data])
    narrow = data_sets.Dataset(rows.images, rows.labels.astype(np.int8), rows.usage, rows.votes, rows.rows)
    assert records.data_hash(rows) == records.data_hash(narrow)
    private = data_sets.Dataset(rows.images, rows.labels, rows.usage * 2, rows.votes, rows.rows)
    assert records.data_hash(rows) != records.data_hash(private)


@pytest.mark.parametrize("room", [0, 60_000, 300_000, 1_500_000])
def test_full_disk_is_reported_and_leaves_no_partial_file(
    run: Path, data: Path, tmp_path: Path, refusal: Refusal, room: int
) -> None:
    with small_disk(tmp_path / "small", "4m"):
        foreign = fill(tmp_path / "small")
        os.truncate(foreign, foreign.stat().st_size - room)
        out = tmp_path / "small" / "run"
        commands = [fit(data, out), ["average", run, run, "--out", out]]
        for given in commands[: 2 if room < 1_000_000 else 1]:  # an average fits into more room
            message = refusal(*given)
            assert "No space left on device; expected a writable folder for --out" in message
            assert message.startswith(str(out))
            assert not list(out.glob(".*"))
            shutil.rmtree(out, ignore_errors=True)


def test_average_rejects_unusable_out_and_damaged_records(
    run: Path, tmp_path: Path, refusal: Refusal
) -> None:
    (tmp_path / "file").touch()
    message = refusal("average", run, run, "--out", tmp_path / "file")
    assert message == f"{tmp_path}/file: File exists; expected a writable folder for --out"
    torn = tmp_path / "torn"
    shutil.copytree(run, torn)
    (torn / "recipe.json").write_text("{")
    message = refusal("average", run, torn, "--out", tmp_path / "mean")
    assert message.startswith(f"{torn}/recipe.json: not the record of a run: ")


def test_average_and_start_from_accept_a_run_folder(run: Path, data: Path, tmp_path: Path) -> None:
    mean, second = tmp_path / "mean", tmp_path / "second"
    assert main(["average", str(run), str(run / "model.keras"), "--out", str(mean)]) == 0
    assert main(fit(data, second, "--start-from", str(mean), recipe=RECIPE + "ema = 0.0\n")) == 0
    assert json.loads((second / "recipe.json").read_text())["start_from"]["networks"] == 2


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keras files that are not networks of this project."""
    import keras

    folder, layers = tmp_path_factory.mktemp("networks"), keras.layers
    pixels = keras.Input((48, 48, 1))

    def dense(outputs: int):
        return layers.Dense(outputs, "softmax")(layers.Flatten()(pixels))

    keras.Model(pixels, dense(8)).save(folder / "eight.keras")
    keras.Model(pixels, [dense(7), dense(7)]).save(folder / "two.keras")
    keras.Model(pixels, layers.Conv2D(7, 3)(pixels)).save(folder / "map.keras")
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([layers.Flatten(), layers.Dense(7)]).save(folder / "unbuilt.keras")
    whole = (folder / "eight.keras").read_bytes()
    (folder / "cut.keras").write_bytes(halve(whole))
    (folder / "empty.keras").touch()
    (folder / "other.zip").write_bytes(whole)
    return folder


DAMAGED = "not a Keras model, or a damaged one; expected a whole .keras file"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cut.keras", DAMAGED),
        ("empty.keras", DAMAGED),
        ("other.zip", DAMAGED),
        ("none", "No such file or directory; expected a run's folder or its model.keras"),
        ("unbuilt.keras", "the input shape is undefined; save the network after building it"),
    ],
)
def test_invalid_network_is_reported_in_one_line(networks: Path, name: str, message: str) -> None:
    with pytest.raises(EdgeError) as caught:
        load(networks / name)
    assert str(caught.value) == f"{networks / name}: {message}"


def test_wrong_outputs_of_a_network_are_named(
    networks: Path, data: Path, tmp_path: Path, refusal: Refusal
) -> None:
    for name, taught, measured in (
        ("eight", "(None, 8)", "8 outputs; expected 7"),
        (
            "two",
            "[(None, 7), (None, 7)]",
            "1 inputs, 2 outputs; expected one of each "
            "(for face detectors use emotion-train detector evaluate)",
        ),
        ("map", "(None, 46, 46, 7)", "46 x 46 x 7 outputs; expected 7"),
    ):
        file = networks / f"{name}.keras"
        given = fit(data, tmp_path / "out", "--teachers", str(file), recipe=RECIPE + "distill = 0.5\n")
        expected = "expected (None, 48, 48, 1) and (None, 7)"
        assert refusal(*given) == f"{file}: takes (None, 48, 48, 1), gives {taught}; {expected}"
        assert refusal("evaluate", file, "--data", data) == f"{file}: {measured}"


def test_network_name_is_checked_before_reading_data(tmp_path: Path, refusal: Refusal) -> None:
    given = fit(tmp_path / "none.npz", tmp_path / "out", model="nosuch")
    assert refusal(*given).startswith("--model nosuch: unknown network; expected cnn-64-128-256, ")


def test_out_of_range_seed_is_rejected(data: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit):
        main(fit(data, tmp_path / "out", "--seed", "99999999999"))
    assert "'99999999999'; expected a whole number from 0 to 2147483647" in capsys.readouterr().err


def test_unknown_backend_gets_one_line(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", *fit(data, tmp_path / "out")]
    environment = {**os.environ, "KERAS_BACKEND": "foo"}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (
        1,
        "keras: Unable to import backend : foo; "
        "run `pip install emotion-edge[train]`, or set KERAS_BACKEND=tensorflow\n",
    )


REST = ["--data", "x", "--out", "x"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["fit", "--model", "x", *REST], "stopped; continue after the last complete epoch with --resume\n"),
        (["campaign", "x.toml", *REST], "stopped; run the same command again to resume\n"),
        (["evaluate", "x", "--data", "x"], ""),
        (["curves", "x"], ""),
    ],
)  # fmt: skip
def test_only_resumable_commands_mention_resuming_when_stopped(
    command: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(f"training.__main__._{command[0]}", stop)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(command) == 130
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == message
