"""Payloads as nobody should send them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

LARGEST = 65_400  # of larger ones the broker drops the packet, as our CONNECT asked it to (64 KiB)

_GOOD = (
    b"ON", b"OFF", b"0.5", b"2", b"{}", b'{"transaction":"t1"}', b'{"transaction":17}',
    b'{"camera":"hall"}', b'{"camera":"hall","transaction":"t2"}', b'{"camera":"nowhere"}',
)  # fmt: skip
_SPECIAL = (
    b"", b"\0", b"\0" * 4096, b"\xff\xfe\xfd", b"\xc0\xaf", b"\xed\xa0\x80", b"nan", b"inf", b"-1", b"1e309",
    b"[" * 4096, b'{"a":' * 800, b"[" * 32_700 + b"]" * 32_700, b"{" * LARGEST, b"9" * 4096, b"A" * LARGEST,
    b'"' + b"\\u0000" * 600 + b'"', b'{"transaction":"\\ud800"}', b'{"transaction":NaN}',
    b'{"transaction":{"$":[1,2,{"a":null}]}}', b'{"camera":"../../etc/passwd"}', b'{"camera":["hall"]}',
    b"null", b"true", b"[]", b"\xef\xbb\xbf{}", "ＯＮ".encode(), b"%s%n%x", b"'; drop table log; --",
)  # fmt: skip


def payloads(random_: random.Random, count: int) -> Iterator[bytes]:
    """*count* of them: good ones, known traps, noise, JSON of any shape and mutants, up to 64 KiB."""
    for _ in range(count):
        kind = random_.randrange(20)
        if kind < 2:
            yield random_.choice(_GOOD)
        elif kind < 5:
            yield random_.choice(_SPECIAL)
        elif kind < 8:
            yield random_.randbytes(random_.choice((1, 7, 64, 500, 4096)))
        elif kind == 8:
            yield random_.randbytes(random_.choice((4097, 20_000, LARGEST)))
        elif kind < 13:
            yield json.dumps(_value(random_, 4)).encode("utf-8", "surrogatepass")
        else:
            yield _mutant(random_)


def _mutant(random_: random.Random) -> bytes:
    """A good one with one to four bytes changed, lost or doubled."""
    payload = bytearray(random_.choice(_GOOD))
    for _ in range(random_.randint(1, 4)):
        place = random_.randrange(len(payload) + 1)
        payload[place : place + random_.randrange(2)] = random_.randbytes(random_.randrange(3))
    return bytes(payload)


def _value(random_: random.Random, depth: int) -> object:
    kind = random_.randrange(9 if depth else 6)
    if kind < 6:
        number = random_.uniform(-1e300, 1e300)
        return (None, True, random_.randint(-(10**20), 10**20), number, "hall", "\0é😀")[kind]
    if kind == 6:
        return [_value(random_, depth - 1) for _ in range(random_.randrange(5))]
    keys = ("transaction", "camera", "status", "", "x" * 300)
    return {random_.choice(keys): _value(random_, depth - 1) for _ in range(random_.randrange(5))}
