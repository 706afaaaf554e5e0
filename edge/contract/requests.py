"""The requests a node takes over MQTT: a closed list, strictly parsed; none names a file or an address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.contract.switches import Refused, shown

# Command -> the keys it requires, besides "transaction".
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "restart_camera": ("camera",),
    "reload": (),
    "clear_outbox": (),
    "info": (),
}
MAX_TEXT = 128  # characters of a transaction or a name
MAX_BRACKETS = 256  # within what Python's parser nests; a request needs one, a transaction 128

Transaction = str | int | float | bool | None


class RefusedRequest(Refused):
    """A request that is refused, with its transaction where that could be parsed."""

    def __init__(self, reason: str, transaction: Transaction = None) -> None:
        super().__init__(reason)
        self.transaction = transaction


@dataclass(frozen=True, slots=True)
class Request:
    command: str
    transaction: Transaction = None  # given back with the answer; None where there was none
    camera: str = ""  # "" where the command takes none


def parse_request(command: str, payload: bytes) -> Request:
    """Parse *payload* as a request for *command* (one of COMMANDS); RefusedRequest.

    One flat JSON object: the command's own keys and perhaps ``transaction``, a printable string of at most
    MAX_TEXT characters, a number, true, false or null.
    """
    body = _read(payload)
    transaction = _transaction(body)
    takes = COMMANDS[command]
    for key in body:
        if key != "transaction" and key not in takes:
            known = ", ".join((*takes, "transaction"))
            raise RefusedRequest(f"unknown key {shown(key.encode())}; {command} takes {known}", transaction)
    for key in takes:
        if not isinstance(body.get(key), str) or not _fit(body[key]):
            raise RefusedRequest(f"{key}: expected a name in quotes", transaction)
    return Request(command, transaction, **{key: body[key] for key in takes})


def _read(payload: bytes) -> dict[str, Any]:
    if payload.count(b"[") + payload.count(b"{") > MAX_BRACKETS:
        raise RefusedRequest("nested too deeply")
    try:
        body = json.loads(payload.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise RefusedRequest("not UTF-8 text") from None
    except RefusedRequest:
        raise
    except ValueError:  # also of a number with more digits than Python reads
        raise RefusedRequest(f"not JSON: {shown(payload)}") from None
    if not isinstance(body, dict):
        raise RefusedRequest('not a JSON object; expected {"transaction": "1"}')
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) < len(pairs):
        raise RefusedRequest("a key is given twice")
    return body


def _no_number(word: str) -> None:
    raise RefusedRequest(f"{word} is no JSON number")


def _transaction(body: Mapping[str, Any]) -> Transaction:
    match body.get("transaction"):
        case None | bool() as plain:
            return plain
        case str() as words if _fit(words):
            return words
        case int() | float() as number if abs(number) < 1e16:  # a JSON reader elsewhere has doubles
            return number
    raise RefusedRequest(f"transaction: expected a string of at most {MAX_TEXT} characters or a number")


def _fit(words: str) -> bool:
    # Printable: neither NUL nor half a character, which could not be sent back.
    return len(words) <= MAX_TEXT and words.isprintable()
