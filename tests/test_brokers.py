"""Which broker next, when, and in which version: the rules of agent/brokers.py, by the clock."""

import math
import random
import statistics

import pytest

from agent.brokers import Attempt, Brokers
from agent.connection import TAKEN_OVER, UNSUPPORTED_VERSION, Broker

A, B, C = (Broker(name, 1883, False) for name in ("a", "b", "c"))


def choice(*brokers: Broker, seed: int = 1, **options: object) -> Brokers:
    return Brokers(brokers or (A, B, C), random.Random(seed), newest="5", **options)  # type: ignore[arg-type]


def attempt(brokers: Brokers, now: float) -> tuple[Attempt, float]:
    """The next attempt, and when it was made."""
    now += brokers.wake_s(now)
    made = brokers.due(now)
    assert made is not None
    return made, now


def test_the_first_try_is_made_at_once_and_is_the_only_one() -> None:
    brokers = choice()
    assert brokers.due(0.0) is not None
    assert brokers.due(1000.0) is None


def test_the_order_is_random() -> None:
    first = {attempt(choice(seed=seed), 0.0)[0].broker for seed in range(50)}
    assert first == {A, B, C}


def test_a_dead_broker_is_left_for_the_others_before_it_is_tried_again() -> None:
    for seed in range(20):
        brokers, now, tried = choice(seed=seed), 0.0, []
        for _ in range(12):
            made, now = attempt(brokers, now)
            brokers.refused(None, "connect", now)
            tried.append(made.broker)
        assert all(set(tried[n : n + 3]) == {A, B, C} for n in range(0, 12, 3))
        assert all(one != other for one, other in zip(tried, tried[1:], strict=False))


def test_a_lost_connection_moves_to_the_next_broker() -> None:
    brokers = choice(A, B)
    first, now = attempt(brokers, 0.0)
    brokers.opened(now)
    brokers.closed(None, 3600.0, now + 3600)
    second, _ = attempt(brokers, now + 3600)
    assert {first.broker, second.broker} == {A, B}


def test_waits_are_fully_jittered_and_double_up_to_a_bound() -> None:
    waits: list[list[float]] = [[] for _ in range(12)]
    for seed in range(200):
        brokers, now = choice(A, seed=seed), 0.0
        for nth in range(12):
            _, now = attempt(brokers, now)
            brokers.refused(None, "connect", now)
            waits[nth].append(brokers.wake_s(now))
    assert max(waits[0]) <= 8 and min(waits[0]) < 1
    assert 6 < statistics.median(waits[1]) < 10
    assert max(map(max, waits)) <= 120 and min(waits[11]) < 10
    assert 45 < statistics.median(waits[11]) < 75


def test_a_steady_connection_ends_the_doubling() -> None:
    brokers, now = choice(A), 0.0
    for _ in range(10):
        _, now = attempt(brokers, now)
        brokers.refused(None, "connect", now)
    _, now = attempt(brokers, now)
    brokers.opened(now)
    brokers.closed(None, 600.0, now + 600)
    assert brokers.wake_s(now + 600) <= 4


@pytest.mark.parametrize("code", [TAKEN_OVER, None])
def test_three_takeovers_in_five_minutes_make_it_wait_and_say_so(code: int | None) -> None:
    brokers, now = choice(A, B), 0.0
    for nth in range(3):
        assert brokers.trouble(now) is None
        _, now = attempt(brokers, now)
        brokers.opened(now)
        now += 1
        brokers.closed(code, 1.0 if code is None else 20.0, now)
        assert (brokers.wake_s(now) >= 300) == (nth == 2)
    assert "name" in str(brokers.trouble(now))
    _, later = attempt(brokers, now)
    assert brokers.trouble(later) is None


def test_three_takeovers_in_an_hour_are_no_trouble() -> None:
    brokers, now = choice(A), 0.0
    for _ in range(5):
        _, now = attempt(brokers, now)
        brokers.opened(now)
        now += 1200
        brokers.closed(TAKEN_OVER, 1200.0, now)
        assert brokers.trouble(now) is None and brokers.wake_s(now) < 300


def test_twins_do_not_come_back_together() -> None:
    waits = set()
    for seed in range(20):
        brokers, now = choice(A, seed=seed), 0.0
        for _ in range(3):
            _, now = attempt(brokers, now)
            brokers.opened(now)
            brokers.closed(TAKEN_OVER, 1.0, now)
        waits.add(round(brokers.wake_s(now)))
    assert len(waits) > 10 and min(waits) >= 300


