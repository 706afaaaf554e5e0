"""Where Linux shows a Coral Edge TPU: the stick on USB under two ids, the card as /dev/apex_*."""

from __future__ import annotations

from pathlib import Path

from edge.host.places import content_of

USB = {
    ("1a6e", "089a"): "before its firmware is loaded (1a6e:089a)",
    ("18d1", "9302"): "ready (18d1:9302)",
}
NO_STICK = "no USB device 1a6e:089a or 18d1:9302; plug it in"
NO_CARD = "no /dev/apex_*; a card needs Coral's gasket driver"


def sticks(root: Path = Path("/")) -> list[str]:
    """The state of each USB stick; *root* is where dev and sys are."""
    devices = sorted(root.glob("sys/bus/usb/devices/*"))
    ids = ((content_of(device / "idVendor"), content_of(device / "idProduct")) for device in devices)
    return [USB[one] for one in ids if one in USB]


def cards(root: Path = Path("/")) -> list[str]:
    """The device of each card."""
    return [f"/dev/{card.name}" for card in sorted(root.glob("dev/apex_*"))]


def absent(root: Path = Path("/")) -> str:
    """Why there is no Edge TPU to be tried; empty where one is seen."""
    return "" if cards(root) or sticks(root) else f"no Coral found: {NO_STICK}"
