"""sd_notify(3) in a few lines."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

SEND_S = 1.0  # the manager reads at once; the longest wait otherwise


class Notifier:
    """Sends to *address* (``/path`` or ``@abstract``); to nobody where that is empty. Never raises.

    *watchdog_s*: the manager kills after so many seconds without a ``WATCHDOG=1``; 0: it does not.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self.watchdog_s = watchdog_s if address else 0.0
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """From *environment*, which loses the variables: a child must not report for us."""
        address = environment.pop("NOTIFY_SOCKET", "")
        microseconds = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_s = int(microseconds) / 1e6 if microseconds.isdecimal() and meant else 0.0
        return cls(address if address.startswith(("/", "@")) else "", watchdog_s)

    def __bool__(self) -> bool:
        return bool(self._address)

    def send(self, **fields: str | int) -> None:
        """Send *fields* as one datagram of ``KEY=value`` lines."""
        if not self._address:
            return
        lines = "\n".join(f"{key}={' '.join(str(value).split())}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.settimeout(SEND_S)
                to.sendto(lines.encode(errors="replace"), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                log.warning("NOTIFY_SOCKET: %s; systemd is not informed", error.strerror or error)
