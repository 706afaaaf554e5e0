"""The Edge TPU's child: verified before use, abandoned at a deadline, used again when it returns.

The chip is edgetpu_stub.c, loaded by ai-edge-litert's own load_delegate.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.analysis.runtimes import open_runtime
from edge.analysis.runtimes.chip import Chip, OnChip
from edge.settings.tables import MODEL_FILE
from edge.types import Runtime
from tests.broker import eventually
from tests.edgetpu_stub import Stub, compiled, stub  # noqa: F401
from tests.process import environment

CONTENT = MODEL_FILE.read_bytes()
PIXELS = np.random.default_rng(0).integers(-128, 128, (1, 48, 48, 1)).astype(np.int8)


def output_of(runtime: Runtime) -> np.ndarray:
    (output,) = runtime.run(PIXELS)
    return output


def right(runtime: Runtime) -> str:
    """As golden vectors prove a runtime, on one picture."""
    same = np.array_equal(output_of(runtime), output_of(open_runtime("cpu", CONTENT)))
    return "" if same else "differs"


@pytest.fixture
def chip() -> Iterator[Chip]:
    one = Chip("edgetpu", absent=lambda: "", run_s=1.0, retry_s=(0.2, 0.4))
    yield one
    one.close()


Open = Callable[..., OnChip]


@pytest.fixture
def model(chip: Chip) -> Open:
    def opened(prove: Callable[[Runtime], str] = right) -> OnChip:
        return chip.open(compiled(CONTENT), open_runtime("cpu", CONTENT), prove)

    return opened


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.usefixtures("stub")
def test_verified_model_runs_in_the_child_with_the_cpu_outputs(model: Open, chip: Chip) -> None:
    on = model()
    assert (on.reason, on.place is not None) == ("", True)
    assert on.name.startswith("ai-edge-litert ")
    assert on.name.endswith(", edgetpu, 1 thread")
    assert np.array_equal(output_of(on), output_of(open_runtime("cpu", CONTENT)))


@pytest.mark.usefixtures("stub")
def test_models_share_one_child_which_ends_with_the_last(model: Open, chip: Chip) -> None:
    first, second = model(), model()
    pid = chip.pid
    assert pid is not None
    assert np.array_equal(output_of(first), output_of(second))
    del first
    gc.collect()
    third = model()  # as in a reload: the chip is neither reopened nor released
    assert chip.pid == pid
    del second, third
    gc.collect()
    assert eventually(lambda: chip.pid is None and ended(pid), 5)


@pytest.mark.usefixtures("stub")
def test_child_inherits_no_secret_socket_or_session(
    model: Open, chip: Chip, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMOTION_EDGE_MQTT__PASSWORD", "hunter2")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    secret = (tmp_path / "password").open("w")
    sockets = [socket.socket(), socket.socket(socket.AF_UNIX)]
    sockets[0].bind(("127.0.0.1", 0))
    sockets[0].listen()
    for held_open in (secret, *sockets):  # as a library without O_CLOEXEC may leave them
        os.set_inheritable(held_open.fileno(), True)
    on = model()
    for held_open in (secret, *sockets):
        held_open.close()
    assert on.place is not None
    pid = chip.pid
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"hunter2" not in environment
    assert b"CREDENTIALS" not in environment
    held = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    assert {place.partition(":")[0] for place in held} <= {"pipe", "/dev/null", "socket"}
    assert [place.partition(":")[0] for place in held].count("socket") == 1  # the request socket
    assert os.getsid(pid) == pid
    assert "Max core file size" in (limits := Path(f"/proc/{pid}/limits").read_text())
    assert limits.partition("Max core file size")[2].split()[:2] == ["0", "0"]


PARENT = """
import sys, time
from edge.analysis.runtimes import open_runtime
from edge.analysis.runtimes.chip import Chip
from edge.settings.tables import MODEL_FILE
content = MODEL_FILE.read_bytes()
chip = Chip("edgetpu")
on = chip.open(content + b"edgetpu-custom-op", open_runtime("cpu", content), lambda runtime: "")
print(chip.pid, on.reason, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_child_dies_with_a_killed_parent(stub: Stub, busy: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert parent.stdout is not None
    pid = parent.stdout.readline().strip()
    assert pid.isdecimal(), pid
    if busy:  # stuck in the driver, holding the GIL
        stub.set("hang")
        time.sleep(0.2)
    assert not ended(int(pid))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: ended(int(pid)), 5)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("hang", "no answer within 1 s"),
        ("abort", "crashes (SIGABRT): F driver/usb/usb_driver.cc:1115] HandleQueuedBulkIn transfer"),
        ("stop", "no answer within 1 s"),
        ("kill", "crashes (SIGKILL)"),
    ],
)
@pytest.mark.quiet_clock
def test_cpu_takes_over_within_2_s_of_a_fault_and_chip_returns(
    model: Open,
    chip: Chip,
    stub: Stub,
    fault: str,
    reason: str,
) -> None:
    on, pid = model(), chip.pid
    assert pid is not None
    expected = output_of(on)
    if fault in ("stop", "kill"):
        stub.set("fail")
        os.kill(pid, signal.SIGSTOP if fault == "stop" else signal.SIGKILL)
    else:
        stub.set(fault)
    time.sleep(0.1)
    began = time.monotonic()
    assert np.array_equal(output_of(on), expected)
    assert time.monotonic() - began < 2
    assert on.reason.startswith(reason) or on.reason.startswith("libedgetpu.so.1 gives no delegate: ")
    assert ", cpu, " in on.name
    began = time.monotonic()
    output_of(on)
    assert time.monotonic() - began < 0.2  # only one call waits for the chip
    assert eventually(lambda: ended(pid), 5)
    stub.set("load")
    assert eventually(lambda: on.place is not None, 30)
    assert chip.pid != pid
    assert (on.reason, np.array_equal(output_of(on), expected)) == ("", True)


