"""Watch lists: one truth on record, the same on every broker, every change with who and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import wire
from agent.wire import Watch
from indexer.desk import Busy, ListRefused
from indexer.lists import BY_MQTT, FOUND, SETTLE_MS, Lists, Write, payload_of
from indexer.store import WatchChange
from tests.indexers import Client, Flaky, running, settings, sqlite
from tests.servers import wait_for

T0 = 1_790_000_000_000


class History:
    def __init__(self) -> None:
        self.changes: list[WatchChange] = []

    def put_watch(self, at_ms: int, scope: str, text: str | None, who: str) -> None:
        self.changes.insert(0, WatchChange(at_ms, scope, text, who))

    def watch_history(self, scope: str | None = None, limit: int = 100) -> list[WatchChange]:
        found = [change for change in self.changes if scope in (None, change.scope)]
        return found[:limit]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk under a test is not what is tested."""
    monkeypatch.setattr("indexer.desk.ANSWER_S", 60.0)


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def lists(history: History) -> Lists:
    return Lists(history)


def test_a_change_is_tidied_recorded_and_written_to_all(lists: Lists, history: History) -> None:
    write = lists.change("watch", "  voila.fr\n yahoo.cn  voila.fr ", "ann", T0)
    assert write == Write(None, "watch", b"voila.fr yahoo.cn")
    assert history.changes == [WatchChange(T0, "watch", "voila.fr yahoo.cn", "ann")]
    assert lists.own() == {"watch": "voila.fr yahoo.cn"}


def test_a_list_with_a_refused_entry_is_not_written(lists: Lists, history: History) -> None:
    with pytest.raises(ListRefused, match="-rf") as refusal:
        lists.change("watch", "voila.fr -rf", "ann", T0)
    assert [one.text for one in refusal.value.refused] == ["-rf"]
    assert history.changes == []


def test_what_was_refused_before_does_not_stand_in_the_way(lists: Lists, history: History) -> None:
    history.put_watch(T0, "watch", "voila.fr -rf", BY_MQTT)
    assert lists.change("watch", "voila.fr -rf yahoo.cn", "ann", T0).payload == b"voila.fr yahoo.cn"


@pytest.mark.parametrize("scope", ["", "watching", "watch/", "watch/a/b", "watch/#", "ping/a1"])
def test_a_scope_that_is_no_list_is_refused(lists: Lists, scope: str) -> None:
    with pytest.raises(ListRefused):
        lists.change(scope, "voila.fr", "ann", T0)


def test_nothing_to_watch_is_a_lasting_list_and_zero_bytes_take_an_own_list_back(
    lists: Lists,
) -> None:
    assert lists.change("watch", "", "ann", T0).payload == b" "
    assert lists.change("watch/a1", None, "ann", T0).payload == b""
    with pytest.raises(ListRefused):
        lists.change("watch", None, "ann", T0)


def test_undo_goes_back_and_undo_again_returns(lists: Lists, history: History) -> None:
    lists.change("watch", "one.example", "ann", T0)
    lists.change("watch", "two.example", "bob", T0 + 1)
    assert lists.undo("watch", "cid", T0 + 2).payload == b"one.example"
    assert lists.undo("watch", "cid", T0 + 3).payload == b"two.example"
    assert [change.who for change in history.changes] == ["cid", "cid", "bob", "ann"]


def test_undo_of_a_first_own_list_is_back_to_everybodys(lists: Lists) -> None:
    lists.change("watch/a1", "one.example", "ann", T0)
    assert lists.undo("watch/a1", "ann", T0 + 1).payload == b""
    with pytest.raises(ListRefused):
        lists.undo("watch", "ann", T0 + 2)


def settled(lists: Lists, at_ms: int) -> list[Write]:
    return lists.settle(at_ms + SETTLE_MS)


