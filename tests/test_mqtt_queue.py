"""The send queue as pure logic: no socket, no thread."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge.mqtt.queue import Due, Queue, Subscription
from edge.types import Message
from tests.sink import event, faces, state

ONLINE = Message("p/n/status", b"online", qos=1, retain=True)
OFFLINE = Message("p/n/status", b"offline", qos=1, retain=True)
MANY = 100  # a window that never fills up


@pytest.fixture
def queue() -> Queue:
    return Queue(ONLINE, OFFLINE, size=3)


def sent(queue: Queue, window: int = MANY, first: int = 1) -> list[str]:
    """Everything due, as payload or +topic; numbered from *first*, unacknowledged."""
    return [_name(queue, due, number) for number, due in enumerate(_all(queue, window), first)]


def _all(queue: Queue, window: int) -> Iterator[Due]:
    while (due := queue.next(window)) is not None:
        yield due


def _name(queue: Queue, due: Due, number: int) -> str:
    if isinstance(due.item, Subscription):
        queue.sent(number, due)
        return f"{'+' if due.item.wanted else '-'}{due.topic}"
    if due.item.qos == 1:
        queue.sent(number, due)
    return due.item.payload.decode()


def test_connect_sends_status_discovery_state_subscriptions_events(queue: Queue) -> None:
    queue.put(event(b"event"))
    queue.subscribe("p/n/hall/enabled/set")
    queue.put(state(b"state"))
    queue.put(faces(b"lost"))
    queue.put(state(b"discovery", topic="homeassistant/device/n_hall/config"))
    queue.begin()
    assert sent(queue) == ["online", "discovery", "state", "+p/n/hall/enabled/set", "event"]


def test_newer_message_replaces_older_except_events(queue: Queue) -> None:
    queue.begin()
    assert sent(queue) == ["online"]
    for number in (b"1", b"2"):
        for message in (faces(b"faces" + number), event(b"event" + number), state(b"state" + number)):
            assert queue.put(message)
    assert sent(queue, first=10) == ["faces2", "event1", "state2", "event2"]


def test_full_window_only_lets_qos_0_through(queue: Queue) -> None:
    queue.subscribe("p/n/hall/enabled/set")
    queue.put(state(b"state"))
    queue.begin()
    assert sent(queue, window=1) == ["online"]
    queue.put(faces(b"faces"))
    assert sent(queue, window=1, first=2) == ["faces"]
    queue.acknowledged(1, refused=False)
    assert sent(queue, window=1, first=3) == ["state"]
    assert queue.in_flight == 1


def test_queue_is_idle_once_everything_is_acknowledged(queue: Queue) -> None:
    queue.begin()
    due = queue.next(MANY)
    assert due is not None
    assert not queue.idle  # taken but not yet sent
    queue.sent(1, due)
    assert queue.next(MANY) is None
    assert not queue.idle
    assert queue.acknowledged(1, refused=False) == due
    assert queue.idle


def test_unacknowledged_messages_are_resent_after_a_loss(queue: Queue) -> None:
    queue.put(event(b"1"))
    queue.put(event(b"2"))
    queue.begin()
    assert sent(queue) == ["online", "1", "2"]
    queue.acknowledged(2, refused=False)
    queue.end()
    assert not queue.put(event(b"3"))
    queue.begin()
    assert sent(queue) == ["online", "2", "3"]
    assert queue.counts() == (2, 2, 0)


def test_overflowed_and_refused_events_are_counted(queue: Queue) -> None:
    for number in range(5):
        queue.put(event(b"%d" % number))
    queue.begin()
    assert sent(queue) == ["online", "2", "3", "4"]
    due = queue.acknowledged(2, refused=True)
    assert due is not None
    assert due.topic == "p/n/hall/event"
    assert queue.counts() == (1, 2, 3)


def test_expired_event_is_never_sent(queue: Queue) -> None:
    queue.put(event(b"old", max_age_s=-1.0))
    queue.put(event(b"young"))
    assert queue.counts() == (0, 1, 1)
    queue.begin()
    queue.put(event(b"old", max_age_s=-1.0))
    assert sent(queue) == ["online", "young"]
    assert queue.counts() == (1, 1, 2)


def test_empty_retained_payload_is_repeated_until_acknowledged(queue: Queue) -> None:
    queue.put(state(b""))
    queue.begin()
    assert sent(queue) == ["online", ""]
    queue.end()
    queue.begin()
    assert sent(queue) == ["online", ""]
    queue.acknowledged(2, refused=False)
    queue.end()
    queue.begin()
    assert sent(queue) == ["online"]


def test_ack_of_an_older_message_does_not_drop_an_empty_one(queue: Queue) -> None:
    queue.put(state(b"1"))
    queue.begin()
    assert sent(queue) == ["online", "1"]
    queue.put(state(b""))
    queue.acknowledged(2, refused=False)
    queue.end()
    queue.begin()
    assert sent(queue) == ["online", ""]


def test_unsubscription_is_sent_once_and_forgotten(queue: Queue) -> None:
    assert not queue.subscribe("p/n/a/set")
    queue.begin()
    assert sent(queue) == ["online", "+p/n/a/set"]
    assert queue.subscribe("p/n/a/set", wanted=False)
    assert sent(queue, first=10) == ["-p/n/a/set"]
    queue.end()
    queue.begin()
    assert sent(queue) == ["online"]


def test_offline_is_the_last_message_and_later_ones_are_refused(queue: Queue) -> None:
    queue.put(event(b"event"))
    queue.begin()
    assert queue.close()
    assert not queue.close()
    assert not queue.put(state(b"late"))
    queue.republish()
    assert sent(queue) == ["event", "offline"]
    queue.end()
    queue.begin()
    assert sent(queue)[0] == "offline"


def test_unsendable_message_is_dropped_for_good(queue: Queue) -> None:
    queue.put(state(b"state"))
    queue.put(event(b"event"))
    queue.subscribe("p/n/a/set")
    for key in ("p/n/hall/state", 0, ("p/n/a/set",)):
        queue.discard(key)
    queue.begin()
    assert sent(queue) == ["online"]
    assert queue.counts() == (1, 0, 1)
