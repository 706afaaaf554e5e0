"""What a smart home may change on a running camera, and the file that remembers it.

A switch wins over config.toml, also over a config.toml that is changed later, until it is set to what
config.toml says: from then on the camera follows config.toml again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge.analysis.report import Rules
from edge.host.disk import StateFile

NAMES = ("enabled", "min_confidence", "hold")
LIMITS = {"min_confidence": 1.0, "hold": 60.0}  # the largest of each; the smallest is 0

_PLAIN = re.compile(rb"\+?([0-9]{1,3}(\.[0-9]{0,20})?|\.[0-9]{1,20})")
_DECIMALS = 3


class Refused(ValueError):  # noqa: N818
    """A refused command: the reason in one short line."""


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
        same = text(value) == Switches().states(configured)[name]
        change: dict[str, Any] = {name: None if same else value}
        return replace(self, **change)

    def over(self, configured: Rules) -> Rules:
        """The rules in force: *configured* where no switch says otherwise."""
        rules = configured
        if self.min_confidence is not None:
            rules = replace(rules, min_confidence=self.min_confidence)
        return rules if self.hold is None else replace(rules, hold_s=self.hold)

    def states(self, configured: Rules) -> dict[str, str]:
        """Name of each switch -> the value in force, as published."""
        rules = self.over(configured)
        return {"enabled": text(self.on), "min_confidence": text(rules.min_confidence),
                "hold": text(rules.hold_s)}  # fmt: skip


def parse(name: str, payload: bytes) -> bool | float:
    """The value that *payload* asks of *name*: ON or OFF in any case, or a plain decimal; Refused."""
    given, payload = payload, payload.strip()  # a shell's echo ends in a newline
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


def switches_file(path: Path) -> StateFile[dict[str, Switches]]:
    """Camera -> its switches; texts() gives what is written."""
    return StateFile(path, "cameras", _cameras, "every switch is as config.toml says")


def texts(cameras: Mapping[str, Switches]) -> dict[str, dict[str, str]]:
    """The switches of *cameras* that do not follow config.toml."""
    turned = {name: asdict(switches) for name, switches in cameras.items() if switches != Switches()}
    return {
        name: {switch: text(value) for switch, value in values.items() if value is not None}
        for name, values in turned.items()
    }


def _cameras(content: Mapping[str, Any]) -> dict[str, Switches]:
    cameras = {}
    for camera, given in content.items():
        if not isinstance(given, dict) or not given.keys() <= set(NAMES):
            raise ValueError("not a camera's switches")
        # Parsed as over MQTT: what cannot be set cannot be read.
        values: dict[str, Any] = {name: parse(name, str(value).encode()) for name, value in given.items()}
        cameras[camera] = Switches(**values)
    return cameras
