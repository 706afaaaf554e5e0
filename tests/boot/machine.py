"""A Debian with systemd as PID 1, booted in a container on a tree that is not modified."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.broker import eventually

BOOT_S = 60.0
STOP_S = 15.0
COMMAND_S = 120.0


def missing() -> str:
    """Why this machine cannot boot one; empty if it can."""
    for program, package in (("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            return f"{program} is not installed (apt install {package})"
    return ""


class Machine:
    """Boots *tree*; ``root`` is its writable file system, which close() discards.

    It has only a loopback network and an empty journal.
    """

    def __init__(self, tree: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="emotion-edge-boot-"))
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir()
        self.root = self._folder / "root"
        options = f"lowerdir={tree},upperdir={self._folder / 'upper'},workdir={self._folder / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.root], check=True)
        self._console = (self._folder / "console.log").open("w+")
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--directory", str(self.root), "--machine", "emotion-edge-boot",
             "--register=no", "--keep-unit", "--private-network", "--resolv-conf=off", "--boot"],
            stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console,
        )  # fmt: skip
        self._init = 0

    def start(self) -> None:
        """Returns once it has booted and its broker runs."""

        def running() -> bool:
            return bool(self._find_init()) and self("systemctl is-active mosquitto", check=False) == "active"

        console = self._folder / "console.log"
        assert eventually(running, BOOT_S), f"it did not boot:\n{console.read_text()[-3000:]}"

    def __call__(self, command: str, *, check: bool = True, timeout_s: float = COMMAND_S) -> str:
        """Run *command* in its root shell; stdout and stderr together."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-n", "env", "-i",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive",
             "sh", "-c", command],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout_s,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{command}: exit code {done.returncode}:\n{done.stdout}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """The unit's property *name*."""
        return self(f"systemctl show --value -p {name} {unit}")

    def journal(self, unit: str, since: float = 0.0) -> str:
        """The unit's messages; *since* is wall-clock time in whole s."""
        return self(f"journalctl -q -o cat -u {unit} --since=@{int(since)}")

    def close(self) -> None:
        """Power off and discard its writes."""
        if self._find_init():
            self("systemctl poweroff", check=False)
        try:
            self._nspawn.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._console.close()
        subprocess.run(["umount", "--lazy", self.root], check=True)
        time.sleep(0.5)  # the last of its processes
        shutil.rmtree(self._folder, ignore_errors=True)

    def _find_init(self) -> int:
        """PID of the container's PID 1 on this machine; 0 while there is none."""
        parent = self._nspawn.pid
        for generation in range(2):  # nspawn itself or its child, depending on how far it has forked
            children = Path(f"/proc/{parent}/task/{parent}/children")
            pids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
            for pid in pids:
                if _comm(pid) == "systemd":
                    self._init = pid
                    return pid
            if generation == 0 and pids:
                parent = pids[0]
        return 0


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
