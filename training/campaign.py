"""Train many runs: teachers before their students, in parallel, within a time limit.

A plan is a TOML file of [[run]] tables. Each run is `emotion-train fit` in its own process, so one that fails
or is stopped does not affect the others. The same command resumes where this one ended, on another machine
too once the runs' folders are copied there.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.types import EdgeError
from training.runs import RECORD, RUN_FILE
from training.toml import read_toml

FINISHED = "finished"  # the file that marks a run's folder as complete
_TURN_S = 0.2
_GRACE_S = 20.0  # for processes asked to stop: time to finish writing a file
_TYPES: dict[str, type] = {
    "name": str, "model": str, "recipe": str, "seeds": list, "teachers": list, "start_from": str,
}  # fmt: skip
_NEEDED = {"name", "model", "recipe"}
_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]+")  # becomes a folder


class OutOfTimeError(EdgeError):
    """Time is up and runs remain; the same command resumes them (EX_TEMPFAIL)."""

    exit_code = 75


@dataclass(frozen=True)
class Run:
    """One call of `emotion-train fit`."""

    name: str  # of its folder
    model: str
    recipe: Path
    seed: int | None = None  # None: the recipe's
    teachers: tuple[str, ...] = ()  # names of runs to distil
    start_from: str | None = None  # name of the run to take initial weights from

    @property
    def after(self) -> set[str]:
        """Names of the runs that must finish before this one."""
        return {*self.teachers, *([self.start_from] if self.start_from else [])}


def read_plan(path: Path) -> list[Run]:
    """The runs of the plan at *path*, in order; one with ``seeds`` becomes a run per seed, ``name-seed``.

    Recipe paths are relative to the plan's folder. EdgeError in one line for any mistake.
    """
    values = read_toml(path)
    tables = values.get("run")
    whole = isinstance(tables, list) and all(isinstance(table, dict) for table in tables)
    if values.keys() != {"run"} or not whole:
        raise EdgeError(f"{path}: {', '.join(values) or 'nothing'}; expected [[run]] tables only")
    runs: list[Run] = []
    for number, table in enumerate(tables, 1):
        runs += _runs(table, f"{path}: run {number}", path.parent)
    names: set[str] = set()
    for run in runs:
        if run.name in names:
            raise EdgeError(f"{path}: {run.name}: duplicate name")
        if missing := run.after - names:
            raise EdgeError(f"{path}: {run.name}: no run {', '.join(sorted(missing))} before it")
        names.add(run.name)
    return runs


def _runs(table: dict[str, Any], place: str, folder: Path) -> list[Run]:
    for key, value in table.items():
        if key not in _TYPES:
            raise EdgeError(f"{place}: {key}: unknown key; expected {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[key]):
            raise EdgeError(f"{place}: {key}: {value!r}; expected a {_TYPES[key].__name__}")
    if missing := _NEEDED - table.keys():
        raise EdgeError(f"{place}: no {', '.join(sorted(missing))}")
    if not _NAME.fullmatch(table["name"]):
        allowed = "expected letters, digits, '.', '_' and '-', no leading dot"
        raise EdgeError(f"{place}: name: {table['name']!r}; {allowed}")
    recipe = folder / table["recipe"]
    if not recipe.is_file():
        raise EdgeError(f"{place}: recipe: {recipe}: no such file")
    if not all(isinstance(name, str) for name in table.get("teachers", [])):
        raise EdgeError(f"{place}: teachers: {table['teachers']!r}; expected names of runs")
    seeds = table.get("seeds")
    if seeds is not None and (not seeds or not all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise EdgeError(f"{place}: seeds: {seeds!r}; expected whole numbers")

    def run(name: str, seed: int | None) -> Run:
        teachers = tuple(table.get("teachers", []))
        return Run(name, table["model"], recipe, seed, teachers, table.get("start_from"))

    if seeds is None:
        return [run(table["name"], None)]
    return [run(f"{table['name']}-{seed}", seed) for seed in seeds]


def campaign(
    runs: Sequence[Run],
    out: Path,
    given: Sequence[str],
    parallel: int = 1,
    time_is_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Finish every run in *out*; False if time ran out first, EdgeError if a run failed.

    *given*: further arguments of every `fit` (--data and so on). A failed run stops only the runs that depend
    on it.
    """
    waiting = [run for run in runs if not (out / run.name / FINISHED).exists()]
    done = {run.name for run in runs} - {run.name for run in waiting}
    failed: dict[str, str] = {}
    going: dict[str, subprocess.Popen[bytes]] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeError(f"{out}: {error.strerror}; expected a writable folder for --out") from error
    try:
        while waiting or going:
            if time_is_up():
                return False
            for run in [run for run in waiting if run.after & failed.keys()]:
                waiting.remove(run)
                failed[run.name] = f"needs {', '.join(sorted(run.after & failed.keys()))}"
                _say(f"{run.name}: skipped: {failed[run.name]}")
            for run in [run for run in waiting if run.after <= done][: parallel - len(going)]:
                waiting.remove(run)
                going[run.name] = _begin(run, out, given)
            for name, process in list(going.items()):
                if process.poll() is not None:
                    del going[name]
                    if process.returncode == 0:
                        (out / name / FINISHED).touch()
                        done.add(name)
                        _say(f"{name}: finished: {_last_line(out, name)}")
                    else:
                        failed[name] = _last_line(out, name)
                        _say(f"{name}: failed: {failed[name]}")
            time.sleep(_TURN_S)
    finally:
        _stop(list(going.values()))
    if failed:
        raise EdgeError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see {out}/NAME.log")
    return True


def _begin(run: Run, out: Path, given: Sequence[str]) -> subprocess.Popen[bytes]:
    folder = out / run.name
    command = [sys.executable, "-m", "training", "fit", "--model", run.model, "--recipe", str(run.recipe)]
    command += ["--out", str(folder), *given]
    if run.seed is not None:
        command += ["--seed", str(run.seed)]
    if run.teachers:
        command += ["--teachers", ",".join(str(out / name) for name in run.teachers)]
    if run.start_from:
        command += ["--start-from", str(out / run.start_from / RUN_FILE)]
    if (folder / RECORD).exists():
        command.append("--resume")
    _say(f"{run.name}: {'resumed' if command[-1] == '--resume' else 'started'}")
    # Several runs share one GPU: keep each from allocating all of its memory at startup.
    known = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **os.environ}
    with (out / f"{run.name}.log").open("ab") as log:
        # Its own session: Ctrl-C reaches it only through _stop, once.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=known, start_new_session=True
        )


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()  # not SIGINT: processes started in the background ignore it
    end = time.monotonic() + _GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            # Its whole group, including its augmentation processes.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(out: Path, name: str) -> str:
    lines = (out / f"{name}.log").read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
