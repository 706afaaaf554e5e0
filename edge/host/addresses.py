"""Addresses as people write them, passwords unescaped: parsed, and rebuilt as RFC 3986 wants them.

RFC 3986 ends the host at the first ``/``, ``?`` or ``#`` and wants these percent-encoded in a password.
People paste the password as it is. Where it is unclear which ``@`` ends it, that is an error, not a guess.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote

from edge.types import EdgeError

_SCHEME = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*)://")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+(?:%25?[\w.-]+)?\]|[\w.-]+)(:\d{1,5})?(?=[/?#]|\Z)")
_UNCLEAR = (
    "unclear where its host is; write @ : / ? # % and space in a user name or password as "
    "%40 %3A %2F %3F %23 %25 %20, and an @ after the host as %40"
)


class Address(NamedTuple):
    """``scheme://userinfo@host:port/rest``; each part as it was written."""

    scheme: str
    userinfo: str | None  # None: there is none
    host: str  # with its port
    rest: str  # path, query and fragment

    @property
    def standard(self) -> str:
        """The address as RFC 3986 has it: what only a raw user name or password has is percent-encoded."""
        if self.userinfo is None:
            return f"{self.scheme}://{self.host}{self.rest}"
        user, colon, password = self.userinfo.partition(":")
        return f"{self.scheme}://{_encoded(user)}{colon}{_encoded(password)}@{self.host}{self.rest}"


def has_scheme(text: str) -> bool:
    """Whether *text* begins as an address does."""
    return _SCHEME.match(text) is not None


def standard(text: str) -> str:
    """The address *text* as RFC 3986 has it; EdgeError, which shows nothing of it but scheme and port,
    where taken_apart() finds no host, or its port does not exist."""
    address = taken_apart(text)
    if address is None:
        raise EdgeError(f"{text.partition('://')[0]}://…: {_UNCLEAR}")
    port = re.search(r":(\d+)\Z", address.host)
    if port and not 1 <= int(port[1]) <= 65535:
        raise EdgeError(f"{address.scheme}://…: port {port[1]} is out of range; expected 1 to 65535")
    return address.standard


def taken_apart(text: str) -> Address | None:
    """The parts of the address *text*; None where it has no host, or more than one part could be the host."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return None
    after = text[scheme.end() :].rstrip()
    strict = re.split("[/?#]", after, maxsplit=1)[0].rfind("@") + 1
    starts = [0, *(found.end() for found in re.finditer("@", after))]
    hosts = {start: found for start in starts if (found := _HOST.match(after, start))}
    if strict in hosts and _is_sure(hosts[strict], strict):
        start = strict
    elif len(hosts) == 1:
        (start,) = hosts
    else:
        return None
    host = hosts[start]
    userinfo = after[: start - 1] if start else None
    return Address(scheme[1], userinfo, host[0], after[host.end() :])


def _is_sure(host: re.Match[str], start: int) -> bool:
    """Whether it can be no piece of a user name or password, whatever comes after it."""
    if "@" not in host.string[host.end() :]:
        return True
    if start == 0 and host[2] is None:  # a user name has a password after it
        return True
    try:
        ipaddress.ip_address(host[1].strip("[]").partition("%")[0])
    except ValueError:
        return host[1].lower() == "localhost"
    return True


def _encoded(part: str) -> str:
    """*part* with what RFC 3986 does not allow there encoded; what is encoded already stays."""
    return quote(re.sub(r"%(?![0-9a-fA-F]{2})", "%25", part), safe="!$&'()*+,;=~%")
