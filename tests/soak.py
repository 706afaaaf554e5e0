"""`make soak`: the faults of tests/test_chaos.py for longer; with SOAK=full, the full counts.

Prints a table of figures and exits with 1 if one missed its limit. `python -m tests.soak ROW…`
runs only these rows. Row 8 needs the privilege to mount a disk, row 23 to make a cgroup (root).
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests import (
    chaos,
    chaos_cameras,
    chaos_daemon,
    chaos_outbox,
    damaged_models,
    gate_cost,
    hostile,
    many_nodes,
    quota,
)
from tests.chaos import Figure

Fault = Callable[[Path], list[Figure]]

# Row, "fleet" (many nodes) or "gate" (cost of the motion gate) -> the fault; takes some minutes.
SHORT: Mapping[str, Fault] = {
    "1": lambda folder: chaos.broker_killed(folder, outage_s=10),
    "2": lambda folder: chaos.broker_frozen(folder, keepalive_s=5),
    "3": lambda folder: chaos_daemon.silent_broker(seconds=5),
    "4": lambda folder: chaos.bad_network(folder, bad_s=20),
    "5": lambda folder: chaos_outbox.killed(folder, kills=20),
    "6+7": lambda folder: chaos_outbox.backlog(folder, rows=2000),
    "8": lambda folder: chaos_daemon.disk_full(folder / "1") + chaos_daemon.disk_silent(folder / "2"),
    "9": chaos_daemon.corrupt_file,
    "10": lambda folder: (
        chaos_cameras.http_frozen(folder / "http") + chaos_cameras.rtsp_frozen(folder / "rtsp")
    ),
    "11": lambda folder: chaos_cameras.cut(100),
    "12": chaos_cameras.unplugged,
    "13": chaos_cameras.misleading_pictures,
    "16": lambda folder: chaos_outbox.clock_jumps(folder, events_s=5),
    "17": lambda folder: damaged_models.damaged(folder, mutants=200),
    "19": lambda folder: hostile.flood(folder, 2_000),
    "22": lambda folder: chaos_daemon.soak(folder, 6000, broker_cycles=10, camera_cycles=10),
    "23": lambda folder: quota.cpu_limited(folder, seconds=20),
    "fleet": lambda folder: many_nodes.many_nodes_figures(folder, nodes=20, seconds=15),
    "gate": lambda folder: gate_cost.costs("ssd", 2000) + gate_cost.costs("haar", 600),
}
# The full counts; takes some hours, mostly row 22.
FULL: Mapping[str, Fault] = {
    **SHORT,
    "1": lambda folder: chaos.broker_killed(folder, outage_s=60),
    "2": lambda folder: chaos.broker_frozen(folder, keepalive_s=15),
    "3": lambda folder: chaos_daemon.silent_broker(seconds=20),
    "4": lambda folder: chaos.bad_network(folder, bad_s=120),
    "5": lambda folder: chaos_outbox.killed(folder, kills=200),
    "6+7": lambda folder: chaos_outbox.backlog(folder, rows=10_000),
    "16": lambda folder: chaos_outbox.clock_jumps(folder, events_s=30),
    "17": lambda folder: damaged_models.damaged(folder, mutants=2_000),
    "19": lambda folder: hostile.flood(folder, 10_000),
    "22": lambda folder: chaos_daemon.soak(
        folder, 100_000, broker_cycles=250, camera_cycles=250, daemons=2, fps=30
    ),
    "23": lambda folder: quota.cpu_limited(folder, seconds=300),
    "fleet": lambda folder: many_nodes.many_nodes_figures(folder, nodes=20, seconds=300),
    "gate": lambda folder: gate_cost.costs("ssd", 10_000) + gate_cost.costs("haar", 2000),
}


def main(wanted: list[str]) -> int:
    """Run the *wanted* rows (default: all) and print the figures; return 1 if one missed its limit."""
    logging.basicConfig(level="ERROR")  # outages are intended
    faults = FULL if os.environ.get("SOAK") == "full" else SHORT
    if unknown := set(wanted) - set(faults):
        print(f"soak: no row {', '.join(sorted(unknown))}; expected {', '.join(faults)}", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    broken = []
    for row in wanted or faults:
        began = time.monotonic()
        print(f"row {row} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            try:
                figures += faults[row](Path(folder))
            except pytest.skip.Exception as reason:
                print(f"row {row}: skipped: {reason}")
            except AssertionError as error:  # failed before giving figures
                broken.append(f"row {row}: {error}")
        print(f"row {row}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"\n{'row':<5} {'measured':>10} {'limit':>8}")
    for figure in figures:
        held = "" if figure.held else "  <-- not held"
        print(f"{figure.row:<5} {figure.value:>10.4g} {figure.limit:>8g}  {figure.what}{held}")
    for line in broken:
        print(line)
    return int(bool(broken) or not all(figure.held for figure in figures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
