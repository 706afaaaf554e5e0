"""Why a file or an address does not open, in words that say what to do."""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

import av

_ASTRAY = "it leads elsewhere; streams may lead to http, https and rtsp only, files to files next to them"
_NO_VIDEO = "no video that FFmpeg can read"


def complaint(error: Exception, address: str = "") -> str:
    """PyAV's *error* in opening *address*, or (left out) in reading on, without the address."""
    host = _host(address)
    code = getattr(error, "errno", None)
    match error:
        case av.HTTPUnauthorizedError():
            scheme = address.partition(":")[0]
            return (
                f"user name or password is missing or wrong (401); expected {scheme}://user:password@host/…"
            )
        case av.HTTPForbiddenError():
            return "the user may not see this (403); check the camera's user rights"
        case av.HTTPNotFoundError():
            return "nothing at this path (404); check what follows the host's name"
        case av.HTTPError() | av.HTTPClientError():
            # FFmpeg's "Server returned 5XX Server Error reply"
            answer = str(error.strerror).removeprefix("Server returned ").removesuffix(" reply")
            return f"the server answers {answer}; try again later, or look at the camera's own page"
        case av.ConnectionRefusedError():
            return "connection refused; is the camera on, and is the port right?"
        case av.TimeoutError():
            return "no answer; is the camera on, and is the address right?"
        case av.ArgumentError() if host:
            return _ASTRAY
        case av.InvalidDataError() | av.LookupError() | av.ArgumentError():
            return _NO_VIDEO if address else "what came is no video"
    if code in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "no way to this host; is the network up?"
    if code == errno.EPROTONOSUPPORT:
        return 'the camera does not send this way; set rtsp_transport to the other of "tcp" and "udp"'
    if code == errno.EPERM:
        return _ASTRAY
    if code == errno.EIO and not address:
        return "no picture came; the sender broke off"
    if host and code == errno.EIO:
        return "the connection broke; is the scheme right?" if _is_known(host) else f"no such host {host}"
    return str(getattr(error, "strerror", None) or error)


def _host(address: str) -> str:
    if address.startswith("file:"):
        return ""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _is_known(host: str) -> bool:
    """Whether *host* has an address; asked only after a failure, as FFmpeg gives no reason."""
    try:
        return bool(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):  # UnicodeError: a label of more than 63 characters
        return False
