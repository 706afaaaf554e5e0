"""CPU and memory cost of the page: `python -m tests.page_cost`; two viewers against no page.

Both daemons run at the same time, so that other load affects both.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.broker import Mosquitto, eventually
from tests.page import CAMERA, WebDaemon
from tests.process import Process

SECONDS = 60.0


def view(web: WebDaemon, stopping: threading.Event) -> None:
    """Send the requests of a browser with the page open."""
    bearer = {"Authorization": f"Bearer {web.token}"}
    with (
        suppress(OSError),
        urllib.request.urlopen(urllib.request.Request(f"{web.url}events", headers=bearer)) as states,
    ):
        due = 0.0
        while not stopping.is_set():
            states.readline()
            if time.monotonic() >= due:
                due = time.monotonic() + 2
                asked = urllib.request.Request(f"{web.url}timelines?span=10min", headers=bearer)
                with urllib.request.urlopen(asked) as answer:
                    answer.read()


def cpu_s(daemon: Process) -> float:
    """CPU time used so far, in s."""
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(daemon: Process) -> float:
    pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="cost-", ignore_cleanup_errors=True) as folder:
        places = [Path(folder, name) for name in ("on", "off")]
        for place in places:
            place.mkdir()
        mosquitto = Mosquitto(Path(folder))
        mosquitto.start()
        web = WebDaemon(places[0], mosquitto)
        text = f'[node]\nid = "off"\n[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\n{CAMERA}'
        plain = Process(places[1], text)
        try:
            assert eventually(lambda: "camera hall: online" in plain.log_so_far())
            stopping = threading.Event()
            for _ in range(2):
                threading.Thread(target=view, args=(web, stopping), daemon=True).start()
            time.sleep(10)
            both = web.daemon, plain
            before, began = [cpu_s(one) for one in both], time.monotonic()
            time.sleep(SECONDS)
            took = time.monotonic() - began
            shares = [100 * (cpu_s(one) - was) / took for one, was in zip(both, before, strict=True)]
            memory = [rss_mib(one) for one in both]
            stopping.set()
        finally:
            web.close()
            plain.close()
            mosquitto.kill()
    print(f"CPU, % of a core: {shares[0]:.1f} with two viewers, {shares[1]:.1f} without a page")
    print(f"RSS, MiB: {memory[0]:.1f} with two viewers, {memory[1]:.1f} without a page")


if __name__ == "__main__":
    main()
