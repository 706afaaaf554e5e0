"""A child process that answers requests one at a time, each within a deadline."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from edge.host.child import clean_environment, die_with, why_ended
from edge.types import EdgeError, words_of

log = logging.getLogger(__name__)

_LENGTHS = struct.Struct("<II")  # bytes of a message's header, which is JSON, and payload; both follow
MAX_HEADER, MAX_PAYLOAD = 64 * 1024, 64 * 1024 * 1024
_KEPT = 2048  # bytes of what it printed last

Answerer = Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]


class WorkerLostError(EdgeError):
    """The child ended or did not answer in time; it cannot be used any more."""


class Worker:
    """One child. Not for two threads at once. It dies with the thread that makes it (child.die_with)."""

    def __init__(self, module: str) -> None:
        """Start *module*'s ``main(parent)``, which calls serve(); EdgeError where no process can be had.

        It gets a socket and a pipe for what it prints: no other descriptor, no secret, no terminal.
        """
        said, saying = os.pipe()
        # Its output must never block it: what is not read is dropped.
        for end in (said, saying):
            os.set_blocking(end, False)
        self._channel, theirs = socket.socketpair()
        statement = f"from {module} import main; main({os.getpid()})"
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-c", statement], stdin=theirs.fileno(), stdout=saying, stderr=saying,
                close_fds=True, start_new_session=True, cwd="/", env=clean_environment(),
            )  # fmt: skip
        except OSError as error:
            os.close(said)
            self._channel.close()
            raise EdgeError(f"{module}: cannot be started: {error.strerror or error}") from error
        finally:
            os.close(saying)
            theirs.close()
        self.pid = self._child.pid
        self._said, self._last = said, b""

    def ask(
        self, header: Mapping[str, Any], payload: bytes | memoryview = b"", *, timeout_s: float
    ) -> tuple[dict[str, Any], bytes]:
        """The answer to one request; EdgeError where it says why not, WorkerLostError where it is no more."""
        until = time.monotonic() + timeout_s
        try:
            text = json.dumps(header).encode()
            for part in (_LENGTHS.pack(len(text), len(payload)) + text, payload):
                self._within(until).sendall(part)
            lengths = _LENGTHS.unpack(self._receive(_LENGTHS.size, until))
            if lengths[0] > MAX_HEADER or lengths[1] > MAX_PAYLOAD:
                raise WorkerLostError("answers nonsense")
            answer = json.loads(self._receive(lengths[0], until))
            content = self._receive(lengths[1], until)
        except TimeoutError:
            raise WorkerLostError(f"no answer within {timeout_s:g} s") from None
        except (OSError, EOFError):
            raise WorkerLostError(self._why()) from None
        except ValueError:
            raise WorkerLostError("answers nonsense") from None
        self._listen()
        if "error" in answer:
            if "trace" in answer:
                _log_once(answer["trace"])
            raise EdgeError(answer["error"])
        return answer, content

    def end(self) -> bool:
        """Kill it; whether it is gone (a process in a broken driver may take long). May be repeated."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._child.poll() is None:
                os.killpg(self.pid, signal.SIGKILL)
        try:
            self._child.wait(0.2)
        except subprocess.TimeoutExpired:
            return False
        if self._said >= 0:
            self._channel.close()
            os.close(self._said)
            self._said = -1
        return True

    def _within(self, until: float) -> socket.socket:
        """The socket for one call that must return by *until*; TimeoutError."""
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)
        return self._channel

    def _receive(self, size: int, until: float) -> bytes:
        got = bytearray()
        while len(got) < size:
            part = self._within(until).recv(size - len(got))
            if not part:
                raise EOFError
            got += part
        return bytes(got)

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self._said, 65536):
                self._last = (self._last + part)[-_KEPT:]

    def _why(self) -> str:
        """Why it ended."""
        try:
            code = self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            return "closed its socket"
        self._listen()
        return why_ended(code, self._last) if code else "ended"


def serve(parent: int, answer: Answerer) -> None:
    """The child's part: *answer* requests, an error too, until *parent* ends or closes the socket."""
    die_with(parent)
    channel = socket.socket(fileno=os.dup(0))
    requests = channel.makefile("rb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    while lengths := requests.read(_LENGTHS.size):
        size, more = _LENGTHS.unpack(lengths)
        header = json.loads(requests.read(size))
        try:
            reply, payload = answer(header, requests.read(more))
        except EdgeError as error:
            reply, payload = {"error": str(error)[:1000]}, b""
        except Exception as error:
            said = words_of(error, typed=True)
            reply, payload = {"error": said[:1000], "trace": traceback.format_exc()[-8000:]}, b""
        text = json.dumps(reply).encode()
        channel.sendall(_LENGTHS.pack(len(text), len(payload)) + text + payload)


@functools.lru_cache(maxsize=32)
def _log_once(trace: str) -> None:
    """Log a child's *trace*, once."""
    log.error("in a child process: %s", trace.rstrip())
