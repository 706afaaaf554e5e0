"""The daemon under a service manager: a real process, with our socket in place of systemd's."""

from __future__ import annotations

import os
import re
import signal
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.host.heartbeats import FRESH_S, Heartbeats, Stage
from edge.host.service import Notifier
from tests.broker import Mosquitto, broker, eventually, free_port  # noqa: F401
from tests.process import REPOSITORY, Process
from tests.test_end_to_end import PORTRAITS, configuration

MISSING = 'name = "porch"\nsource = "/dev/video99"\n'


class Manager:
    """Listens on a NOTIFY_SOCKET; ``received`` holds (monotonic s, datagram as text)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.received: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while (datagram := self._socket.recv(65536)) != b"END":
            self.received.append((time.monotonic(), datagram.decode()))

    def lines(self) -> list[str]:
        return [line for _, text in self.received for line in text.split("\n")]

    def status(self) -> str:
        return next((line[7:] for line in reversed(self.lines()) if line.startswith("STATUS=")), "")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.sendto(b"END", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def run(tmp_path: Path, manager: Manager) -> Iterator[Run]:
    with Run(tmp_path, manager) as run:
        yield run


class Run:
    """Starts the daemon under *manager* with a watchdog of *watchdog_s*; its Python runs *fault* first."""

    def __init__(self, folder: Path, manager: Manager) -> None:
        self._folder, self._manager = folder, manager
        self.daemon: Process

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.close()

    def __call__(
        self, text: str, *, watchdog_s: float = 2.0, fault: str = "", before: Path | None = None
    ) -> Process:
        """*before*: a folder that goes first on Python's module path."""
        more = {"NOTIFY_SOCKET": self._manager.address, "WATCHDOG_USEC": str(round(watchdog_s * 1e6))}
        if fault:  # site imports it before the daemon starts
            (self._folder / "sitecustomize.py").write_text(textwrap.dedent(fault))
            before = self._folder
        if before:
            more["PYTHONPATH"] = f"{before}{os.pathsep}{REPOSITORY}"
        self.daemon = Process(self._folder, text, more)
        return self.daemon


def test_ready_follows_the_first_frame_and_names_a_missing_camera(
    manager: Manager,
    run: Run,
    broker: Mosquitto,
) -> None:
    daemon = run(configuration(broker.port, PORTRAITS, MISSING))
    assert eventually(lambda: "READY=1" in manager.lines())
    before = manager.lines()[: manager.lines().index("READY=1")]
    assert "EXTEND_TIMEOUT_USEC=60000000" in before
    assert eventually(lambda: "connected to the broker" in manager.status())
    porch = "camera porch offline: /dev/video99: no such device; is the camera plugged in?"
    assert manager.status() == f"camera hall online; {porch}; connected to the broker"
    assert eventually(lambda: manager.lines().count("WATCHDOG=1") >= 5)
    daemon.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: manager.lines().count("READY=1") == 2)
    reloading = next(text for _, text in manager.received if text.startswith("RELOADING=1"))
    stated = int(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading)[1])  # type: ignore[index]
    assert 0 < time.monotonic_ns() // 1000 - stated < 60_000_000
    assert "STOPPING=1" not in manager.lines()
    assert daemon.stop()[0] == 0
    assert "STOPPING=1\nSTATUS=stopping" in [text for _, text in manager.received]


def test_unreachable_broker_is_a_declared_wait(manager: Manager, run: Run) -> None:
    run(configuration(1, PORTRAITS), watchdog_s=1.0)
    assert eventually(lambda: "READY=1" in manager.lines())
    assert manager.status() == "camera hall online; waiting for the broker"
    fed_until = time.monotonic() + FRESH_S + 3
    assert eventually(lambda: manager.received[-1][0] > fed_until)  # longer than a heartbeat is valid


HANGING_STAGES = {
    "analysis": ("edge.analysis.pipeline", "Pipeline", "step"),
    "mqtt": ("edge.mqtt.connection", "Connection", "turn"),
    "camera hall": ("edge.sources.capture", "Capture", "deliver"),
}


