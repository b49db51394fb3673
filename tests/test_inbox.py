"""The inbox holds what came as it came, counts it, and knows whom to give up."""

from typing import Any

import pytest

from agent.connection import Received
from indexer import inbox
from indexer.inbox import Inbox


def arrived(connection: Any, size: int, topic: str = "ping/a1") -> Received:
    return Received(connection, topic, bytes(size), False, None)


def test_first_in_is_first_out_and_nothing_is_left_over() -> None:
    box = Inbox()
    messages = [arrived("one", size) for size in (10, 20, 30)]
    for message in messages:
        box.add(message)
    assert len(box) == 3
    assert box.waiting_bytes > 60
    assert [box.take() for _ in range(3)] == messages
    assert (len(box), box.waiting_bytes) == (0, 0)


def test_many_small_messages_count_for_what_they_cost() -> None:
    box = Inbox()
    for _ in range(1000):
        box.add(arrived("one", 0))
    assert box.waiting_bytes >= 100_000


def test_below_the_limit_nobody_is_given_up() -> None:
    box = Inbox()
    box.add(arrived("one", inbox.LIMIT_BYTES // 2))
    assert box.fullest() is None


def test_past_64_mib_the_connection_that_brought_most_is_given_up_and_only_its_own_forgotten() -> (
    None
):
    assert inbox.LIMIT_BYTES == 64 * 1024 * 1024
    box = Inbox()
    kept = arrived("one", 1000)
    for message in (arrived("two", 40 << 20), kept, arrived("two", 30 << 20)):
        box.add(message)
    fullest = box.fullest()
    assert fullest is not None and fullest.connection == "two"  # type: ignore[comparison-overlap]
    box.forget(fullest.connection)
    assert box.fullest() is None
    assert box.take() == kept
    assert box.waiting_bytes == 0


@pytest.mark.parametrize("count", [0, 1])
def test_forgetting_a_connection_that_brought_nothing_changes_nothing(count: int) -> None:
    box = Inbox()
    for _ in range(count):
        box.add(arrived("one", 10))
    before = box.waiting_bytes
    box.forget("two")  # type: ignore[arg-type]
    assert (len(box), box.waiting_bytes) == (count, before)
