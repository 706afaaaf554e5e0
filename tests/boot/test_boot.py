"""`make boot-test`: the Debian package in a booted Debian, in one run of 5 minutes.

The tests follow one another in this order and share the machine; each leaves it as the next expects it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.machine import Machine, missing
from tests.broker import eventually
from tests.edgetpu_stub import Stub, write_compiled_model

TREE, PACKAGE = os.environ.get("BOOT_TREE", ""), os.environ.get("BOOT_PACKAGE", "")

pytestmark = [
    pytest.mark.skipif(not TREE, reason="needs a Debian tree and a package: `make boot-test` builds both"),
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
    pytest.mark.timeout(300),
]

UNIT = "emotion-edge"
CONFIG = """
[node]
id = "booted"
[mqtt]
host = "127.0.0.1"
[web]
enabled = true
preview = true
[[camera]]
name = "hall"
source = "portraits"
"""
# Stands in for a browser, inside the machine: METHOD PATH BODY; the token comes from its command.
ASK = """
import subprocess, sys, urllib.request
token = subprocess.run(["emotion-edge", "web", "token", "--config", "/etc/emotion-edge/config.toml"],
                       capture_output=True, text=True, check=True).stdout.strip()
method, path, body = sys.argv[1:]
headers = {"Authorization": "Bearer " + token, "Sec-Fetch-Site": "same-origin"}
url, sent = "http://127.0.0.1:8321" + path, body.encode() or None
request = urllib.request.Request(url, sent, headers, method=method)
with urllib.request.urlopen(request, timeout=20) as answer:
    print(answer.status, answer.read()[:3].hex())
"""
# Where our files may be installed. /var/lib/dpkg, logs and caches belong to Debian.
OURS = re.compile(
    r"/usr/(lib|share)/emotion-edge(/|$)|/usr/bin/emotion-edge$|/etc/emotion-edge(/|$)|/var/lib/emotion-edge(/|$)"
    r"|/usr/lib/(systemd/system|sysusers\.d|tmpfiles\.d|udev/rules\.d|udev|tmpfiles\.d)(/emotion-edge\.\w+)?$"
    r"|/usr/share/doc/emotion-edge(/|$)|/usr/share/lintian(/|$)|/etc/credstore$"
    r"|/etc/systemd/system/multi-user\.target\.wants/emotion-edge\.service$"
)
DEBIANS = re.compile(
    r"/(proc|sys|dev|run|tmp|root|srv)(/|$)|/var/(lib/(dpkg|apt|systemd)|log|cache|tmp|backups)(/|$)"
)
# Fault injection: Debian's Python runs a .pth in its site folder before any of our code.
HANG = """
import os, sys, threading, time

def lay():
    name = "edge.analysis.pipeline"
    while name not in sys.modules or not hasattr(sys.modules[name], "Pipeline"):
        time.sleep(0.05)
    pipeline = sys.modules[name].Pipeline
    real = pipeline.step
    def hang_injected_by_test(*given, **more):
        while os.path.exists("/run/hang"):
            time.sleep(0.1)
        return real(*given, **more)
    pipeline.step = hang_injected_by_test

if "run" in sys.orig_argv:
    threading.Thread(target=lay, daemon=True).start()
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = Machine(Path(TREE))
    try:
        machine.start()
        (machine.root / "srv/emotion-edge.deb").write_bytes(Path(PACKAGE).read_bytes())
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """Every path on the machine before the package is installed."""
    return paths(machine)


def paths(machine: Machine) -> set[str]:
    found = machine("find / -xdev").split("\n")
    return {path for path in found if not DEBIANS.match(path) and not path.endswith(".pyc")}


def main_pid(machine: Machine) -> int:
    return int(machine.show(UNIT, "MainPID"))


def active(machine: Machine) -> bool:
    return machine.show(UNIT, "ActiveState") == "active"


def faces(machine: Machine, within_s: int) -> int:
    """Number of faces in the camera's next message."""
    return len(json.loads(received(machine, "hall/faces", within_s))["faces"])


def received(machine: Machine, topic: str, within_s: int = 5) -> str:
    """The node's next message on *topic*."""
    return machine(f"mosquitto_sub -h 127.0.0.1 -W {within_s} -C 1 -t emotion-edge/booted/{topic}")