@pytest.mark.parametrize("stage", HANGING_STAGES)
def test_hung_stage_stops_the_watchdog_and_sigabrt_logs_its_stack(
    stage: str,
    manager: Manager,
    run: Run,
    tmp_path: Path,
    broker: Mosquitto,
) -> None:
    module, name, method = HANGING_STAGES[stage]
    daemon = run(
        configuration(broker.port, PORTRAITS),
        fault=f"""
        import os, threading, time, importlib, sys
        sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
        def inject():
            owner = getattr(importlib.import_module({module!r}), {name!r})
            real = owner.{method}
            def hang_injected_by_test(*given, **more):
                while os.path.exists({str(tmp_path / "hang")!r}):
                    time.sleep(0.1)
                return real(*given, **more)
            owner.{method} = hang_injected_by_test
        inject()
        """,
    )
    assert eventually(lambda: "READY=1" in manager.lines() and "connected" in manager.status())
    (tmp_path / "hang").touch()
    hung = time.monotonic()
    assert eventually(lambda: f"stuck: {stage}: no progress for" in manager.status())
    time.sleep(2.0)
    last_fed = max(when for when, text in manager.received if text == "WATCHDOG=1")
    assert last_fed - hung < FRESH_S + 2.0  # so systemd's watchdog fires 30 s later
    assert time.monotonic() - last_fed > 2.0
    daemon.process.send_signal(signal.SIGABRT)
    assert daemon.process.wait(10) == -signal.SIGABRT
    daemon.close()
    assert f"watchdog: no longer fed: {stage}: no progress for" in daemon.log
    assert "Fatal Python error: Aborted" in daemon.log
    assert "in hang_injected_by_test" in daemon.log
    assert daemon.log.count("\nThread 0x") + daemon.log.count("\nCurrent thread 0x") >= 4


def test_recovered_stage_is_no_longer_overdue() -> None:
    now = [0.0]
    beats = Heartbeats(lambda: now[0])
    analysis, mqtt = beats.stage("analysis"), beats.stage("mqtt")
    now[0] = FRESH_S + 1
    mqtt.beat()
    assert beats.overdue() == ["analysis: no progress for 11 s"]
    analysis.beat()
    assert beats.overdue() == []
    now[0] += FRESH_S + 1
    beats.end(analysis)
    beats.end(analysis)
    assert beats.overdue() == ["mqtt: no progress for 11 s"]


def test_declared_wait_holds_until_its_deadline() -> None:
    now = [0.0]
    stage = Stage("analysis", lambda: now[0])
    with stage.waiting("building the engine", 600):
        now[0] = 600.0
        assert stage.overdue() == ""
        now[0] = 601.0
        assert stage.overdue() == "analysis: no progress for 601 s (building the engine)"
    assert stage.overdue() == ""
    now[0] += FRESH_S + 1
    assert stage.overdue() == "analysis: no progress for 11 s"


def test_nested_wait_does_not_shorten_the_outer_one() -> None:
    now = [0.0]
    stage = Stage("analysis", lambda: now[0])
    with stage.waiting("loading the model", 300):
        now[0] = 100.0
        with stage.waiting("building the engine", 1800):
            now[0] = 1900.0
            assert stage.overdue() == ""
        now[0] = 2100.0
        assert stage.overdue() == ""
        now[0] = 2101.0
        assert stage.overdue() == "analysis: no progress for 2101 s (loading the model)"
    assert stage.overdue() == ""
    now[0] += FRESH_S + 1
    assert stage.overdue() == "analysis: no progress for 11 s"


def test_abstract_socket_is_used_and_removed_from_the_environment() -> None:
    manager = Manager(f"@emotion-edge-test-{time.monotonic_ns()}")
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000", "PATH": "/bin"}
    notifier = Notifier.of(environment)
    assert environment == {"PATH": "/bin"}
    assert notifier.watchdog_s == 30.0
    notifier.send(READY=1, STATUS="two\nlines")
    assert eventually(lambda: manager.received)
    manager.close()
    assert manager.received[0][1] == "READY=1\nSTATUS=two lines"


def test_foreign_watchdog_and_missing_socket_are_ignored(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    address = str(tmp_path / "nobody")
    meant = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    assert Notifier.of(meant).watchdog_s == 0.0
    assert not Notifier.of({"WATCHDOG_USEC": "30000000"})
    Notifier.of({}).send(READY=1)
    assert caplog.messages == []
    gone = Notifier.of({"NOTIFY_SOCKET": address})
    gone.send(READY=1)
    gone.send(READY=1)
    assert caplog.messages == ["NOTIFY_SOCKET: No such file or directory; systemd is not informed"]


@pytest.mark.parametrize("place", ["edge.analysis.runtimes.litert.LiteRT", "edge.analysis.detectors.ssd.Ssd"])
def test_unexpected_error_while_loading_logs_its_traceback(place: str, run: Run) -> None:
    module, name = place.rsplit(".", 1)
    fault = f"""
        import {module} as module

        def half_installed(*arguments, **keywords):
            raise KeyError("half installed")

        module.{name} = half_installed
    """
    daemon = run(configuration(free_port(), PORTRAITS), fault=fault)
    assert daemon.process.wait(60) == 1
    daemon.close()
    assert "CRITICAL unexpected error; the daemon ends" in daemon.log
    assert "in half_installed" in daemon.log
    assert (
        "unexpected KeyError: 'half installed'; this is a bug, please report it with the log\n" in daemon.log
    )
