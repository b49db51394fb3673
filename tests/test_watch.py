"""Which list is in force: this agent's own, else everybody's, else the owner's."""

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.watch import Listed, WatchList

OWNERS = Listed("owner.example", "--targets")


def lists(**saved: str | None) -> WatchList:
    return WatchList("box", "owner.example", dict(saved))


def settled(watch: WatchList, now: float) -> Listed | None:
    """What is due once the two seconds are over."""
    return watch.due(now + 2)


def test_without_any_message_the_owners_targets_are_in_force() -> None:
    watch = lists()
    assert watch.in_force == OWNERS
    watch.connected(0)
    assert watch.due(2) is None and watch.in_force == OWNERS


def test_everybodys_list_replaces_the_owners() -> None:
    watch = lists()
    watch.connected(0)
    watch.received(False, "voila.fr  yahoo.cn\n", 0.1)
    assert watch.due(2) == Listed("voila.fr  yahoo.cn", "watch")
    assert watch.in_force == Listed("voila.fr  yahoo.cn", "watch")


def test_the_agents_own_list_wins_whichever_came_first() -> None:
    for order in ([True, False], [False, True]):
        watch = lists()
        watch.connected(0)
        for own in order:
            watch.received(own, "own" if own else "all", 0.5)
        assert watch.due(1.9) is None
        assert watch.due(2) == Listed("own", "watch/box")


def test_a_list_that_comes_live_is_acted_on_two_seconds_later() -> None:
    watch = lists(all="old")
    watch.received(False, "new", 100)
    assert watch.wake_s(100) == 2
    assert watch.due(101.9) is None
    assert watch.due(102) == Listed("new", "watch")
    assert watch.due(103) is None


def test_a_flood_of_lists_does_not_put_off_acting() -> None:
    watch = lists()
    for tenth in range(21):
        watch.received(False, f"list-{tenth}", tenth / 10)
    assert watch.due(2.0) == Listed("list-20", "watch")


def test_a_reconnect_that_brings_the_same_changes_nothing() -> None:
    watch = lists(all="a b", own="c")
    watch.connected(0)
    watch.received(True, "c", 0.1)
    watch.received(False, "a b", 0.1)
    for now in (2, 10, 11, 100):
        assert watch.due(now) is None
    assert watch.in_force == Listed("c", "watch/box")


def test_the_list_that_came_last_wins_whole() -> None:
    watch = lists(all="a b c")
    watch.connected(0)
    watch.received(False, "d", 0.1)
    assert settled(watch, 0.1) == Listed("d", "watch")


def test_white_space_alone_means_watch_nothing_and_lasts() -> None:
    watch = lists(all="a")
    watch.received(False, " \n", 0)
    assert settled(watch, 0) == Listed("", "watch")
    assert WatchList("box", "owner.example", watch.to_save()).in_force == Listed("", "watch")
    watch.received(True, " ", 10)
    assert settled(watch, 10) == Listed("", "watch/box")


def test_zero_bytes_on_everybodys_topic_change_nothing() -> None:
    watch = lists(all="a")
    watch.received(False, None, 0)
    assert settled(watch, 0) is None and watch.in_force == Listed("a", "watch")


def test_zero_bytes_on_the_own_topic_mean_back_to_everybodys() -> None:
    watch = lists(all="a", own="b")
    watch.received(True, None, 0)
    assert settled(watch, 0) == Listed("a", "watch")
    alone = lists(own="b")
    alone.received(True, None, 0)
    assert settled(alone, 0) == OWNERS


def test_a_saved_own_list_that_the_broker_no_longer_has_is_dropped_after_ten_seconds() -> None:
    watch = lists(all="a", own="b")
    watch.connected(0)
    watch.received(False, "a", 1)
    assert watch.due(10.9) is None
    assert watch.wake_s(10.9) > 0
    assert watch.due(11) == Listed("a", "watch")
    assert watch.to_save() == {"own": None, "all": "a"}


def test_a_broker_that_brings_nothing_drops_nothing() -> None:
    watch = lists(all="a", own="b")
    watch.connected(0)
    assert watch.due(3600) is None and watch.in_force == Listed("b", "watch/box")


def test_a_connection_that_ended_before_the_ten_seconds_drops_nothing() -> None:
    watch = lists(all="a", own="b")
    watch.connected(0)
    watch.received(False, "a", 1)
    watch.disconnected()
    assert watch.due(60) is None and watch.in_force == Listed("b", "watch/box")


def test_an_own_list_that_comes_within_the_ten_seconds_stays() -> None:
    watch = lists(own="b")
    watch.connected(0)
    watch.received(False, "a", 0)
    assert watch.due(2) is None
    watch.received(True, "b", 9)
    assert watch.due(11) is None and watch.due(60) is None
    assert watch.in_force == Listed("b", "watch/box")


def test_both_lists_survive_a_restart() -> None:
    watch = lists()
    watch.connected(0)
    watch.received(False, "a", 0)
    watch.received(True, "b", 0)
    watch.due(2)
    again = WatchList("box", "owner.example", watch.to_save())
    assert again.in_force == Listed("b", "watch/box")
    again.received(True, None, 10)
    assert settled(again, 10) == Listed("a", "watch")


def test_an_endless_list_is_not_kept_whole() -> None:
    watch = lists()
    watch.received(False, "word\n" * 100_000, 0)
    due = settled(watch, 0)
    assert due is not None and 60_000 < len(due.text) <= 65_536 and due.text.endswith("word")
    watch.received(False, "x" * 100_000, 10)
    due = settled(watch, 10)
    assert due is not None and len(due.text) <= 65_536


def test_nothing_to_do_is_never_due() -> None:
    assert lists().wake_s(5) == math.inf


MESSAGES = st.tuples(st.booleans(), st.none() | st.sampled_from(["", " ", "a", "b"]))


@given(st.lists(MESSAGES, max_size=8), st.sampled_from([None, "a"]), st.sampled_from([None, "b"]))
def test_any_messages_end_in_a_list_that_a_restart_agrees_with(
    messages: list[tuple[bool, str | None]], saved_all: str | None, saved_own: str | None
) -> None:
    watch = lists(all=saved_all, own=saved_own)
    watch.connected(0)
    for second, (own, text) in enumerate(messages):
        watch.received(own, text, second)
        watch.due(second)
    watch.due(100)
    assert watch.wake_s(100) == math.inf
    assert WatchList("box", "owner.example", watch.to_save()).in_force == watch.in_force
