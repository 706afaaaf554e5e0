"""Valid requests, refused requests, and 10,000 random payloads."""

import json
import random

import pytest

from edge.contract.requests import COMMANDS, RefusedRequest, Request, parse_request
from tests.hostile import payloads


@pytest.mark.parametrize(
    ("command", "payload", "request_"),
    [
        ("reload", b"{}", Request("reload")),
        ("info", b' {"transaction": "a1"} ', Request("info", "a1")),
        ("info", b'{"transaction": 7}', Request("info", 7)),
        ("info", b'{"transaction": -2.5}', Request("info", -2.5)),
        ("info", b'{"transaction": true}', Request("info", True)),
        ("info", '{"transaction": "Küche 😀"}'.encode(), Request("info", "Küche 😀")),
        ("clear_outbox", b'{"transaction": null}', Request("clear_outbox")),
        ("restart_camera", b'{"camera": "hall"}', Request("restart_camera", None, "hall")),
        ("restart_camera", b'{"transaction":1,"camera":"hall"}', Request("restart_camera", 1, "hall")),
    ],
)
def test_request_is_one_flat_object(command: str, payload: bytes, request_: Request) -> None:
    assert parse_request(command, payload) == request_


TRANSACTION = "transaction: expected a string of at most 128 characters or a number"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON: nothing"),
        (b"reload", "not JSON: 'reload'"),
        (b"{}\0", "not JSON: '{}\\x00'"),
        (b'{"transaction": "\0"}', 'not JSON: \'{"transaction": "\\x00"}\''),
        (b"\xff{}", "not UTF-8 text"),
        (b'{"transaction": "\xed\xa0\x80"}', "not UTF-8 text"),
        (b"[]", 'not a JSON object; expected {"transaction": "1"}'),
        (b"7", 'not a JSON object; expected {"transaction": "1"}'),
        (b'{"transaction": 1, "transaction": 2}', "a key is given twice"),
        (b'{"transaction": NaN}', "NaN is no JSON number"),
        (b'{"transaction": -Infinity}', "-Infinity is no JSON number"),
        (b'{"transaction": 1e999}', TRANSACTION),
        (b'{"transaction": ' + b"1" * 4000 + b"}", TRANSACTION),
        (b'{"transaction": "' + b"1" * 129 + b'"}', TRANSACTION),
        (b'{"transaction": "\\u0000"}', TRANSACTION),
        (b'{"transaction": "\\ud800"}', TRANSACTION),
        (b'{"transaction": {"id": 1}}', TRANSACTION),
        (b'{"transaction": [1]}', TRANSACTION),
        (b"[" * 4096, "nested too deeply"),
        (b'{"a":' * 800, "nested too deeply"),
        (b"[" * 200 + b"]" * 200, 'not a JSON object; expected {"transaction": "1"}'),
        (b'{"camera": "hall"}', "unknown key 'camera'; reload takes transaction"),
        (b'{"file": "/etc/passwd"}', "unknown key 'file'; reload takes transaction"),
        (b'{"\\u001b[31m": 1}', "unknown key '\\x1b[31m'; reload takes transaction"),
    ],
)
def test_invalid_request_is_refused_with_one_reason(payload: bytes, reason: str) -> None:
    with pytest.raises(RefusedRequest) as refused:
        parse_request("reload", payload)
    assert str(refused.value) == reason


@pytest.mark.parametrize("payload", [b"{}", b'{"camera": 7}', b'{"camera": null}', b'{"camera": "a\\nb"}'])
def test_camera_must_be_a_name(payload: bytes) -> None:
    with pytest.raises(RefusedRequest, match=r"^camera: expected a name in quotes$"):
        parse_request("restart_camera", payload)


def test_refusal_repeats_the_transaction_if_readable() -> None:
    with pytest.raises(RefusedRequest) as refused:
        parse_request("reload", b'{"transaction": "t1", "now": true}')
    assert refused.value.transaction == "t1"


def test_random_payloads_are_parsed_or_refused_in_one_short_line() -> None:
    random_ = random.Random(19)
    read = 0
    for payload in payloads(random_, 10_000):
        command = random_.choice(list(COMMANDS))
        try:
            request = parse_request(command, payload)
        except RefusedRequest as refused:
            reason = str(refused)
            assert reason.isprintable(), payload
            assert reason.isascii(), payload
            assert 0 < len(reason) < 200, payload
            json.dumps(refused.transaction, allow_nan=False, ensure_ascii=False).encode()
        else:
            read += 1
            json.dumps(request.transaction, allow_nan=False, ensure_ascii=False).encode()
    print(f"10,000 payloads, {read} of them requests")
    assert 100 < read < 9000
