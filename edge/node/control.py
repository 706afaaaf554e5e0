"""Commands over MQTT, carried out in the analysis thread between two frames."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from edge.contract import messages
from edge.contract.requests import COMMANDS, RefusedRequest, Request, parse_request
from edge.contract.switches import NAMES, Refused, Switches, parse, text, texts
from edge.host.disk import StateFile, StateFiles
from edge.host.redaction import without_folders
from edge.mqtt.inbox import Inbox
from edge.node.reload import Live, Reloaded
from edge.types import Duplex

log = logging.getLogger(__name__)

MAX_LINES = 20  # of mistakes in the log
MAX_ERROR_BYTES = 1400  # of a response's error as JSON: with any transaction the whole is below 2 KiB


class Turn(NamedTuple):
    """A switch that waits for the disk (StateFiles.settled): what is published then survives a power cut."""

    written: int  # the number that StateFiles gave
    camera: str
    switch: str
    switches: Switches
    value: bool | float


class Control:
    """Carries out switches (``P/N/C/<switch>/set``) and requests (``P/N/request/<command>``).

    The sink fills *inbox*; *files* writes the switches to *switches_file*; *clear_outbox* empties the outbox
    and gives the number of messages.
    """

    def __init__(
        self,
        live: Live,
        sink: Duplex,
        inbox: Inbox,
        switches_file: StateFile[dict[str, Switches]],
        files: StateFiles,
        clear_outbox: Callable[[], int],
    ) -> None:
        self.inbox = inbox
        self._live = live
        self._cameras = live.cameras
        self._topics = live.topics
        self._sink = sink
        self._switches_file = switches_file
        self._files = files
        self._turn: Turn | None = None  # all later commands wait with it
        self._clear_outbox = clear_outbox
        self._handlers: dict[str, Callable[[str, bytes], None]] = {}  # topic -> what handles it
        self._reload_asked = False

    def ask_reload(self) -> None:
        """Reload at the next tick; safe in a signal handler."""
        self._reload_asked = True

    def tick(self) -> None:
        """Do what is due."""
        if self._ready() and self._reload_asked:
            self._reload_asked = False
            _log_reload(self._read_configuration())
        while self._ready() and (message := self.inbox.take()) is not None:
            # None: its camera went while it waited.
            if (handle := self._handlers.get(message.topic)) is not None:
                handle(message.topic, message.payload)
        self.inbox.flush_log()

    def start(self) -> None:
        """Subscribe to the present commands and nothing else; again once the cameras have changed."""
        wanted: dict[str, Callable[[str, bytes], None]] = {
            self._topics.of("request", command): partial(self._request, command) for command in COMMANDS
        }
        for camera in self._cameras:
            for switch in NAMES:
                wanted[self._topics.of(camera, switch, "set")] = partial(self._switch, camera, switch)
        for topic in self._handlers.keys() - wanted.keys():
            self._sink.unsubscribe(topic)
        new = [topic for topic in wanted if topic not in self._handlers]
        self._handlers = wanted
        for topic in new:
            self._sink.subscribe(topic, self.inbox.put)

    def _switch(self, camera: str, switch: str, topic: str, payload: bytes) -> None:
        try:
            value = parse(switch, payload)
        except Refused as refused:
            self.inbox.refuse(topic, str(refused))
            return
        served = self._cameras[camera]
        switches = served.switches.turned(switch, value, served.configured)
        changed = switches != served.switches
        written = self._save({camera: switches}) if changed else 0  # spares the card
        self._turn = Turn(written, camera, switch, switches, value)

    def _ready(self) -> bool:
        """Whether the next command may be carried out; turns the switch whose turn has come."""
        turn = self._turn
        if turn is None or not self._files.settled(turn.written):
            return turn is None
        self._turn = None
        self._cameras[turn.camera].turn(turn.switch, turn.switches)
        self.inbox.accept(f"camera {turn.camera}: {turn.switch} {text(turn.value)}, by command")
        return True

    def _save(self, turned: Mapping[str, Switches] = MappingProxyType({})) -> int:
        """Write the switches, *turned* among them; the number for settled()."""
        switches = {**{name: camera.switches for name, camera in self._cameras.items()}, **turned}
        return self._files.write(self._switches_file.path, self._switches_file.text(texts(switches)))

    def _request(self, command: str, topic: str, payload: bytes) -> None:
        body: dict[str, Any]
        try:
            request = parse_request(command, payload)
            transaction = request.transaction
            line, more = self._do(request)
            body = {"status": "ok", **more}
            self.inbox.accept(f"request {command}: {line}")
        except RefusedRequest as refused:
            transaction = refused.transaction
            body = {"status": "error", "error": _shortened(str(refused))}
            self.inbox.refuse(topic, str(refused).partition("\n")[0])
        if transaction is not None:
            body["transaction"] = transaction
        self._sink.publish(messages.response(self._topics, command, body))

    def _do(self, request: Request) -> tuple[str, Mapping[str, Any]]:
        """Carry out *request*; (log line, what its answer says besides "ok")."""
        match request.command:
            case "restart_camera":
                self._restart(request)
                return request.camera, {}
            case "reload":
                done = self._read_configuration()
                if done.mistakes:
                    raise RefusedRequest("\n".join(map(without_folders, done.mistakes)), request.transaction)
                return done.story, {"restart": list(done.restart)} if done.restart else {}
            case "clear_outbox":
                cleared = self._clear_outbox()
                return f"{cleared} messages dropped", {"cleared": cleared}
            case _:  # "info"; the list is closed
                return "answered", {"info": messages.info_body(self._live.info, time.time())}

    def _restart(self, request: Request) -> None:
        name = request.camera
        if name not in self._cameras:
            expected = ", ".join(self._cameras)
            raise RefusedRequest(f"no camera {name!a}; expected {expected}", request.transaction)
        if not self._cameras[name].switches.on:
            raise RefusedRequest(f"camera {name} is disabled; enable it", request.transaction)
        self._cameras[name].restart()

    def _read_configuration(self) -> Reloaded:
        before = set(self._cameras)
        done = self._live.reload()
        self.start()
        if before - self._cameras.keys():
            self._save()  # a camera that goes loses its switches
        return done


def _log_reload(done: Reloaded) -> None:
    for mistake in done.mistakes[:MAX_LINES]:
        log.warning("%s", mistake)
    if done.mistakes:
        log.warning("the configuration has mistakes; nothing was changed")
    else:
        log.info("configuration reloaded: %s", done.story)


def _shortened(reason: str) -> str:
    """*reason*, cut to fit an answer."""
    while len(json.dumps(reason, ensure_ascii=False).encode()) > MAX_ERROR_BYTES:
        reason = f"{reason[: len(reason) * 7 // 8]}…"
    return reason