def test_a_broker_that_lost_the_list_gets_it_again(lists: Lists) -> None:
    lists.change("watch", "one.example", "ann", T0)
    lists.opened("b1", T0 + 10)
    assert lists.settle(T0 + 10) == []
    assert settled(lists, T0 + 10) == [Write("b1", "watch", b"one.example")]
    assert settled(lists, T0 + 20_000) == []


def test_a_broker_that_retained_another_list_is_rewritten(lists: Lists) -> None:
    lists.change("watch", "one.example", "ann", T0)
    lists.change("watch/a1", None, "ann", T0)
    lists.opened("b1", T0 + 10)
    lists.seen("b1", Watch(None, "old.example"), False, T0 + 11)
    lists.seen("b1", Watch("a1", "old.example"), False, T0 + 11)
    assert set(settled(lists, T0 + 11)) == {
        Write("b1", "watch/a1", b""),
        Write("b1", "watch", b"one.example"),
    }


def test_a_broker_that_has_the_same_is_left_alone(lists: Lists) -> None:
    lists.change("watch", "one.example two.example", "ann", T0)
    lists.opened("b1", T0 + 10)
    lists.seen("b1", Watch(None, "one.example\n two.example"), False, T0 + 11)
    assert settled(lists, T0 + 11) == []


def test_without_a_list_of_our_own_the_brokers_is_taken(lists: Lists, history: History) -> None:
    lists.opened("b1", T0)
    lists.opened("b2", T0)
    lists.seen("b1", Watch(None, "found.example"), False, T0 + 1)
    assert settled(lists, T0 + 1) == [Write(None, "watch", b"found.example")]
    assert history.changes[0].who == FOUND


def test_what_somebody_writes_by_hand_becomes_the_list_of_all(
    lists: Lists, history: History
) -> None:
    lists.change("watch", "one.example", "ann", T0)
    lists.seen("b1", Watch(None, "by.hand"), True, T0 + 1000)
    assert settled(lists, T0 + 1000) == [Write(None, "watch", b"by.hand")]
    assert (history.changes[0].text, history.changes[0].who) == ("by.hand", BY_MQTT)


def test_what_was_written_while_we_were_away_is_news_though_it_is_retained_too(
    lists: Lists, history: History
) -> None:
    """A durable session hands it over as live; subscribing again, the broker says it once more."""
    lists.change("watch", "one.example", "ann", T0)
    lists.opened("b1", T0 + 1000)
    lists.seen("b1", Watch(None, "by.hand"), True, T0 + 1000)
    lists.seen("b1", Watch(None, "by.hand"), False, T0 + 1001)
    assert settled(lists, T0 + 1001) == [Write(None, "watch", b"by.hand")]
    assert history.changes[0].who == BY_MQTT


def test_a_list_from_a_clock_that_was_ahead_does_not_win_until_then(lists: Lists) -> None:
    lists.change("watch", "one.example", "ann", T0 + 3_600_000)
    lists.seen("b1", Watch(None, "by.hand"), True, T0)
    assert settled(lists, T0) == [Write(None, "watch", b"by.hand")]


def test_echoes_of_two_quick_changes_do_not_undo_the_second(lists: Lists) -> None:
    lists.opened("b1", T0 - 100_000)
    lists.change("watch", "one.example", "ann", T0)
    lists.change("watch", "two.example", "ann", T0 + 100)
    lists.seen("b1", Watch(None, "one.example"), True, T0 + 150)
    lists.seen("b1", Watch(None, "two.example"), True, T0 + 160)
    assert settled(lists, T0 + 160) == []


def test_a_deleted_list_for_everybody_is_put_back(lists: Lists) -> None:
    lists.change("watch", "one.example", "ann", T0)
    lists.opened("b1", T0)
    lists.seen("b1", Watch(None, "one.example"), False, T0 + 1)
    lists.seen("b1", Watch(None, None), True, T0 + 2)
    assert settled(lists, T0 + 2) == [Write("b1", "watch", b"one.example")]


