"""The broker's name as people write it: an address in brackets, with a port, or as part of an address."""

from __future__ import annotations

import ipaddress
import re

from edge.settings.mistakes import rule

_SCHEMES: dict[str, dict[str, str]] = {  # what a scheme sets besides the host
    "mqtt": {}, "tcp": {}, "mqtts": {"tls": "true"}, "ssl": {"tls": "true"}, "tls": {"tls": "true"},
    "ws": {"transport": '"websockets"'}, "http": {"transport": '"websockets"'},
    "wss": {"transport": '"websockets"', "tls": "true"},
    "https": {"transport": '"websockets"', "tls": "true"},
}  # fmt: skip
_NAME = re.compile(r"[^\s/@:\[\]?#\x00-\x1f\x7f]{1,253}")


def broker_host(text: str) -> str:
    """The host in *text*, without brackets; PydanticCustomError, with the keys to set, if there is more."""
    host, rest = _split(text)
    if host is not None and not rest:
        return host
    scheme, separator, address = text.rpartition("://")
    _, at, address = address.rpartition("@")
    address, slash, path = address.partition("/")
    host, port = _split(address)
    keys = _SCHEMES.get(scheme.lower())
    if host is None or (separator and keys is None):
        raise rule("expected a host name or address alone, without a scheme, port or path")
    wanted = {"host": f'"{host}"'}
    if port and not 1 <= int(port) <= 65535:
        raise rule(f'port {port} does not exist; write host = "{host}" and a port from 1 to 65535')
    if port:
        wanted["port"] = port
    wanted |= keys or {}
    if slash and path and "websockets" in wanted.get("transport", ""):
        wanted["path"] = "the part from / on"
    if at:
        wanted |= {"username": "the user name", "password_file": "a file with the password"}
    raise rule(f"expected the host alone; write {', '.join(f'{key} = {it}' for key, it in wanted.items())}")


def _split(text: str) -> tuple[str | None, str]:
    """(host, port) of ``host``, ``host:port``, ``::1``, ``[::1]`` or ``[::1]:port``; (None, "") of others."""
    found = re.fullmatch(r"\[([^\[\]]+)\](?::(\d{1,5}))?", text)
    if found is not None:
        return (found[1], found[2] or "") if _is_six(found[1]) else (None, "")
    if _is_six(text):
        return text, ""
    name, colon, port = text.partition(":")
    if not _NAME.fullmatch(name) or (colon and not re.fullmatch(r"\d{1,5}", port)):
        return None, ""
    return name, port


def _is_six(text: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv6Address)
    except ValueError:
        return False
