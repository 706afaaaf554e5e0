"""Malformed commands, and a flood of them at the daemon."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import psutil
from paho.mqtt.enums import CallbackAPIVersion

from edge.contract.requests import COMMANDS
from tests.broker import Mosquitto, Subscriber, eventually, subscriber
from tests.chaos import Figure
from tests.process import Process

NODE = "emotion-edge/pi"
HALL = f"{NODE}/hall"

LARGEST = 65_400  # the broker drops larger packets, as our CONNECT requested (64 KiB)

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
    """*count* payloads: valid ones, known traps, noise, random JSON and mutants, up to 64 KiB."""
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


def flood(folder: Path, count: int) -> list[Figure]:
    """Row 19: *count* hostile payloads at a running daemon, as fast as the broker accepts them."""
    switches = [f"{HALL}/{switch}/set" for switch in ("enabled", "min_confidence", "hold")]
    topics = [*switches, *(f"{NODE}/request/{command}" for command in COMMANDS)]
    mosquitto = Mosquitto(folder, "allow_anonymous true\nmax_queued_messages 0")  # drops none itself
    mosquitto.start()
    text = (
        f'[node]\nid = "pi"\n[mqtt]\nhost = "127.0.0.1"\nport = {mosquitto.port}\n'
        '[[camera]]\nname = "hall"\nsource = "portraits"\nwidth = 320\nheight = 240\n'
    )
    try:
        with subscriber(mosquitto.port, f"{NODE}/#") as observer, closing(Process(folder, text)) as daemon:
            assert eventually(lambda: observer.last(f"{HALL}/status") == "online")
            _send_payloads(mosquitto.port, topics, 200)  # warm-up for one-time allocations
            before, lines = _settled_counts(observer, "before"), len(daemon.log_so_far().splitlines())
            process = psutil.Process(daemon.process.pid)
            threads, memory = process.num_threads(), process.memory_info().rss
            began = time.monotonic()
            _send_payloads(mosquitto.port, topics, count)
            after = _settled_counts(observer, "after")
            seconds = time.monotonic() - began
            # Ignore the camera's own lines about coming online.
            message = [line for line in daemon.log_so_far().splitlines()[lines:] if "online" not in line]
            grown = process.memory_info().rss - memory
            died = abs(process.num_threads() - threads)
            code, _ = daemon.stop()
        counted = sum(after.values()) - sum(before.values())
        return [
            Figure("19", f"of {count} payloads not counted", max(0, count - counted), 0),
            Figure("19", "threads died or born", died, 0),
            Figure("19", "RSS grown, MiB", grown / 2**20, 10),
            Figure("19", f"log lines in {seconds:.0f} s", len(message), seconds + 2),
            Figure("19", "tracebacks", daemon.log.count("Traceback"), 0),
            Figure("19", "exit code", code, 0),
        ]
    finally:
        mosquitto.kill()


def _send_payloads(port: int, topics: list[str], count: int) -> None:
    """Send *count* hostile payloads to *topics*, as fast as the broker accepts them."""
    random_ = random.Random(19)
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for payload in payloads(random_, count):
        last = client.publish(random_.choice(topics), payload, qos=1)
        while not last.is_published() and last.mid % 20 == 0:
            time.sleep(0.001)
    last.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def _settled_counts(observer: Subscriber, name: str) -> Any:
    """Command counts in health once the node has processed everything and its camera is on."""

    def answered(transaction: str) -> bool:
        observer.publish(f"{NODE}/request/reload", b'{"transaction":"%s"}' % transaction.encode())
        responses = f"{NODE}/response/reload"
        return eventually(lambda: any(f'"{transaction}"' in text for text in observer.payloads(responses)), 1)

    # With a full inbox a command is refused without a response; otherwise responses keep their order.
    assert any(answered(f"{name} {number}") for number in range(30))
    observer.publish(f"{HALL}/enabled/set", b"ON")
    assert eventually(lambda: observer.last(f"{HALL}/status") == "online")
    reported = len(observer.payloads(f"{NODE}/health"))
    assert any(answered(f"{name} end {number}") for number in range(30))
    assert eventually(lambda: len(observer.payloads(f"{NODE}/health")) > reported)
    return json.loads(observer.last(f"{NODE}/health") or "")["commands"]


def _mutant(random_: random.Random) -> bytes:
    """A valid payload with one to four bytes changed, removed or inserted."""
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