def test_a_broker_that_is_away_is_not_judged(lists: Lists) -> None:
    lists.change("watch", "one.example", "ann", T0)
    lists.opened("b1", T0)
    lists.closed("b1")
    assert lists.due_ms() is None
    assert settled(lists, T0) == []


def test_payloads() -> None:
    assert [payload_of(text) for text in (None, "", "a.b")] == [b"", b" ", b"a.b"]


# --- with real brokers --------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("indexer.lists.SETTLE_MS", 300)
    yield


def test_the_page_writes_to_every_broker_and_can_undo(
    mosquitto: Any, tmp_path: Path, quick: None
) -> None:
    one, two = mosquitto().port, mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(one, two), store) as indexer,
        Client(one, "watch/#", "indexer/+") as first,
        Client(two, "watch/#", "indexer/+") as second,
    ):
        first.wait_online()
        second.wait_online()
        change = indexer.desk.change_list("watch", "voila.fr", "ann")
        assert len(change.brokers) == 2
        indexer.desk.change_list("watch", "yahoo.cn", "bob")
        indexer.desk.undo_list("watch", "cid")
        for client in (first, second):
            wait_for(lambda c=client: c.payloads("watch")[-1:] == [b"voila.fr"], what="the list")
        assert indexer.desk.lists() == {"watch": "voila.fr"}
        assert [one.who for one in store.watch_history("watch")] == ["cid", "bob", "ann"]
        with pytest.raises(ListRefused):
            indexer.desk.change_list("watch", "http://", "ann")


def test_a_wiped_broker_and_one_that_differs_get_our_list(
    mosquitto: Any, tmp_path: Path, quick: None
) -> None:
    wiped, differs = mosquitto("persistence false"), mosquitto()
    with Client(differs.port) as client:
        client.publish("watch", "old.example", retain=True)
    with sqlite(tmp_path / "s.db") as store:
        store.put_watch(T0, "watch", "ours.example", "ann")
        with running(settings(wiped.port, differs.port), store):
            for port in (wiped.port, differs.port):
                with Client(port, "watch/#") as client:
                    wait_for(
                        lambda c=client: c.payloads("watch")[-1:] == [b"ours.example"],
                        what="our list",
                    )
            wiped.kill()
            wiped.start()
            with Client(wiped.port, "watch/#") as client:
                wait_for(lambda: client.payloads("watch")[-1:] == [b"ours.example"])


def test_a_list_published_by_hand_goes_to_the_other_broker_and_on_record(
    mosquitto: Any, tmp_path: Path, quick: None
) -> None:
    one, two = mosquitto().port, mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(one, two), store),
        Client(one, "watch/#", "indexer/+") as first,
        Client(two, "watch/#", "indexer/+") as second,
    ):
        first.wait_online()
        second.wait_online()
        first.publish("watch", "by.hand")
        wait_for(lambda: second.payloads("watch")[-1:] == [b"by.hand"], what="the other broker")
        assert store.watch_history("watch")[0].who == BY_MQTT


def test_while_the_store_is_down_a_change_is_refused_and_nothing_is_published(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        with (
            running(settings(port), store) as indexer,  # type: ignore[arg-type]
            Client(port, "watch/#", "indexer/+") as client,
        ):
            client.wait_online()
            store.down = True
            with pytest.raises(Busy):
                indexer.desk.change_list("watch", "voila.fr", "ann")
            store.down = False
            client.wait_online(True)
            assert client.payloads("watch") == []


def test_many_threads_may_change_lists_at_once(mosquitto: Any, tmp_path: Path) -> None:
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as store, running(settings(port), store) as indexer:
        threads = [
            threading.Thread(
                target=indexer.desk.change_list, args=(f"watch/a{n}", "voila.fr", "ann")
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert indexer.desk.lists() == {f"watch/a{n}": "voila.fr" for n in range(8)}
        assert wire.WATCH not in indexer.desk.lists()
