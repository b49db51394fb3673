"""A store that does not answer is waited for, told, and not hammered."""

import random

from indexer.patience import FIRST_S, HANGS_S, LAST_S, SLOW_S, Patience


def test_a_store_that_is_down_is_news_once_and_so_is_its_return() -> None:
    patience = Patience(random.Random(1))
    assert patience.due_s(0.0) is None and patience.text(0.0) == "ok"
    assert patience.failed("the disk is full", 0.0)
    assert not patience.failed("the disk is full", 1.0)
    assert patience.text(0.0) == "down: the disk is full"
    assert patience.answered() and not patience.answered()
    assert patience.due_s(2.0) is None


def test_it_is_asked_again_after_random_pauses_that_grow_to_a_few_seconds() -> None:
    pauses_s = []
    for seed in range(200):
        patience = Patience(random.Random(seed))
        for _ in range(10):
            patience.failed("down", 100.0)
            pauses_s.append(patience.due_s(100.0) or 0.0)
    first = pauses_s[::10]
    assert max(first) <= FIRST_S < max(pauses_s) <= LAST_S
    assert max(first) - min(first) > FIRST_S / 2


def test_a_store_that_hangs_is_down_before_it_says_so() -> None:
    patience = Patience(random.Random(1))
    assert patience.text(SLOW_S) == "has not answered for 3 s"
    assert not patience.waits(HANGS_S - 0.1)
    assert patience.waits(HANGS_S) and not patience.waits(HANGS_S + 1)
    assert patience.text(60.0) == "down: it hangs; has not answered for 60 s"