def test_package_installs_offline_and_starts_nothing(machine: Machine, before: set[str]) -> None:
    assert not any("emotion-edge" in path for path in before)
    output = machine("apt-get install -y --no-install-recommends /srv/emotion-edge.deb")
    assert "systemctl enable --now emotion-edge" in output
    assert machine(f"systemctl is-enabled {UNIT}", check=False) == "disabled"
    assert machine.show(UNIT, "ActiveState") == "inactive"


def test_start_returns_when_ready_and_faces_reach_the_broker(machine: Machine) -> None:
    (machine.root / "etc/emotion-edge/config.toml").write_text(CONFIG)
    began = time.monotonic()
    machine(f"systemctl enable --now {UNIT}")
    assert active(machine)
    assert machine.show(UNIT, "StatusText").startswith("camera hall online; ")
    assert faces(machine, 30) == 2
    assert time.monotonic() - began < 60
    assert machine.show(UNIT, "NRestarts") == "0"
    assert received(machine, "status") == "online"
    assert int(machine(f"stat -c %u /proc/{main_pid(machine)}")) != 0


def test_page_is_served_and_preview_starts_and_ends(machine: Machine) -> None:
    (machine.root / "srv/ask.py").write_text(ASK)

    def ask(method: str, path: str, body: str = "") -> str:
        return machine(f"python3 /srv/ask.py {method} {path} '{body}'")

    assert ask("GET", "/metrics").startswith("200 ")
    assert received(machine, "preview") == "OFF"
    assert ask("POST", "/preview", '{"on": true}').startswith("204")
    assert received(machine, "preview") == "ON"
    assert eventually(lambda: ask("GET", "/preview/hall") == "200 ffd8ff", 20)
    assert ask("POST", "/preview", '{"on": false}').startswith("204")
    assert eventually(lambda: received(machine, "preview") == "OFF", 20)
    assert machine("stat -c '%a %U' /var/lib/emotion-edge/web_token-booted") == "600 emotion-edge"
    assert main_pid(machine)


def test_installed_unit_is_confined_and_valid(machine: Machine) -> None:
    output = machine(f"systemd-analyze security {UNIT}")
    exposure = re.search(r"exposure level for emotion-edge.service: (\d\.\d)", output)
    assert exposure
    assert float(exposure[1]) <= 1.5
    assert machine(f"systemd-analyze verify --recursive-errors=no {UNIT}.service") == ""


def test_sigkilled_daemon_is_restarted(machine: Machine) -> None:
    killed = main_pid(machine)
    machine(f"kill -KILL {killed}")
    assert eventually(lambda: active(machine) and main_pid(machine) not in (0, killed), 30)
    assert faces(machine, 30) == 2


def test_sighup_reload_is_seen_by_systemd(machine: Machine) -> None:
    pid, since = main_pid(machine), time.time()
    config = machine.root / "etc/emotion-edge/config.toml"
    config.write_text(f"{CONFIG}faces = 3\n")
    machine(f"systemctl reload {UNIT}")
    assert eventually(lambda: "configuration reloaded: changed camera" in machine.journal(UNIT, since), 30)
    assert eventually(lambda: active(machine), 10)
    assert main_pid(machine) == pid
    assert eventually(lambda: faces(machine, 30) == 3, 60)
    config.write_text(CONFIG)
    machine(f"systemctl reload {UNIT}")
    assert eventually(lambda: faces(machine, 30) == 2, 60)


def test_hung_analysis_is_killed_and_its_stacks_logged(
    machine: Machine,
) -> None:
    version = machine("python3 -c 'import sys; print(*sys.version_info[:2], sep=\".\")'")
    site = f"/usr/local/lib/python{version}/dist-packages"
    machine(f"mkdir -p {site}")
    (machine.root / f"{site[1:]}/hang_by_test.py").write_text(HANG)
    (machine.root / f"{site[1:]}/hang_by_test.pth").write_text("import hang_by_test\n")
    machine(f"systemctl restart {UNIT}")
    assert faces(machine, 30) == 2
    hung, since, at = main_pid(machine), time.time(), time.monotonic()
    machine("touch /run/hang")
    assert eventually(lambda: "stuck: analysis: no progress" in machine.show(UNIT, "StatusText"), 30)
    assert eventually(lambda: main_pid(machine) not in (0, hung), 60)
    machine("rm /run/hang")
    assert faces(machine, 30) == 2
    took = time.monotonic() - at
    journal = machine.journal(UNIT, since)
    assert "watchdog: no longer fed: analysis: no progress for" in journal
    assert "Watchdog timeout" in journal
    assert "in hang_injected_by_test" in journal
    stacks = re.findall(r"^(?:Current thread|Thread) 0x\w+", journal, re.MULTILINE)
    assert len(stacks) >= 4  # analysis, reader, its watch, mqtt
    assert took <= 60
    machine(f"rm {site}/hang_by_test.*")
    machine(f"systemctl restart {UNIT}")


