"""The page's parts from its settings: token, doors, routes and the thread that serves them."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from edge.contract.messages import Topics
from edge.host.places import state_file
from edge.settings.tables import Web
from edge.types import EdgeError, Incoming
from edge.web.board import Board, FaultHandler
from edge.web.doors import Doors
from edge.web.routes import Routes
from edge.web.server import Server, listen
from edge.web.token import NAME, Token, write_token

log = logging.getLogger(__name__)

LOOPBACK = ("127.", "::1", "localhost")


class Page:
    """*board* for browsers; *ask* takes what they ask of a switch, as if over MQTT. EdgeError."""

    def __init__(self, part: Web, topics: Topics, board: Board, ask: Callable[[Incoming], None]) -> None:
        self._part = part
        self._faults = FaultHandler(board)
        tls = _tls(part)
        token = None if part.socket else _token(topics.node)
        routes = Routes(board, topics, ask, token, part)
        doors = Doors(routes.app(), token, hosts_of(part), routes.login_page)
        self._server = Server(doors, listen(part.socket or part.address), tls)

    def start(self) -> None:
        """Serve from now on, and record the log's faults."""
        part = self._part
        logging.getLogger().addHandler(self._faults)
        self._server.start()
        log.info("web: page at %s", part.listen)
        if not part.socket and not part.cert_file and not part.address[0].startswith(LOOPBACK):
            log.warning(
                "web %s: the token crosses the network unencrypted; set web.cert_file, or listen on "
                "127.0.0.1 behind a reverse proxy", part.listen,
            )  # fmt: skip

    def stop(self) -> None:
        self._server.stop()
        logging.getLogger().removeHandler(self._faults)


def hosts_of(part: Web) -> set[str]:
    """The names by which browsers may come, besides localhost and the address they came to."""
    names = set(part.hosts)
    if part.url:
        names.add((urlsplit(part.url).hostname or "").lower())
    if not part.socket:
        names.add(part.address[0].lower())
    return names


def _tls(part: Web) -> ssl.SSLContext | None:
    if part.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A callback, or OpenSSL asks the terminal.
        context.load_cert_chain(part.cert_file, part.key_file, password=_no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise EdgeError(f"web.cert_file: {part.cert_file}: not a certificate with its key, PEM") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _token(node: str) -> Token:
    path = state_file(NAME, node)
    try:
        if not path.exists():
            write_token(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        log.error("web: %s: %s; nobody can enter the page until a token can be kept there", path, reason)
    return Token(path, f"emotion-edge-{node}")
