"""The unit and its drop-ins checked by systemd itself and against systemd/README.md."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[1] / "systemd"
UNIT = "emotion-edge.service"
DROP_INS = sorted(path.stem for path in (SYSTEMD / "drop-ins").glob("*.conf"))
LIMIT, LIMIT_WITH_DROP_INS = 1.5, 1.8  # of systemd's exposure, 0 to 10

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (apt install systemd)"
)


def rows() -> dict[tuple[str, ...], float]:
    """The table in the README: drop-ins -> exposure."""
    found = re.findall(r"^\| (.+?) \|.*\| (\d\.\d) \|$", (SYSTEMD / "README.md").read_text(), re.MULTILINE)
    return {tuple(re.findall(r"`([\w-]+)\.conf`", names)): float(score) for names, score in found}


def build_tree(root: Path, drop_ins: tuple[str, ...]) -> None:
    """A root tree with the unit, *drop_ins* and the two programs it starts."""
    units = root / "etc/systemd/system"
    (units / f"{UNIT}.d").mkdir(parents=True)
    shutil.copy(SYSTEMD / UNIT, units)
    for name in drop_ins:
        shutil.copy(SYSTEMD / "drop-ins" / f"{name}.conf", units / f"{UNIT}.d")
    for program in ("usr/bin/emotion-edge", "bin/sh"):
        (root / program).parent.mkdir(parents=True, exist_ok=True)
        (root / program).write_text("#!/bin/sh\n")
        (root / program).chmod(0o755)


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("drop_ins", rows(), ids=" + ".join)
def test_exposure_matches_the_table_and_stays_within_the_limit(
    drop_ins: tuple[str, ...], tmp_path: Path
) -> None:
    build_tree(tmp_path, drop_ins)
    message = analyze("security", "--offline=true", f"--root={tmp_path}", UNIT)
    exposure = re.search(r"exposure level for emotion-edge.service: (\d\.\d)", message.stdout)
    assert exposure, message.stderr
    assert float(exposure[1]) <= (LIMIT_WITH_DROP_INS if drop_ins else LIMIT)
    version = analyze("--version").stdout.split()[1]
    if version != "252":
        pytest.skip(f"the table was measured with systemd 252, here is {version}")
    assert float(exposure[1]) == rows()[drop_ins]


@pytest.mark.parametrize("drop_ins", [(), *((name,) for name in DROP_INS)], ids=" + ".join)
def test_systemd_verify_accepts_the_unit(drop_ins: tuple[str, ...], tmp_path: Path) -> None:
    build_tree(tmp_path, drop_ins)
    unit = tmp_path / "etc/systemd/system" / UNIT
    message = analyze("verify", "--recursive-errors=no", f"--root={tmp_path}", str(unit))
    assert (message.returncode, message.stdout, message.stderr) == (0, "", "")


def test_systemd_verify_detects_a_misspelt_setting(tmp_path: Path) -> None:
    build_tree(tmp_path, ())
    (tmp_path / f"etc/systemd/system/{UNIT}.d/wrong.conf").write_text("[Service]\nWatchdogSecs=30\n")
    message = analyze(
        "verify", "--recursive-errors=no", f"--root={tmp_path}", str(tmp_path / "etc/systemd/system" / UNIT)
    )
    assert "WatchdogSecs" in message.stderr


def test_every_drop_in_is_in_the_table() -> None:
    assert {name for names in rows() for name in names} == set(DROP_INS)
    assert () in rows()