def test_stopped_process_is_replaced(machine: Machine) -> None:
    stopped, at = main_pid(machine), time.monotonic()
    machine(f"kill -STOP {stopped}")
    assert eventually(lambda: main_pid(machine) not in (0, stopped), 60)
    assert faces(machine, 30) == 2
    assert time.monotonic() - at <= 60


def test_invalid_configuration_stays_down_with_one_line(machine: Machine) -> None:
    config = machine.root / "etc/emotion-edge/config.toml"
    config.write_text("[mqtt]\nprot = 1883\n")
    since = time.time() + 1
    time.sleep(1.1)
    machine(f"systemctl restart {UNIT}", check=False)
    time.sleep(5.0)  # RestartSec is 2
    assert machine.show(UNIT, "ActiveState") == "failed"
    assert machine.show(UNIT, "ExecMainStatus") == "78"
    lines = [line for line in machine.journal(UNIT, since).split("\n") if "config.toml" in line]
    assert lines == ["/etc/emotion-edge/config.toml:2: mqtt.prot: unknown key; did you mean 'port'?"]
    assert "Traceback" not in machine.journal(UNIT, since)
    config.write_text(CONFIG)
    machine(f"systemctl restart {UNIT}")
    assert faces(machine, 30) == 2


def test_password_comes_from_the_credential_store(machine: Machine) -> None:
    (machine.root / "srv/broker.conf").write_text(
        "listener 1884 127.0.0.1\nallow_anonymous false\npassword_file /srv/passwords\n"
    )
    machine("mosquitto_passwd -c -b /srv/passwords house open-sesame; chmod 644 /srv/passwords")
    machine("systemd-run --unit=strict-broker mosquitto -c /srv/broker.conf")
    config = machine.root / "etc/emotion-edge/config.toml"
    config.write_text(
        CONFIG.replace('host = "127.0.0.1"', 'host = "127.0.0.1"\nport = 1884\nusername = "house"')
    )
    since = time.time()
    for password, connected in (("open-barley", False), ("open-sesame", True)):
        # As docs/install.md does; systemd-ask-password needs a terminal.
        machine(f"umask 077; printf %s {password} >/etc/credstore/emotion-edge.mqtt_password")
        machine(f"systemctl restart {UNIT}")
        ask = "mosquitto_sub -h 127.0.0.1 -p 1884 -u house -P open-sesame -W 10 -C 1"
        answer = machine(f"{ask} -t emotion-edge/booted/hall/faces", check=False)
        assert ("faces" in answer) == connected, answer
    journal = machine.journal(UNIT, since)
    assert journal.count("refused") == 1, journal
    assert "open-" not in journal
    assert "open-" not in machine(f"tr '\\0' '\\n' </proc/{main_pid(machine)}/environ")
    machine("rm /etc/credstore/emotion-edge.mqtt_password; systemctl stop strict-broker")
    config.write_text(CONFIG)
    machine(f"systemctl restart {UNIT}")
    assert faces(machine, 30) == 2


