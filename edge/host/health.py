"""How the board fares: memory, temperature and throttling from /proc and /sys alone."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

# Bits of the Raspberry Pi firmware's get_throttled for the present (the upper half is for the past).
THROTTLED = ("under-voltage", "frequency capped", "throttled", "soft temperature limit")


def rss_mib(proc: Path = Path("/proc")) -> float:
    """Resident memory of this process in MiB; 0 without /proc."""
    with suppress(OSError, ValueError, IndexError):
        pages = int((proc / "self" / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return 0.0


def waited_s(proc: Path = Path("/proc")) -> float | None:
    """Seconds so far that this thread was runnable without a processor, a quota's too; None where unknown."""
    with suppress(OSError, ValueError, IndexError):
        text = (proc / "self" / "task" / str(threading.get_native_id()) / "schedstat").read_text()
        return int(text.split()[1]) / 1e9
    return None


def temperature_c(sys: Path = Path("/sys")) -> float | None:
    """The processor's hottest sensor in °C; None where the board names none."""
    found = []
    for zone in sorted((sys / "class" / "thermal").glob("thermal_zone*")):
        with suppress(OSError, ValueError):  # some zones exist and give an error when they are read
            name = (zone / "type").read_text().strip().lower()
            if any(word in name for word in ("cpu", "soc", "x86_pkg")):  # a Jetson's PMIC always says 100 °C
                found.append(int((zone / "temp").read_text()) / 1000)
    return max(found, default=None)


def throttled(sys: Path = Path("/sys")) -> tuple[str, ...] | None:
    """Why a Raspberry Pi runs slower now, empty when it does not; None on other boards."""
    for path in (sys / "devices" / "platform").glob("soc*/soc*firmware/get_throttled"):
        with suppress(OSError, ValueError):
            bits = int(path.read_text(), 16)
            return tuple(name for bit, name in enumerate(THROTTLED) if bits >> bit & 1)
    return None
