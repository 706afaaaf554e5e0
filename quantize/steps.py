"""Progress of long commands: a bar over named steps, and the time each took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Steps:
    """Use as ``with steps("measuring"):``; the bar only shows on a terminal, a line per step always."""

    def __init__(self, total: int) -> None:
        self.total = total  # expected number of steps
        self.seconds: dict[str, float] = {}  # name -> duration; repeated steps are summed

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        from tqdm import tqdm

        began, done = time.monotonic(), len(self.seconds)
        bar = tqdm(
            desc=name, total=max(self.total, done + 1), initial=done, leave=False, disable=None,
            bar_format="{desc} {bar} {n_fmt}/{total_fmt}",
        )  # fmt: skip
        try:
            yield
        finally:  # also for a step that fails, to show which one it was
            bar.close()
            took = time.monotonic() - began
            self.seconds[name] = self.seconds.get(name, 0) + took
            print(f"{took:6.1f} s  {name}", flush=True)
