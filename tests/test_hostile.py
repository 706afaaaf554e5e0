"""A flood of malformed commands (row 19); `make soak` sends all 10,000."""

from __future__ import annotations

from pathlib import Path

from tests import chaos, hostile


def test_hostile_commands_cost_no_threads_memory_or_log(tmp_path: Path) -> None:
    chaos.check(hostile.flood(tmp_path, 2_000))
