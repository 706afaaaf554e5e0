"""What takes long, told while it runs: a bar over named steps, and what each took."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Steps:
    """Used as ``with steps("measuring"):``; the bar shows on a terminal only, a line a step anywhere."""

    def __init__(self, total: int) -> None:
        self.total = total  # steps that are expected
        self.seconds: dict[str, float] = {}  # name -> what it took; of one that came twice, both together

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
        finally:  # of one that fails, too: it is told where that was
            bar.close()
            took = time.monotonic() - began
            self.seconds[name] = self.seconds.get(name, 0) + took
            print(f"{took:6.1f} s  {name}", flush=True)
