"""Which message is blamed when a connection ends: pure logic, no sockets."""

from __future__ import annotations

import random

import pytest

from edge.mqtt.guess import Guess
from edge.mqtt.limits import Limits
from edge.mqtt.terms import Terms
from tests.fakes import Clock
from tests.sink import STATUS

BIG = "homeassistant/device/n/hall/config"


@pytest.mark.parametrize("ends", [2, 4])
def test_hangups_while_the_broker_starts_blame_no_message(ends: int) -> None:
    guess = Guess("broker", clock := Clock())
    for _ in range(ends):
        guess.ended()
    assert guess.terms != Terms()
    assert not guess.sure
    assert guess.came_through()  # with restricted terms: still unproven
    assert guess.terms == Terms()
    assert not guess.came_through()  # with all features already
    clock.now += 1e6
    guess.ended()
    assert (guess.terms, guess.sure) == (Terms(), True)


def test_assumed_limits_are_retried_after_an_hour() -> None:
    guess = Guess("broker", clock := Clock())
    for _ in range(2):
        guess.ended()
    assert guess.came_through()
    guess.ended()
    assert (guess.terms, guess.sure) == (Terms(retain=False), True)
    assert not guess.came_through()
    clock.now += 3599
    assert guess.terms == Terms(retain=False)
    clock.now += 2
    assert guess.terms == Terms()
    guess.ended()  # one more is enough
    assert (guess.terms, guess.sure) == (Terms(retain=False), True)


@pytest.mark.parametrize(("wait_s", "terms"), [(3601.0, Terms()), (1.0, Terms(9000))])
def test_skipped_message_is_retried_after_an_hour_or_with_new_terms(wait_s: float, terms: Terms) -> None:
    judge = Limits("broker", STATUS, clock := Clock())
    for number in range(3):
        judge.begin(Terms())
        judge.sent(number, BIG, 3000)
        judge.ended(True, False, 1.0)
    assert not judge.fits(BIG, 3000)
    judge.begin(Terms())
    assert not judge.fits(BIG, 3000)
    version = judge.version
    clock.now += wait_s
    judge.begin(terms)
    assert judge.fits(BIG, 3000)
    assert judge.version > version


def limits() -> Limits:
    return Limits("b", STATUS)


def test_flapping_network_blames_no_message() -> None:
    judge, random_ = limits(), random.Random(3)
    for connection in range(400):
        judge.begin(Terms())
        judge.sent(0, STATUS, 20)
        for number in range(1, random_.randrange(1, 9)):
            if judge.waiting:
                judge.acknowledged(number - 1)
            assert judge.admits("p/n/hall/log", 190 + connection % 30)
            judge.sent(number, "p/n/hall/log", 190 + connection % 30)
            if random_.random() < 0.5:
                judge.acknowledged(number)
        judge.ended(hung_up=True, too_large=False, lasted_s=2.0)
    assert judge.health() is None


def test_connection_that_ends_after_status_blames_no_message() -> None:
    judge = limits()
    for _ in range(100):
        judge.begin(Terms())
        judge.sent(0, STATUS, 20)
        assert not judge.ended(hung_up=True, too_large=False, lasted_s=0.1)
    assert judge.fits(STATUS, 20)


@pytest.mark.parametrize("topic", [BIG, "p/n/info"])
def test_unacknowledged_message_does_not_block_others_forever(topic: str) -> None:
    clock = [100.0]
    judge = Limits("b", STATUS, lambda: clock[0])
    judge.begin(Terms())
    judge.sent(1, topic, 500)
    judge.sent(2, "p/n/hall/state", 100)
    assert judge.ended(hung_up=True, too_large=False, lasted_s=1.0)
    judge.begin(Terms())
    judge.sent(1, topic, 500)
    for seconds, waiting in ((9.0, True), (2.0, False)):
        clock[0] += seconds
        judge.tick()
        assert judge.waiting == waiting
    assert judge.fits(topic, 500)


def test_message_without_ack_counts_as_delivered_if_connection_lasts() -> None:
    clock = [100.0]
    judge = Limits("b", STATUS, lambda: clock[0])
    judge.begin(Terms(qos=0))
    for step in range(40):  # faces, twice a second
        judge.sent(None, "p/n/hall/faces", 300)
        judge.sent(None, BIG, 4000) if step == 3 else None
        clock[0] += 0.5
        judge.tick()
    assert not judge.ended(hung_up=True, too_large=False, lasted_s=20.0)


@pytest.mark.parametrize("lasted_s", [90.0, 3600.0])
def test_end_of_a_long_connection_blames_no_message(lasted_s: float) -> None:
    judge = limits()
    for _ in range(10):
        judge.begin(Terms())
        judge.sent(1, BIG, 4000)
        assert not judge.ended(hung_up=True, too_large=False, lasted_s=lasted_s)
    assert judge.fits(BIG, 4000)
