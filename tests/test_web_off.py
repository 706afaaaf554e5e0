"""A disabled page costs nothing, and the page follows its setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import Mosquitto, broker, eventually, subscriber  # noqa: F401
from tests.page import WebDaemon
from tests.process import REPOSITORY, Start, environment, start  # noqa: F401
from tests.test_end_to_end import PORTRAITS, configuration

MISSING_PACKAGE = (
    "web.enabled: No module named uvicorn; there is no page; "
    "install the extra: pip install 'emotion-edge[web]'"
)
PREVIEW = "emotion-edge/pi/preview"

PRINT_WEB_MODULES = """
import signal, sys, threading
from edge.__main__ import main

def report():
    web = ("starlette", "uvicorn", "h11", "anyio", "edge.web")
    print(*sorted(name for name in sys.modules if name.startswith(web)))
    signal.raise_signal(signal.SIGTERM)

threading.Timer(3, report).start()
main(["run", "--config", sys.argv[1]])
"""


def listening(pid: int) -> set[str]:
    """Addresses of the TCP sockets on which process *pid* listens, in the kernel's notation."""
    sockets = {link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_disabled_page_opens_no_port_and_imports_nothing(
    broker: Mosquitto, start: Start, tmp_path: Path
) -> None:
    with subscriber(broker.port) as client:
        daemon = start(configuration(broker.port, PORTRAITS))
        assert eventually(lambda: client.payloads("emotion-edge/pi/hall/event"))
        assert listening(daemon.process.pid) == set()
        assert daemon.stop()[0] == 0
        assert client.payloads(PREVIEW) == []
        done = subprocess.run(
            [sys.executable, "-c", PRINT_WEB_MODULES, str(daemon.config)],
            capture_output=True, text=True, timeout=60, cwd=REPOSITORY,
            env={**environment(), "STATE_DIRECTORY": str(tmp_path / "state")},
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def test_preview_topic_is_cleared_when_the_page_is_disabled(
    broker: Mosquitto, start: Start, tmp_path: Path
) -> None:
    with subscriber(broker.port) as client:
        web = WebDaemon(tmp_path, broker)
        assert len(listening(web.daemon.process.pid)) == 1
        assert eventually(lambda: client.last(PREVIEW) == "OFF")
        assert '"name":"Preview"' in str(client.last("homeassistant/device/pi/config"))
        # The keeper saves a topic once the broker has acknowledged it.
        assert eventually(lambda: PREVIEW in (web.state / "discovery-pi.json").read_text())
        assert web.daemon.stop()[0] == 0
        daemon = start(configuration(broker.port, PORTRAITS))
        assert eventually(lambda: client.last(PREVIEW) == "")
        assert eventually(
            lambda: '"name":"Preview"' not in str(client.last("homeassistant/device/pi/config"))
        )
        assert daemon.stop()[0] == 0


def test_missing_package_disables_only_the_page(broker: Mosquitto, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ImportError('No module named uvicorn')\n")
    with subscriber(broker.port) as client:
        text = configuration(broker.port, PORTRAITS) + "[web]\nenabled = true\n"
        (tmp_path / "config.toml").write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", str(tmp_path / "config.toml")],
            stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
            env={
                **environment(), "STATE_DIRECTORY": str(tmp_path / "state"),
                "PYTHONPATH": f"{tmp_path}:{REPOSITORY}",
            },
        )  # fmt: skip
        try:
            assert eventually(lambda: client.payloads("emotion-edge/pi/hall/event"))
        finally:
            process.terminate()
            _, log = process.communicate(timeout=30)
    assert log.count(MISSING_PACKAGE) == 1


@pytest.mark.parametrize(("enabled", "lines"), [("true", [f"# {MISSING_PACKAGE}"]), ("false", [])])
def test_check_reports_a_missing_package(tmp_path: Path, enabled: str, lines: list[str]) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ImportError('No module named uvicorn')\n")
    (tmp_path / "config.toml").write_text(f"[web]\nenabled = {enabled}\n")
    done = subprocess.run(
        [sys.executable, "-m", "edge", "check", "--config", str(tmp_path / "config.toml")],
        capture_output=True, text=True, timeout=60, cwd=REPOSITORY, check=False,
        env={**environment(), "PYTHONPATH": f"{tmp_path}:{REPOSITORY}"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if "web.enabled" in line] == lines