def test_chip_absent_at_startup_is_used_later(
    model: Open,
    chip: Chip,
    stub: Stub,
) -> None:
    stub.set("fail")
    on = model()
    assert on.reason.startswith("libedgetpu.so.1 gives no delegate: ")
    assert "no device; plug the chip in" in on.reason
    assert ", cpu, " in on.name
    assert output_of(on).shape == (1, 7)
    stub.set("load")
    assert eventually(lambda: on.place is not None, 30)


def test_library_that_hangs_or_aborts_at_startup_costs_one_deadline(stub: Stub) -> None:
    for mode, reason in (("hang", "no answer within 3 s"), ("abort", "crashes (SIGABRT)")):
        stub.set(mode)
        chip = Chip("edgetpu", absent=lambda: "", load_s=3.0, retry_s=(30.0, 30.0))
        on = chip.open(compiled(CONTENT), open_runtime("cpu", CONTENT), right)
        assert on.reason.startswith(reason)
        assert output_of(on).shape == (1, 7)
        chip.close()


@pytest.mark.usefixtures("stub")
def test_wrong_outputs_bar_only_that_model_for_good(model: Open, chip: Chip) -> None:
    good = model()
    wrong = model(lambda runtime: "probabilities differ by up to 0.4")
    assert wrong.barred
    assert wrong.reason == (
        "wrong answers: probabilities differ by up to 0.4; not tried again before the next start"
    )
    assert (good.place is not None, wrong.place) == (True, None)


def test_missing_library_error_says_what_to_install(
    model: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    on = model()
    if on.reason.startswith("libedgetpu.so.1 gives"):
        pytest.skip("this machine has libedgetpu.so.1")
    assert on.reason == "libedgetpu.so.1 not found; install libedgetpu1-std"


def test_no_chip_on_the_bus_starts_no_process(tmp_path: Path) -> None:
    chip = Chip("edgetpu", absent=lambda: "no Coral found")
    on = chip.open(compiled(CONTENT), open_runtime("cpu", CONTENT), right)
    assert (on.reason, chip.pid) == ("no Coral found", None)
    chip.close()
