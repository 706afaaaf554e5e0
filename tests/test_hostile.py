"""A flood of commands as nobody should send them (row 19); `make soak` sends all 10,000."""

from __future__ import annotations

from pathlib import Path

from tests import chaos, hostile


def test_hostile_commands_cost_neither_threads_nor_memory_nor_the_log(tmp_path: Path) -> None:
    chaos.check(hostile.flooded(tmp_path, 2_000))
