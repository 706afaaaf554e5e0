"""A plan of several runs on random pictures: order, failure, time limit, another machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from edge.types import EdgeError
from tests.broker import eventually
from training.__main__ import main
from training.campaign import Run, campaign, read_plan

REPOSITORY = Path(__file__).resolve().parents[1]
QUICK = "epochs = 1\nbatch = 7\nferplus = 0.0\n"
ENDLESS = "epochs = 100000\nbatch = 7\nferplus = 0.0\n"


@pytest.fixture(scope="module")
def data_arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Data arguments of every fit: 28 Training and 7 PublicTest pictures."""
    random = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "made_up.npz"
    usage = (np.arange(35) >= 28).astype(np.uint8)
    np.savez(
        path, images=random.integers(0, 256, (35, 48, 48), np.uint8), labels=np.arange(35) % 7, usage=usage
    )
    return ["--data", str(path), "--threads", "1"]


def recipe(folder: Path, text: str) -> Path:
    path = folder / f"{len(list(folder.glob('*.toml')))}.toml"
    path.write_text(text)
    return path


def plan_of(folder: Path, teachers: dict[str, list[str]]) -> Path:
    """A plan of runs with these names and teachers, of a network that does not exist."""
    recipe(folder, QUICK)
    plan = folder / "plan"
    plan.write_text(
        "".join(
            f'[[run]]\nname = "{name}"\nmodel = "no-such"\nrecipe = "0.toml"\nteachers = {of}\n'
            for name, of in teachers.items()
        )
    )
    return plan


def test_run_waits_for_its_start_and_a_second_call_does_nothing(
    tmp_path: Path, data_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path, QUICK)
    plan = tmp_path / "plan"
    plan.write_text(
        '[[run]]\nname = "first"\nmodel = "plain"\nrecipe = "0.toml"\n'
        '[[run]]\nname = "second"\nmodel = "plain"\nrecipe = "0.toml"\nstart_from = "first"\n'
    )
    command = ["campaign", str(plan), "--out", str(tmp_path / "runs"), "--parallel", "2", *data_arguments]
    assert main(command) == 0
    begun = [line for line in capsys.readouterr().err.splitlines() if line.endswith("started")]
    assert begun == ["first: started", "second: started"]
    first, second = (os.path.getmtime(tmp_path / "runs" / name / "finished") for name in ("first", "second"))
    assert first < second
    assert main(command) == 0
    assert capsys.readouterr().err == ""


