"""What the page and its visitors ask for, once let in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, Router

from edge.contract.messages import Topics
from edge.contract.switches import NAMES, Refused, parse
from edge.mqtt.inbox import Allowance
from edge.settings.shown import settings_text
from edge.settings.tables import Web
from edge.types import Incoming
from edge.web.board import Board
from edge.web.doors import MAX_BODY, Refusal
from edge.web.metrics import CONTENT_TYPE, metrics
from edge.web.preview import Picture, jpeg
from edge.web.snapshot import Snapshot
from edge.web.timeline import SPANS
from edge.web.token import Token

EVERY_S = 0.25  # between two states to a viewer
BODY_S = 5.0  # in which a request's body must come
BEGIN_S = 3.0  # in which the analysis must have begun the preview
FILES = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.html": "text/html; charset=utf-8",
    "login.html": "text/html; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
YEAR_S = 365 * 86400

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(eq=False)
class Routes:
    """The handlers. *ask* takes what a browser asks of a switch, as if over MQTT."""

    board: Board
    topics: Topics
    ask: Callable[[Incoming], None]
    token: Token | None
    part: Web

    def __post_init__(self) -> None:
        self._guesses = Allowance(1, 10, time.monotonic)
        self._changes = Allowance(5, 10, time.monotonic)
        # For every viewer; gone with the picture.
        self._encoded: WeakKeyDictionary[Picture, bytes] = WeakKeyDictionary()
        # Read once: no request names a file.
        folder = resources.files(__package__).joinpath("static")
        self._files = {name: folder.joinpath(name).read_bytes() for name in FILES}
        self._state: tuple[Snapshot | None, float, bytes] = None, 0.0, b""

    def app(self) -> Router:
        reads: dict[str, Handler] = {
            "/": self._file("page.html"),
            **{f"/{name}": self._file(name) for name in ("page.css", "page.js", "icon.svg")},
            "/events": self._events,
            "/timelines": self._timelines,
            "/settings": self._settings,
            "/metrics": self._metrics,
            "/preview/{camera}": self._picture,
        }
        writes = {"/login": self._login, "/switch": self._switch, "/preview": self._turn_preview}
        routes = [
            Route(path, _answering(handler), methods=[method])
            for method, handlers in (("GET", reads), ("POST", writes))
            for path, handler in handlers.items()
        ]
        return Router(routes, redirect_slashes=False)

    def login_page(self, status: int = 401) -> Response:
        return Response(self._files["login.html"], status, media_type=FILES["login.html"])

    def _file(self, name: str) -> Handler:
        async def handler(request: Request) -> Response:
            return Response(self._files[name], media_type=FILES[name])

        return handler

    async def _login(self, request: Request) -> Response:
        if self.token is None:
            return RedirectResponse("./", 303)
        if not self._guesses.take():
            raise Refusal(429, "too many guesses; wait a second")
        try:
            fields = parse_qs((await _body(request)).decode(), max_num_fields=4)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        if not self.token.matches(fields.get("token", [""])[0].strip()):
            return self.login_page(403)
        response = RedirectResponse("./", 303)
        response.set_cookie(
            self.token.cookie, self.token.session(), max_age=YEAR_S, httponly=True, samesite="strict",
            secure=self.part.cert_file is not None,
        )  # fmt: skip
        return response

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(self._states(), media_type="text/event-stream")

    async def _states(self) -> AsyncIterator[bytes]:
        """The newest state again and again; slow readers get fewer, none is kept for them."""
        session = self.token.session() if self.token else ""
        yield b"retry: 1000\n\n"
        while self.token is None or self.token.session() == session:
            yield self._encoded_state()
            await asyncio.sleep(EVERY_S)

    def _encoded_state(self) -> bytes:
        """One for all viewers."""
        snapshot, now = self.board.snapshot, time.monotonic()
        if self._state[0] is not snapshot or now - self._state[1] >= EVERY_S or not self._state[2]:
            state = self.board.state()
            state["preview"]["allowed"] = self.part.preview
            state["preview"]["blurred"] = self.part.blur_faces
            text = json.dumps(state, separators=(",", ":"), ensure_ascii=False)
            self._state = snapshot, now, f"data: {text}\n\n".encode()
        return self._state[2]

    async def _timelines(self, request: Request) -> Response:
        span = request.query_params.get("span", "10min")
        if span not in SPANS:
            raise Refusal(400, f"span: expected {' or '.join(SPANS)}")
        return JSONResponse(self.board.timelines(span))

    async def _settings(self, request: Request) -> Response:
        return PlainTextResponse(settings_text(self._snapshot().settings))

    async def _metrics(self, request: Request) -> Response:
        return Response(metrics(self._snapshot(), self.board.events()), media_type=CONTENT_TYPE)

    async def _switch(self, request: Request) -> Response:
        """Turn a camera's switch: {"camera": …, "switch": …, "value": …}, all texts."""
        asked = await self._change(request)
        camera, switch, value = (asked.get(key) for key in ("camera", "switch", "value"))
        if not (isinstance(camera, str) and isinstance(switch, str) and isinstance(value, str)):
            raise Refusal(400, "expected the texts camera, switch and value")
        snapshot = self.board.snapshot
        if snapshot is None or camera not in {view.name for view in snapshot.cameras}:
            raise Refusal(400, f"no camera {camera[:64]!a}")
        if switch not in NAMES:
            raise Refusal(400, f"switch: expected {', '.join(NAMES)}")
        payload = value.encode(errors="replace")
        try:
            parse(switch, payload)
        except Refused as refused:
            raise Refusal(400, str(refused)) from None
        self.ask(Incoming(self.topics.of(camera, switch, "set"), payload, retained=False))
        return Response(status_code=202)

    async def _turn_preview(self, request: Request) -> Response:
        """Begin or end the preview: {"on": true} or {"on": false}."""
        asked = await self._change(request)
        if not isinstance(asked.get("on"), bool):
            raise Refusal(400, "on: expected true or false")
        if not self.part.preview:
            raise Refusal(403, "web.preview is false in config.toml")
        preview = self.board.preview
        if not asked["on"]:
            preview.end("ended on the page")
            return Response(status_code=204)
        preview.ask()
        until = time.monotonic() + BEGIN_S
        while not preview.on:
            if time.monotonic() >= until:
                preview.end("the analysis did not answer")
                raise _starting()
            await asyncio.sleep(0.02)
        return Response(status_code=204)

    async def _picture(self, request: Request) -> Response:
        """The camera's newest picture; 204 where there is none, or the preview is off."""
        picture = self.board.preview.look(request.path_params["camera"])
        if picture is None:
            return Response(status_code=204)
        if picture not in self._encoded:
            self._encoded[picture] = jpeg(picture, blur=self.part.blur_faces)
        return Response(self._encoded[picture], media_type="image/jpeg")

    async def _change(self, request: Request) -> dict[str, Any]:
        """The JSON object in *request*; Refusal."""
        if not self._changes.take():
            raise Refusal(400, "too many changes; wait a second")
        try:
            asked = json.loads(await _body(request))
        except (ValueError, RecursionError):
            raise Refusal(400, "not JSON") from None
        if not isinstance(asked, dict):
            raise Refusal(400, "not a JSON object")
        return asked

    def _snapshot(self) -> Snapshot:
        if self.board.snapshot is None:
            raise _starting()
        return self.board.snapshot


def _answering(handler: Handler) -> Handler:
    """*handler*, whose Refusal is an answer."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Refusal as refusal:
            return refusal.response()

    return answer


async def _body(request: Request) -> bytes:
    """All of it, at most MAX_BODY bytes within BODY_S; Refusal."""

    async def read() -> bytes:
        found = b""
        async for piece in request.stream():
            found += piece
            if len(found) > MAX_BODY:
                raise Refusal(400, f"body larger than {MAX_BODY} bytes")
        return found

    try:
        return await asyncio.wait_for(read(), BODY_S)
    except asyncio.TimeoutError:
        raise Refusal(400, f"incomplete body after {BODY_S:g} s") from None


def _starting() -> Refusal:
    return Refusal(503, "the analysis has not begun yet, or does not answer")
