"""The real `make check` recipe, run on small generated tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

HEAD = "import os\nimport pytest\n"
MARKED, PLAIN = "@pytest.mark.quiet_clock\n", ""
FAILS_ONCE = (
    "    first = not os.path.exists('{name}')\n    open('{name}', 'w').close()\n    assert not first\n"
)
FAILS, PASSES = "    raise AssertionError\n", "    pass\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("tests", "passes", "asked"),
    [
        ({"plain": (PLAIN, PASSES), "timed": (MARKED, PASSES)}, True, 2),
        ({"plain": (PLAIN, PASSES), "timed": (MARKED, FAILS_ONCE), "calm": (MARKED, PASSES)}, True, 4),
        ({"plain": (PLAIN, FAILS_ONCE), "timed": (MARKED, PASSES)}, False, 2),
        ({"plain": (PLAIN, FAILS_ONCE), "timed": (MARKED, FAILS_ONCE)}, False, 3),
        ({"plain": (PLAIN, PASSES), "timed": (MARKED, FAILS)}, False, 3),
    ],
)
def test_only_quiet_clock_tests_are_retried(
    tmp_path: Path, tests: dict[str, tuple[str, str]], passes: bool, asked: int
) -> None:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("ruff", "mypy"):
        (binaries / name).write_text("#!/bin/sh\n")
    (binaries / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for file in binaries.iterdir():
        file.chmod(0o755)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = quiet_clock\n")
    for name, (mark, body) in tests.items():
        text = f"{HEAD}\n{mark}def test_{name}() -> None:\n    open('asked', 'a').write('.')\n"
        (tmp_path / f"test_{name}.py").write_text(text + body.format(name=name))
    done = subprocess.run(
        ["make", "-f", str(REPOSITORY / "Makefile"), "check", f"BIN={binaries}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) == passes, done.stdout
    assert (tmp_path / "asked").read_text() == "." * asked, done.stdout