def test_edge_tpu_child_runs_in_the_unit_sandbox(machine: Machine) -> None:
    chip = machine.root / "srv/chip"
    chip.mkdir()
    stub = Stub(chip)
    write_compiled_model(chip)
    at, drop_in = "/srv/chip", "/etc/systemd/system/emotion-edge.service.d"
    machine(f"echo {at} >/etc/ld.so.conf.d/chip.conf; ldconfig; touch /dev/apex_0; mkdir {drop_in}")
    machine(f"ln -s /usr/share/emotion-edge/drop-ins/coral-*.conf {drop_in}; systemctl daemon-reload")
    config = machine.root / "etc/emotion-edge/config.toml"
    config.write_text(f'{CONFIG}[model]\nfile = "{at}/emotion.edgetpu.tflite"\nruntime = "edgetpu"\n')
    since = time.time()
    machine(f"systemctl restart {UNIT}")

    def reported(line: str, times: int = 1) -> bool:
        return eventually(lambda: machine.journal(UNIT, since).count(line) >= times, 90)

    def child() -> int:
        return int(machine("grep -al 'from edge[.]analysis[.]runtimes' /proc/[0-9]*/cmdline | cut -d/ -f3"))

    proven = ", verified by its golden vectors"
    assert reported(proven), machine.journal(UNIT, since)
    assert machine(f"grep -E '^(Seccomp|NoNewPrivs):' /proc/{child()}/status").split()[1::2] == ["1", "2"]
    assert "CREDENTIALS" not in machine(f"tr '\\0' '\\n' </proc/{child()}/environ")
    assert faces(machine, 30) == 2
    daemon, first = main_pid(machine), child()
    for tries, (fault, reason) in enumerate(
        (("hang", "no answer within 1 s"), ("abort", "crashes (SIGABRT)")), 2
    ):
        stub.set(fault)
        assert reported(f"Edge TPU: {reason}")
        assert faces(machine, 10) == 2  # by its twin on the CPU
        stub.set("load")
        assert reported(proven, tries), machine.journal(UNIT, since)
    assert (main_pid(machine), child() != first) == (daemon, True)
    config.write_text(CONFIG)
    machine(f"rm -r {drop_in} /dev/apex_0 /etc/ld.so.conf.d/chip.conf; ldconfig; systemctl daemon-reload")
    machine(f"systemctl restart {UNIT}")
    assert machine("grep -al 'from edge[.]analysis[.]runtimes' /proc/[0-9]*/cmdline", check=False) == ""


def test_demo_runs_as_unprivileged_user(machine: Machine) -> None:
    output = machine("su games -s /bin/sh -c 'HOME=$(mktemp -d) emotion-edge demo --seconds 8'")
    assert re.search(r"portraits +face \d +none +(→|->) +\w+", output), output
    assert output.endswith("emotion-edge/demo/status")


def test_files_are_installed_only_where_expected(machine: Machine, before: set[str]) -> None:
    assert sorted(path for path in paths(machine) - before if not OURS.match(path)) == []


def test_upgrade_restarts_and_keeps_configuration_and_state(machine: Machine, tmp_path: Path) -> None:
    old, state = main_pid(machine), machine("ls /var/lib/emotion-edge")
    # A switch in the format of versions that kept one file for all nodes.
    earlier = machine.root / "var/lib/emotion-edge/switches.json"
    earlier.write_text('{"v": 1, "nodes": {"booted": {"hall": {"min_confidence": "0.125"}}}}')
    machine(f"chown emotion-edge:emotion-edge /var/lib/emotion-edge/{earlier.name}")
    unpacked = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "-R", PACKAGE, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^(Version: .+)$", r"\1+next", control.read_text()))
    with (unpacked / "etc/emotion-edge/config.toml").open("a") as shipped:
        shipped.write("# another default\n")
    target = machine.root / "srv/next.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--build", unpacked, target], check=True)
    keep = "-o Dpkg::Options::=--force-confold"  # what dpkg does where one presses Enter
    machine(f"apt-get install -y --no-install-recommends {keep} /srv/next.deb")
    assert machine("dpkg-query -W -f '${Version}' emotion-edge").endswith("+next")
    assert eventually(lambda: active(machine) and main_pid(machine) not in (0, old), 60)
    assert faces(machine, 30) == 2
    assert (machine.root / "etc/emotion-edge/config.toml").read_text() == CONFIG
    assert received(machine, "hall/min_confidence/state") == "0.125"
    assert not earlier.exists()
    assert set(state.split()) <= set(machine("ls /var/lib/emotion-edge").split())


def test_removal_stops_daemon_and_keeps_configuration_and_state(machine: Machine) -> None:
    machine("apt-get remove -y emotion-edge")
    assert machine("grep -al /usr/bin/emotion-edg[e] /proc/[0-9]*/cmdline", check=False) == ""
    assert (machine.root / "etc/emotion-edge/config.toml").read_text() == CONFIG
    assert machine("ls /var/lib/emotion-edge")
    assert not (machine.root / "usr/lib/emotion-edge").exists()
    assert received(machine, "status") == "offline"


def test_purge_leaves_nothing(machine: Machine, before: set[str]) -> None:
    machine("apt-get purge -y emotion-edge")
    assert sorted(path for path in paths(machine) - before if path != "/etc/credstore") == []
    assert machine("getent passwd emotion-edge", check=False) == ""
