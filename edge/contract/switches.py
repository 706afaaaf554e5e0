"""What a smart home may change of a camera while it runs, and the file that remembers it.

A switch wins over config.toml, also over a config.toml that is changed later, until it is set to what
config.toml says: from then on the camera follows config.toml again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge.analysis.report import Rules
from edge.host.disk import read_whole

log = logging.getLogger(__name__)

NAMES = ("enabled", "min_confidence", "hold")
LIMITS = {"min_confidence": 1.0, "hold": 60.0}  # the largest of each; the smallest is 0

_PLAIN = re.compile(rb"\+?([0-9]{1,3}(\.[0-9]{0,20})?|\.[0-9]{1,20})")
_DECIMALS = 3
_MAX_FILE_BYTES = 1 << 20


class Refused(ValueError):  # noqa: N818
    """A command that is not carried out: the reason in one short line, fit for a log and an answer."""


@dataclass(frozen=True, slots=True)
class Switches:
    """One camera's; None where it follows config.toml."""

    enabled: bool | None = None
    min_confidence: float | None = None  # 0..1
    hold: float | None = None  # s, 0..60

    @property
    def on(self) -> bool:
        return self.enabled is not False

    def turned(self, name: str, value: bool | float, configured: Rules) -> Switches:
        """These switches with *name* at *value*, or following config.toml where it says the same."""
        same = text(value) == text(_configured(name, configured))
        change: dict[str, Any] = {name: None if same else value}
        return replace(self, **change)

    def over(self, configured: Rules) -> Rules:
        """The rules in force: *configured* where no switch says otherwise."""
        rules = configured
        if self.min_confidence is not None:
            rules = replace(rules, min_confidence=self.min_confidence)
        return rules if self.hold is None else replace(rules, hold_s=self.hold)

    def states(self, configured: Rules) -> dict[str, str]:
        """Name of each switch -> what is in force, as its state topic tells it."""
        rules = self.over(configured)
        return {"enabled": text(self.on), "min_confidence": text(rules.min_confidence),
                "hold": text(rules.hold_s)}  # fmt: skip


def parse(name: str, payload: bytes) -> bool | float:
    """The value that *payload* asks of switch *name*; Refused where it is none.

    ``enabled``: ON or OFF in any case. The others: a plain decimal number, kept to 3 decimals. Space around
    it does not count: a shell's echo ends in a newline.
    """
    given, payload = payload, payload.strip()
    if name == "enabled":
        word = payload.upper()
        if word not in (b"ON", b"OFF"):
            raise Refused(f"found {shown(given)}; expected ON or OFF")
        return word == b"ON"
    largest = LIMITS[name]
    if not _PLAIN.fullmatch(payload) or float(payload) > largest:
        raise Refused(f"found {shown(given)}; expected a plain number from 0 to {largest:g}")
    return round(float(payload), _DECIMALS)


def text(value: bool | float) -> str:
    """*value* as topics carry it: ON, OFF, or a plain decimal number."""
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


def shown(payload: bytes) -> str:
    """The beginning of *payload*, in printable ASCII and quotes."""
    if not payload:
        return "nothing"
    start = ascii(payload[:24].decode("utf-8", "backslashreplace"))
    return start if len(payload) <= 24 else f"{start} and {len(payload) - 24} bytes more"


def read_switches(path: Path) -> dict[str, Switches]:
    """Camera -> its switches, from *path*; none, and a warning, where it is damaged or cannot be read."""
    try:
        return _cameras(json.loads(read_whole(path, _MAX_FILE_BYTES)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "damaged"
        log.warning("%s: %s; every switch is as config.toml says", path, str(reason).lower())
        return {}


def switches_text(cameras: Mapping[str, Switches]) -> str:
    """What read_switches() reads: the switches of *cameras*."""
    turned = {name: _texts(it) for name, it in cameras.items() if it != Switches()}
    return json.dumps({"v": 2, "cameras": turned})


def _texts(switches: Switches) -> dict[str, str]:
    return {name: text(value) for name, value in asdict(switches).items() if value is not None}


def _cameras(content: Any) -> dict[str, Switches]:
    """ValueError where *content* is not what switches_text() gave."""
    match content:
        case {"v": 2, "cameras": dict() as cameras}:
            return {name: _switches(texts) for name, texts in cameras.items()}
    raise ValueError("not the switches of this version")


def _switches(texts: Any) -> Switches:
    if not isinstance(texts, dict) or not texts.keys() <= set(NAMES):
        raise ValueError("not a camera's switches")
    # By the same door as over MQTT: what cannot be set cannot be read.
    values: dict[str, Any] = {name: parse(name, str(value).encode()) for name, value in texts.items()}
    return Switches(**values)


def _configured(name: str, rules: Rules) -> bool | float:
    values = {"enabled": True, "min_confidence": rules.min_confidence, "hold": rules.hold_s}
    return values[name]