def test_failed_run_is_reported_and_only_dependent_runs_are_skipped(
    tmp_path: Path, data_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    quick = recipe(tmp_path, QUICK)
    runs = [
        Run("wrong", "no-such-network", quick),
        Run("needs-it", "plain", quick, start_from="wrong"),
        Run("good", "plain", quick),
    ]
    with pytest.raises(EdgeError, match="2 of 3 runs failed: wrong, needs-it"):
        campaign(runs, tmp_path / "runs", data_arguments)
    reported = capsys.readouterr().err
    assert "wrong: failed: --model no-such-network: unknown network" in reported
    assert "needs-it: skipped: needs wrong" in reported
    assert (tmp_path / "runs" / "good" / "finished").exists()


def test_run_stopped_by_the_time_limit_resumes_elsewhere(
    tmp_path: Path, data_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, history = (
        [Run("long", "plain", recipe(tmp_path, ENDLESS))],
        tmp_path / "runs" / "long" / "history.csv",
    )

    def lines() -> int:
        return history.read_text().count("\n") if history.exists() else 0

    # Files another machine needs to resume; an epoch writes them one after another.
    kept = ("recipe.json", "history.csv", "checkpoint.npz", "model.keras")

    def whole_epoch() -> bool:
        return lines() > 1 and all((history.parent / name).exists() for name in kept)

    assert not campaign(runs, tmp_path / "runs", data_arguments, time_is_up=whole_epoch)
    before = lines()
    there = tmp_path / "there" / "long"
    there.mkdir(parents=True)
    for name in kept:
        (history.parent / name).rename(there / name)
    history = there / "history.csv"
    assert not campaign(runs, there.parent, data_arguments, time_is_up=lambda: lines() > before)
    assert "long: resumed" in capsys.readouterr().err
    assert not (there / "finished").exists()


def test_exit_code_distinguishes_time_limit_from_failed_run(
    tmp_path: Path, data_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, {"wrong": []})
    command = ["campaign", str(plan), "--out", str(tmp_path / "runs"), *data_arguments]
    assert main([*command, "--minutes", "0"]) == 75
    assert capsys.readouterr().err == "0 minutes are over; run the same command again to resume\n"
    assert main(command) == 1
    assert "1 of 1 runs failed: wrong" in capsys.readouterr().err


def test_file_in_place_of_the_out_folder_gets_one_line(
    tmp_path: Path, data_arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, {"a": []})
    assert main(["campaign", str(plan), "--out", str(plan), *data_arguments]) == 1
    reported = f"{plan}: File exists; expected a writable folder for --out\n"
    assert capsys.readouterr().err == reported


def test_terminated_background_campaign_stops_its_runs(tmp_path: Path, data_arguments: list[str]) -> None:
    recipe(tmp_path, ENDLESS)
    plan, out = tmp_path / "plan", tmp_path / "runs"
    plan.write_text('[[run]]\nname = "long"\nmodel = "plain"\nrecipe = "0.toml"\n')
    # A shell starts background jobs with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        command = [
            sys.executable,
            "-m",
            "training",
            "campaign",
            str(plan),
            "--out",
            str(out),
            *data_arguments,
        ]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert eventually((out / "long" / "recipe.json").exists, 150)
        (run,) = psutil.Process(process.pid).children()
        process.terminate()
        assert process.wait(120) == 130
        assert not run.is_running()
    finally:
        process.kill()
        process.wait()


def test_plan_makes_a_run_per_seed_and_finds_recipes_next_to_it(tmp_path: Path) -> None:
    quick = recipe(tmp_path, QUICK)
    plan = tmp_path / "plan"
    plan.write_text(
        '[[run]]\nname = "big"\nmodel = "edge-s"\nrecipe = "0.toml"\nseeds = [1, 2]\n'
        '[[run]]\nname = "small"\nmodel = "plain"\nrecipe = "0.toml"\nteachers = ["big-1", "big-2"]\n'
    )
    assert read_plan(plan) == [
        Run("big-1", "edge-s", quick, 1),
        Run("big-2", "edge-s", quick, 2),
        Run("small", "plain", quick, None, ("big-1", "big-2")),
    ]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", "nothing; expected [[run]] tables only"),
        ("[run]\n", "run; expected [[run]] tables only"),
        ('[[run]]\nname = "a"\nmodel = "plain"\n', "run 1: no recipe"),
        ('[[run]]\nname = "a"\nmodel = 3\n', "run 1: model: 3; expected a str"),
        ('[[run]]\nnom = "a"\n', "run 1: nom: unknown key; expected name, model, recipe"),
        ('[[run]]\nname = "a"\nmodel = "plain"\nrecipe = "x.toml"\n', "x.toml: no such file"),
        (
            '[[run]]\nname = "a"\nmodel = "p"\nrecipe = "0.toml"\nseeds = []\n',
            "seeds: []; expected whole numbers",
        ),
        (
            '[[run]]\nname = "a"\nmodel = "p"\nrecipe = "0.toml"\nteachers = ["b"]\n',
            "a: no run b before it",
        ),
        (
            '[[run]]\nname = ""\nmodel = "p"\nrecipe = "0.toml"\n',
            "run 1: name: ''; expected letters, digits, '.'",
        ),
        (
            '[[run]]\nname = "../evil"\nmodel = "p"\nrecipe = "0.toml"\n',
            "run 1: name: '../evil'; expected letters",
        ),
        ('[[run]]\nname = "a/b"\nmodel = "p"\nrecipe = "0.toml"\n', "run 1: name: 'a/b'; expected letters"),
        (2 * '[[run]]\nname = "a"\nmodel = "p"\nrecipe = "0.toml"\n', "a: duplicate name"),
    ],
)
def test_invalid_plan_gets_one_line(tmp_path: Path, text: str, reported: str) -> None:
    recipe(tmp_path, QUICK)
    plan = tmp_path / "plan"
    plan.write_text(text)
    with pytest.raises(EdgeError) as raised:
        read_plan(plan)
    assert reported in str(raised.value)
    assert "\n" not in str(raised.value)


def test_training_and_evaluation_need_no_pydantic() -> None:
    code = (
        "import sys; sys.modules['pydantic'] = None; "
        "import training.campaign, training.measure.compare, training.measure.predict"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