def test_a_broker_that_does_not_speak_5_is_spoken_to_in_3_1_1_at_once_and_for_a_day() -> None:
    brokers = choice(A, B)
    first, now = attempt(brokers, 0.0)
    assert first.version == "5"
    brokers.refused(UNSUPPORTED_VERSION, "connack", now)
    again = brokers.due(now)
    assert again == Attempt(first.broker, "3.1.1")
    assert brokers.to_save(now) == {str(first.broker): 86400.0}
    brokers.opened(now)
    brokers.closed(None, 100.0, now + 100)
    other, now = attempt(brokers, now + 100)
    assert other == Attempt(B if first.broker == A else A, "5")
    brokers.refused(None, "connect", now)
    assert attempt(brokers, now)[0].version == "3.1.1"
    brokers.refused(None, "connect", now)
    tries = [attempt(brokers, now + 86400)[0]]
    brokers.refused(None, "connect", now + 86400)
    tries.append(attempt(brokers, now + 86400)[0])
    assert {made.version for made in tries} == {"5"}


def test_two_closes_before_the_connack_mean_the_same_but_one_does_not() -> None:
    brokers, versions, now = choice(A), [], 0.0
    for _ in range(3):
        made, now = attempt(brokers, now)
        versions.append(made.version)
        brokers.refused(None, "closed", now)
    assert versions == ["5", "5", "3.1.1"]


def test_silence_instead_of_a_connack_means_the_same_at_once() -> None:
    brokers = choice(A)
    attempt(brokers, 0.0)
    brokers.refused(None, "connack", 10.0)
    assert brokers.due(10.0) == Attempt(A, "3.1.1")


@pytest.mark.parametrize("stage", ["resolve", "connect", "tls"])
def test_a_broker_that_cannot_be_reached_says_nothing_about_versions(stage: str) -> None:
    brokers, now = choice(A), 0.0
    for _ in range(6):
        made, now = attempt(brokers, now)
        assert made.version == "5"
        brokers.refused(None, stage, now)
    assert brokers.to_save(now) == {}


def test_a_closed_door_is_not_taken_for_another_version() -> None:
    brokers, now = choice(A), 0.0
    for _ in range(4):
        made, now = attempt(brokers, now)
        assert made.version == "5"
        brokers.refused(0x87, "connack", now)


def test_the_version_is_remembered_across_a_restart() -> None:
    brokers = choice(A, saved={str(A): 3600.0}, now=50.0)
    assert attempt(brokers, 50.0)[0].version == "3.1.1"
    assert brokers.to_save(650.0) == {str(A): 3000.0}
    forged = choice(A, saved={str(A): 1e9})
    assert forged.to_save(0.0) == {str(A): 86400.0}


def test_an_asked_for_version_is_never_changed() -> None:
    brokers, now = choice(A, version="3.1"), 0.0
    for stage in ("closed", "closed", "connack"):
        made, now = attempt(brokers, now)
        assert made.version == "3.1"
        brokers.refused(UNSUPPORTED_VERSION, stage, now)


def test_a_broker_without_an_indexer_is_left_after_15_minutes() -> None:
    brokers = choice(A, B)
    first, now = attempt(brokers, 0.0)
    brokers.opened(now)
    assert not brokers.should_leave(now + 899)
    assert brokers.wake_s(now) == 900 and brokers.should_leave(now + 900)
    now += 900
    brokers.left(now)
    second = brokers.due(now)
    assert second is not None and second.broker != first.broker
    brokers.opened(now)
    assert not brokers.should_leave(now + 899)


def test_an_indexer_that_is_seen_keeps_the_agent_there() -> None:
    brokers = choice(A, B)
    _, now = attempt(brokers, 0.0)
    brokers.opened(now)
    brokers.indexer_seen(now + 800)
    assert not brokers.should_leave(now + 1600)
    assert brokers.should_leave(now + 1700)


def test_the_only_broker_is_never_left() -> None:
    brokers = choice(A, A)
    _, now = attempt(brokers, 0.0)
    brokers.opened(now)
    assert not brokers.should_leave(now + 1e6)
    assert brokers.wake_s(now) == math.inf


def test_an_agent_without_a_broker_is_an_error() -> None:
    with pytest.raises(ValueError, match="broker"):
        Brokers([], random.Random(1))
