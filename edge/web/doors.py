"""Who comes in: every request passes here first. Refusals are logged once a minute and status."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.mqtt.inbox import Allowance
from edge.web.token import Token

log = logging.getLogger(__name__)

MAX_HEADERS = 16 * 1024  # bytes of a request's headers
MAX_BODY = 4096  # bytes of a request
MAX_TARGET = 1024  # characters of path and query
LOG_S = 60.0
RATES = (100, 200), (10, 40)  # requests a second and at once: with the token, without
OPEN = ("/login", "/page.css")  # for browsers without a token
READS = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Refusal(Exception):  # noqa: N818
    """A request that is not served: *status*, and why in one line."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status

    def response(self) -> Response:
        return PlainTextResponse(f"{self}\n", self.status)


class Doors:
    """Serves with *app* what may be served.

    *token* None: a unix socket, guarded by its file mode. *hosts*: names by which browsers come, besides
    localhost and the address they came to. *login*: the page for a browser without a token.
    """

    def __init__(
        self, app: ASGIApp, token: Token | None, hosts: Iterable[str], login: Callable[[], Response]
    ) -> None:
        self._app = app
        self._token = token
        self._hosts = {"localhost", "127.0.0.1", "[::1]", *hosts}
        self._login = login
        self._logged: dict[int, float] = {}  # status -> when such a refusal was logged last
        # All without a token share one: they must not keep out those who have it.
        self._known, self._unknown = (Allowance(rate, burst, time.monotonic) for rate, burst in RATES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        response: ASGIApp
        try:
            response = self._admit(scope, headers)
        except Refusal as refusal:
            self._log(refusal, scope)
            response = refusal.response()
        await response(scope, receive, with_headers)

    def _admit(self, scope: Scope, headers: Headers) -> ASGIApp:
        """What answers the request; Refusal."""
        known = self._token is None or self._is_known(headers, self._token)
        if not (self._known if known else self._unknown).take():
            raise Refusal(429, "too many requests; wait a second")
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET:
            raise Refusal(414, f"address longer than {MAX_TARGET} characters")
        # h11 bounds only what comes in more than one piece.
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADERS:
            raise Refusal(431, f"headers larger than {MAX_HEADERS} bytes")
        self._check_host(scope, headers)
        self._check_origin(scope, headers)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:9]) > MAX_BODY or len(length) > 9:
            raise Refusal(413, f"body larger than {MAX_BODY} bytes")
        if known or scope["path"] in OPEN:
            return self._app
        if scope["path"] == "/" and scope["method"] in READS and "authorization" not in headers:
            return self._login()
        raise Refusal(401, "no token, or a wrong one; see `emotion-edge web token`")

    def _is_known(self, headers: Headers, token: Token) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if given:
            return scheme.lower() == "bearer" and token.matches(given.strip())
        return token.opens(_cookie(headers, token.cookie))

    def _check_host(self, scope: Scope, headers: Headers) -> None:
        """Against DNS rebinding: a foreign page whose name was made to lead here asks with that name."""
        host = headers.getlist("host")
        name = _name(host[0]) if len(host) == 1 else ""
        # The address that the connection came to is no name that could lead here.
        if name not in self._hosts and not (name and name == _literal(scope["server"])):
            raise Refusal(421, f"Host {_shown(', '.join(host))} is not known here; add its name to web.hosts")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Against other pages, which may neither read nor change anything."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is not None and origin.partition("://")[2].lower() != headers["host"].lower():
            raise Refusal(403, f"Origin {_shown(origin)} is another page")
        if scope["method"] not in READS and origin is None and site is None:
            raise Refusal(403, "neither Origin nor Sec-Fetch-Site; only the page itself changes anything")
        if scope["method"] not in READS and site not in (None, "same-origin"):
            raise Refusal(403, f"Sec-Fetch-Site {_shown(site)}; expected same-origin")

    def _log(self, refusal: Refusal, scope: Scope) -> None:
        now = time.monotonic()
        if now - self._logged.get(refusal.status, now - LOG_S) >= LOG_S:
            self._logged[refusal.status] = now
            client = scope["client"][0] if scope["client"] else "the socket"
            log.warning("web: refused from %s: %s", client, refusal)


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _name(host: str) -> str:
    """The name in a Host header."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdigit() else host.lower()


def _literal(server: tuple[str, Any] | None) -> str:
    """The address of *server* as a Host header has it; empty for a unix socket."""
    if not server or server[1] is None:
        return ""
    try:
        address = ipaddress.ip_address(server[0].partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None) or address
    return f"[{mapped}]" if mapped.version == 6 else f"{mapped}"


def _shown(text: str | None) -> str:
    return ascii((text or "")[:80])
