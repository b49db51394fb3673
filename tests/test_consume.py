"""Stored, durable, acknowledged, confirmed: in this order, whatever breaks."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import wire
from agent.connection import Credentials, Received
from indexer import inbox, reading
from indexer.committer import Committer, NotStored, Stored
from indexer.consume import QUIET_S, Commit, Consumer
from indexer.desk import Busy
from indexer.store import Dead, Put, Store, StoreDown
from indexer.swarming_indexer import Indexer
from tests.indexers import (
    DAY_MS,
    EPOCH,
    Client,
    Flaky,
    now_ms,
    result,
    running,
    seqs,
    settings,
    sqlite,
)
from tests.scripted_broker import ScriptedBroker
from tests.servers import free_port, wait_for

HOUR_MS = 3_600_000


class Shelf:
    """A store that only notes what it is given, and can be down."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int], wire.Result] = {}
        self.letters: list[Dead] = []
        self.down = False

    def put(self, results: list[wire.Result], now_ms: int) -> Put:
        if self.down:
            raise StoreDown("off")
        before = len(self.rows)
        self.rows |= {(one.agent, one.epoch, one.seq): one for one in results}
        stored = len(self.rows) - before
        return Put(stored, len(results) - stored, 0)

    def put_dead(self, letters: list[Dead]) -> None:
        if self.down:
            raise StoreDown("off")
        self.letters += letters

    def check(self) -> None:
        if self.down:
            raise StoreDown("off")


class Frozen:
    """A store whose `put` can be held for as long as the test likes; all else is the real one's."""

    def __init__(self, store: Store) -> None:
        self._real = store
        self._thawed = threading.Event()
        self._thawed.set()
        self.waiting = threading.Event()
        self.puts = 0

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def put(self, results: list[wire.Result], now_ms: int) -> Put:
        self.puts += 1
        self.waiting.set()
        assert self._thawed.wait(60)
        return self._real.put(results, now_ms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def consumer(rows: int = 500, **options: Any) -> Consumer:
    return Consumer(rows, 90 * DAY_MS, **options)


def arrived(topic: str, payload: bytes) -> Received:
    return Received(None, topic, payload, False, None)  # type: ignore[arg-type]


def single(one: wire.Result) -> Received:
    return arrived(wire.ping_topic(one.agent), wire.encode_result(one))


def acks(commit: Commit, agent: str = "a1") -> list[tuple[int, int]]:
    """The ranges of EPOCH that a commit confirms for the agent."""
    found = []
    for topic, payload in commit.acks():
        if topic == wire.ack_topic(agent):
            message = wire.read(topic, payload)
            assert isinstance(message, wire.Ack)
            found += message.ranges.get(EPOCH, [])
    return found


def stored(commit: Commit, shelf: Shelf) -> Commit:
    """The commit once it is durable, by a committer of its own."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    Committer(shelf, events.put).hand(commit, 0.0, now_ms())
    event = events.get(timeout=10)
    assert isinstance(event, Stored) and event.commit is not None
    return event.commit


def taken(messages: list[Received], shelf: Shelf, **options: Any) -> Commit:
    """The commit of these messages, durable."""
    reader = consumer(**options)
    for message in messages:
        reader.read(message, now_ms(), 0.0)
    return stored(reader.close(), shelf)


def test_a_commit_tells_what_is_durable_and_names_it_in_ranges() -> None:
    shelf = Shelf()
    done = taken([single(result(seq)) for seq in (1, 2, 3, 7)], shelf)
    assert len(done.arrived) == 4
    assert acks(done) == [(1, 3), (7, 7)]
    assert len(shelf.rows) == 4


def test_a_store_that_is_down_promises_nothing_and_the_commit_stays_whole() -> None:
    shelf, events = Shelf(), queue.SimpleQueue[Any]()
    reader, committer = consumer(), Committer(shelf, events.put)
    reader.read(single(result(1)), now_ms(), 0.0)
    reader.read(arrived("ping/a1", b"garbage"), now_ms(), 0.0)
    shelf.down = True
    committer.hand(reader.close(), 0.0, now_ms())
    event = events.get(timeout=10)
    assert event == NotStored("off")
    committer.ended(event)
    assert not committer.free and not committer.working
    shelf.down = False
    committer.again(1.0, now_ms(), lambda: pytest.fail("the one in flight goes first"))
    event = events.get(timeout=10)
    assert acks(event.commit) == [(1, 1)]
    assert len(event.commit.arrived) == 2 and len(shelf.letters) == 1
    committer.ended(event)
    assert committer.free


def test_an_answer_that_is_owed_is_counted_in_seconds() -> None:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    committer = Committer(Shelf(), events.put)
    assert committer.waited_s(100.0) == 0.0
    committer.again(100.0, now_ms(), lambda: None)
    assert committer.waited_s(112.0) == 12.0
    committer.ended(events.get(timeout=10))
    assert committer.waited_s(113.0) == 0.0


def test_what_is_stored_already_is_confirmed_again_always() -> None:
    shelf = Shelf()
    for _ in range(3):
        assert acks(taken([single(result(1))], shelf)) == [(1, 1)]
    assert len(shelf.rows) == 1


def test_a_commit_is_due_at_so_many_rows_or_when_nothing_comes() -> None:
    reader = consumer(300)
    assert reader.due_s(5.0) is None
    reader.read(single(result(1)), now_ms(), 5.0)
    assert reader.due_s(5.0) == pytest.approx(QUIET_S)
    assert reader.due_s(5.0 + QUIET_S) == 0.0
    for seq in range(2, 301):
        assert not reader.full
        reader.read(single(result(seq)), now_ms(), 5.0)
    assert reader.full and reader.due_s(5.0) == 0.0


def test_a_trickle_that_never_rests_is_committed_all_the_same() -> None:
    reader = consumer()
    for tick in range(100):
        reader.read(single(result(tick + 1)), now_ms(), tick * 0.01)
        if reader.due_s(tick * 0.01) == 0.0:
            return
    pytest.fail("still open after a second")


def test_what_cannot_be_read_is_a_dead_letter_with_every_byte() -> None:
    shelf = Shelf()
    done = taken([arrived("ping/a1", b"\xff\x00garbage"), single(result(1))], shelf)
    (letter,) = shelf.letters
    assert (letter.topic, letter.payload) == ("ping/a1", b"\xff\x00garbage")
    assert letter.reason
    assert acks(done) == [(1, 1)]
    assert len(done.arrived) == 2


def test_a_dead_letter_is_confirmed_when_it_says_which_it_is() -> None:
    shelf = Shelf()
    bad = wire.encode_json({"v": 1, "agent": "a1", "epoch": EPOCH, "seq": 9, "kind": "icmp"})
    assert acks(taken([arrived("ping/a1", bad)], shelf)) == [(9, 9)]
    assert len(shelf.letters) == 1 and not shelf.rows


def test_who_writes_under_another_name_is_a_dead_letter_and_cannot_confirm_for_that_name() -> None:
    shelf = Shelf()
    done = taken([arrived("ping/mallory", wire.encode_result(result(1, agent="a1")))], shelf)
    assert not shelf.rows and len(shelf.letters) == 1
    assert acks(done, "a1") == []
    assert acks(done, "mallory") == [(1, 1)]


def test_a_bad_row_does_not_take_its_neighbours_along() -> None:
    shelf = Shelf()
    rows = [result(1), result(2, ok="maybe"), result(3)]
    payload, _ = wire.encode_batch(rows)
    done = taken([arrived(wire.batch_topic("a1"), payload)], shelf)
    assert {seq for _, _, seq in shelf.rows} == {1, 3}
    assert len(shelf.letters) == 1 and b'"maybe"' in shelf.letters[0].payload
    assert acks(done) == [(1, 3)]


def test_a_newer_version_is_neither_confirmed_nor_dead_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf()
    newer = wire.encode_result(result(1)).replace(b'"v":1', b'"v":2')
    batch, _ = wire.encode_batch([result(2)])
    newer_batch = batch[:3] + b"\x09" + batch[4:]
    done = taken(
        [
            arrived("ping/a1", newer),
            arrived("ping/a1", newer),
            arrived(wire.batch_topic("a1"), newer_batch),
        ],
        shelf,
    )
    assert acks(done) == [] and not shelf.letters and not shelf.rows
    assert len(done.arrived) == 3
    assert sum("upgrade" in record.message for record in caplog.records) == 1


def test_a_result_from_the_future_is_a_dead_letter_and_confirmed() -> None:
    shelf = Shelf()
    soon = result(1, time_ms=now_ms() + HOUR_MS // 2)
    late = result(2, time_ms=now_ms() + 2 * HOUR_MS)
    done = taken([single(soon), single(late)], shelf)
    assert {seq for _, _, seq in shelf.rows} == {1}
    assert "future" in shelf.letters[0].reason
    assert acks(done) == [(1, 2)]


def test_what_is_older_than_the_retention_is_counted_told_and_confirmed_but_not_stored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf = Shelf()
    reader = consumer()
    reader.read(single(result(1, time_ms=now_ms() - 91 * DAY_MS)), now_ms(), 0.0)
    done = stored(reader.close(), shelf)
    assert not shelf.rows and not shelf.letters
    assert acks(done) == [(1, 1)]
    assert reader.counts.too_old == 1
    assert "older" in caplog.text


def test_what_the_store_has_no_place_for_is_counted_among_the_dead_letters_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reader = consumer()
    reader.read(single(result(1)), now_ms(), 0.0)
    reader.stored(reader.close(), Put(0, 0, 0, refused=1), 0.0)
    assert (reader.counts.refused, reader.counts.dead_letters) == (1, 1)
    assert "no place for 1 results" in caplog.text


def test_a_time_that_is_known_to_be_wrong_makes_nothing_too_old() -> None:
    shelf = Shelf()
    unset = result(1, time_ms=now_ms() - 600 * DAY_MS)._replace(clock="unsynced")
    taken([single(unset)], shelf)
    assert {seq for _, _, seq in shelf.rows} == {1}


@hypothesis.settings(deadline=None)
@given(st.sampled_from(["ping/a1", "ping/a1/batch", "ping/", "ping/a1/b/c"]), st.binary())
def test_any_bytes_are_results_or_dead_letters(topic: str, payload: bytes) -> None:
    read = reading.read_results(topic, payload, 0)
    assert read.results or read.letters or read.newer


# --- with a real broker -------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_result_is_stored_and_confirmed(version: str, mosquitto: Any, tmp_path: Path) -> None:
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port, mqtt=version), store),
        Client(port, "ack/+", "indexer/+") as client,
    ):
        client.wait_online()
        client.send(result(1), result(2))
        payload, _ = wire.encode_batch([result(seq) for seq in range(3, 103)])
        client.publish(wire.batch_topic("a1"), payload)
        client.wait_confirmed(range(1, 103))
        assert seqs(store) == list(range(1, 103))


def test_confirmations_go_out_on_every_broker(mosquitto: Any, tmp_path: Path) -> None:
    one, two = mosquitto().port, mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(one, two), store),
        Client(one, "ack/+", "indexer/+") as first,
        Client(two, "ack/+", "indexer/+") as second,
    ):
        first.wait_online()
        second.wait_online()
        first.send(result(1))
        first.wait_confirmed([1])
        second.wait_confirmed([1])


def test_a_check_and_a_share_probe_are_no_results(mosquitto: Any, tmp_path: Path) -> None:
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port), store) as indexer,
        Client(port, "ack/+", "indexer/+") as client,
    ):
        client.wait_online()
        client.publish("ping/a1/check", b"hello")
        client.publish("ping/_share/indexer-x.00000000", b"")
        client.publish("ping/a1", b"")
        client.send(result(1))
        client.wait_confirmed([1])
        assert store.dead() == []
        assert indexer.intake.consumer.counts.dead_letters == 0


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_broker_that_was_wiped_is_subscribed_anew(
    version: str, mosquitto: Any, tmp_path: Path
) -> None:
    broker = mosquitto("persistence false")
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(broker.port, mqtt=version), store),
    ):
        with Client(broker.port, "indexer/+") as client:
            client.wait_online()
        broker.kill()
        broker.start()
        with Client(broker.port, "ack/+", "indexer/+") as client:
            client.wait_online()
            assert client.payloads(wire.indexer_topic("indexer-test"))
            client.send(result(1))
            client.wait_confirmed([1])
        assert seqs(store) == [1]


def test_a_broker_that_is_absent_at_first_is_found_later(mosquitto: Any, tmp_path: Path) -> None:
    broker = mosquitto()
    broker.kill()
    with sqlite(tmp_path / "s.db") as store, running(settings(broker.port), store) as indexer:
        wait_for(lambda: indexer.desk.brokers(), what="a first look")
        assert not indexer.desk.brokers()[0].connected
        broker.start()
        with Client(broker.port, "indexer/+") as client:
            client.wait_online()


def test_a_store_that_is_down_is_told_waited_for_and_nothing_is_lost(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        with (
            running(settings(port), store) as indexer,  # type: ignore[arg-type]
            Client(port, "ack/+", "indexer/+") as client,
        ):
            client.wait_online()
            store.down = True
            client.send(*(result(seq) for seq in range(1, 51)))
            client.wait_online(False)
            assert client.confirmed() == set()
            assert seqs(real) == []
            wait_for(lambda: not indexer.desk.healthz().ok, what="healthz to say so")
            store.down = False
            client.wait_online()
            client.wait_confirmed(range(1, 51))
            assert seqs(real) == list(range(1, 51))
            wait_for(lambda: indexer.desk.healthz().ok, what="healthz to be well again")


def test_a_store_that_is_down_is_asked_now_and_then_and_by_nothing_else(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.patience.FIRST_S", 0.1)
    monkeypatch.setattr("indexer.chores.PRESENCE_S", 0.01)
    monkeypatch.setattr("indexer.chores.LEASE_S", 0.01)
    monkeypatch.setattr("indexer.chores.ADVISE_S", 0.01)
    monkeypatch.setattr("indexer.leader.RENEW_MS", 10)
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        with (
            running(settings(port, share="g"), store) as indexer,  # type: ignore[arg-type]
            Client(port, "ack/+", "indexer/+") as client,
        ):
            client.wait_online()
            store.down = True
            client.wait_online(False)
            time.sleep(0.2)  # what was under way aside has found it down as well
            store.refused.clear()
            client.send(result(1))
            client.publish("ping/_share/indexer-x.00c0ffee", b"")
            client.publish("watch", "voila.fr", retain=True)
            with pytest.raises(Busy):
                indexer.desk.change_list("watch", "yahoo.cn", "ann")
            wait_for(lambda: len(store.refused) >= 4, what="a few questions")
            assert set(store.refused) == {"check"}
            store.down = False
            client.wait_confirmed([1])


def test_a_store_that_takes_a_check_but_no_results_is_down_all_the_time(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nearly full disk; an indexer that is online every other second helps nobody."""
    monkeypatch.setattr("indexer.patience.FIRST_S", 0.02)
    monkeypatch.setattr("indexer.patience.LAST_S", 0.1)
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        with (
            running(settings(port), store),  # type: ignore[arg-type]
            Client(port, "ack/+", "indexer/+") as client,
        ):
            client.wait_online()
            checks: list[None] = []
            store.check = lambda: checks.append(None)  # type: ignore[attr-defined]
            store.down = True
            client.send(result(1))
            client.wait_online(False)
            wait_for(lambda: len(checks) > 5, what="a few checks")
            told = client.payloads(wire.indexer_topic("indexer-test"))
            assert [b"false" in one for one in told] == [False, True]
            store.down = False
            client.wait_online()
            client.wait_confirmed([1])


def test_while_a_put_hangs_the_loop_turns_reads_on_and_says_that_it_waits(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.patience.HANGS_S", 0.5)
    monkeypatch.setattr("indexer.patience.SLOW_S", 0.2)
    monkeypatch.setattr("indexer.swarming_indexer.TURN_S", 0.05)
    port = mosquitto("max_inflight_messages 2000").port
    with sqlite(tmp_path / "s.db") as real:
        store = Frozen(real)
        with (
            running(settings(port), store) as indexer,
            Client(port, "ack/+", "indexer/+") as client,
        ):
            client.wait_online()
            store.freeze()
            client.send(result(1))
            assert store.waiting.wait(10)
            client.send(*(result(seq) for seq in range(2, 801)))
            client.wait_online(False)
            wait_for(
                lambda: not indexer.intake.idle and len(indexer.intake.inbox), what="a full commit"
            )
            told = indexer.desk.healthz()
            assert not told.ok and "has not answered for" in told.facts["store"]
            with pytest.raises(Busy):
                indexer.desk.change_list("watch", "voila.fr", "ann")
            assert client.confirmed() == set() and store.puts == 1
            store.thaw()
            client.wait_online()
            client.wait_confirmed(range(1, 801))
            assert seqs(real) == list(range(1, 801))
            assert store.puts == 3  # what came in the meantime was put together


def test_a_store_that_raises_what_it_never_should_ends_the_indexer(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as store, Client(port, "indexer/+") as client:
        monkeypatch.setattr(store, "put", lambda *_: {}["a bug"])
        indexer = Indexer(settings(port), store)
        ended: Future[int] = Future()
        thread = threading.Thread(target=lambda: ended.set_exception(_raised(indexer.run)))
        thread.start()
        client.wait_online()
        client.send(result(1))
        with pytest.raises(KeyError, match="a bug"):
            ended.result(10)
        thread.join(10)
        indexer.switchboard.end()


def test_the_end_waits_for_what_is_in_flight_but_not_for_ever(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.swarming_indexer._FINISH_S", 0.5)
    port = mosquitto().port
    with sqlite(tmp_path / "s.db") as real, Client(port, "ack/+", "indexer/+") as client:
        store = Frozen(real)
        with running(settings(port), store):
            client.wait_online()
            store.freeze()
            client.send(result(1))
            assert store.waiting.wait(10)
        client.wait_online(False)
        assert client.confirmed() == set()
        store.thaw()
        with running(settings(port), store):
            client.wait_confirmed([1])


def test_a_clock_that_is_set_back_does_not_silence_the_indexer(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.swarming_indexer.ANNOUNCE_S", 0.05)
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(port), store),
        Client(port, "indexer/+") as client,
    ):
        client.wait_online()
        monkeypatch.setattr("indexer.swarming_indexer.wall_ms", lambda: now_ms() - DAY_MS)
        topic = wire.indexer_topic("indexer-test")
        day = wire.rfc3339(now_ms() - DAY_MS)[:10].encode()
        wait_for(lambda: any(day in one for one in client.payloads(topic)), what="the new time")


def test_a_full_inbox_gives_up_the_connection_and_nothing_is_lost(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "LIMIT_BYTES", 100_000)
    port = mosquitto("max_inflight_messages 0", "max_queued_messages 0").port
    with sqlite(tmp_path / "s.db") as real:
        store = Flaky(real)
        with (
            running(settings(port, mqtt="3.1.1"), store) as indexer,  # type: ignore[arg-type]
            Client(port, "ack/+", "indexer/+") as client,
        ):
            client.wait_online()
            store.down = True
            client.send(*(result(seq) for seq in range(1, 2001)))
            wait_for(
                lambda: "faster" in (indexer.switchboard.lines[0].reason or ""),
                what="the connection to be given up",
            )
            assert indexer.intake.inbox.waiting_bytes <= 100_000
            monkeypatch.setattr(inbox, "LIMIT_BYTES", 64 * 1024 * 1024)
            store.down = False
            client.wait_confirmed(range(1, 2001))
            assert seqs(real) == list(range(1, 2001))


def test_a_broker_that_acknowledges_nothing_is_given_up_before_the_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.swarming_indexer.WAITING", 25)
    monkeypatch.setattr("indexer.swarming_indexer.ANNOUNCE_S", 0.01)
    monkeypatch.setattr("indexer.swarming_indexer.TURN_S", 0.02)
    with (
        sqlite(tmp_path / "s.db") as store,
        ScriptedBroker() as broker,
        running(settings(broker.port), store) as indexer,
    ):
        peer = broker.welcome()
        with pytest.raises(ConnectionError):
            while True:
                peer.read()
        line = indexer.switchboard.lines[0]
        wait_for(lambda: "acknowledges nothing" in (line.reason or ""), what="the reason")


def test_two_indexers_on_one_store_read_all_and_store_it_once(
    mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    with (
        sqlite(tmp_path / "s.db") as one,
        sqlite(tmp_path / "s.db") as two,
        running(settings(port, name="indexer-one"), one) as first,
        running(settings(port, name="indexer-two"), two) as second,
        Client(port, "ack/+", "indexer/+") as client,
    ):
        client.wait_online(name="indexer-one")
        client.wait_online(name="indexer-two")
        client.send(*(result(seq) for seq in range(1, 101)))
        client.wait_confirmed(range(1, 101))
        counts = (first.intake.consumer, second.intake.consumer)
        wait_for(lambda: sum(one.counts.results + one.counts.known for one in counts) == 200)
        assert sum(one.counts.results for one in counts) == 100
        assert seqs(one) == list(range(1, 101))


DIES = """
    import os, signal, sys
    from tests.indexers import settings
    from indexer.store_sqlite import SqliteStore
    from indexer.swarming_indexer import Indexer

    class Dies(SqliteStore):
        def put(self, results, now_ms):
            super().put(results, now_ms)
            os.kill(os.getpid(), signal.SIGKILL)

    Indexer(settings(int(sys.argv[1])), Dies(sys.argv[2])).run()
"""


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_an_indexer_that_dies_between_store_and_confirmation_confirms_when_it_is_back(
    version: str, mosquitto: Any, tmp_path: Path
) -> None:
    port = mosquitto().port
    path = tmp_path / "s.db"
    script = tmp_path / "dies.py"
    script.write_text(textwrap.dedent(DIES))
    command = [sys.executable, str(script), str(port), str(path)]
    with Client(port, "ack/+", "indexer/+") as client:
        child = subprocess.Popen(command, cwd=Path(__file__).parent.parent, env=_env())
        try:
            client.wait_online()
            client.send(result(1))
            assert child.wait(30) == -signal.SIGKILL
        finally:
            child.kill()
            child.wait()
        client.wait_online(False)
        assert client.confirmed() == set()
        with sqlite(path) as store, running(settings(port, mqtt=version), store):
            client.wait_online()
            client.wait_confirmed([1])
            assert seqs(store) == [1]


ACL = """
pattern write ping/%u
pattern write ping/%u/#
pattern write agent/%u
pattern read ack/%u
pattern read indexer/+
pattern read watch
pattern read swarm

user indexer-test
topic read ping/#
topic read agent/+
topic read rip/#
topic read watch
topic read watch/#
topic read verdict/+
topic write ack/#
topic write indexer/indexer-test
topic write swarm
topic write look
topic write verdict/#
topic write watch
topic write watch/#
topic write ping/_share/#
"""


def test_over_mutual_tls_the_rights_that_the_protocol_gives_are_enough(
    mosquitto: Any, authority: Any, tmp_path: Path
) -> None:
    server = authority.issue("broker", ("127.0.0.1",))
    (tmp_path / "acl").write_text(ACL)
    broker = mosquitto(
        f"cafile {authority.ca}",
        f"certfile {server.cert}",
        f"keyfile {server.key}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path / 'acl'}",
        "allow_anonymous false",
    )
    mine = Credentials(authority.ca, *authority.issue("indexer-test"))
    agents = Credentials(authority.ca, *authority.issue("a1"))
    with (
        sqlite(tmp_path / "s.db") as store,
        running(settings(broker.port, credentials=mine), store) as indexer,
        Client(
            broker.port, "ack/a1", "indexer/+", "watch", name="a1", credentials=agents
        ) as client,
    ):
        client.wait_online()
        client.send(result(1))
        client.wait_confirmed([1])
        indexer.desk.change_list("watch", "voila.fr", "ann")
        wait_for(lambda: client.payloads("watch")[-1:] == [b"voila.fr"], what="the list")
        client.publish("ping/b2", wire.encode_result(result(2, agent="b2")))
        client.send(result(3))
        client.wait_confirmed([3])
        assert seqs(store, "b2") == []


def test_with_nobody_there_a_closed_port_is_tried_with_patience(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store, running(settings(free_port()), store) as indexer:
        wait_for(lambda: indexer.desk.brokers() and indexer.desk.brokers()[0].reason)
        assert not indexer.desk.brokers()[0].connected
        assert not indexer.desk.healthz().ok


def _raised(work: Callable[[], Any]) -> BaseException:
    """What it raises; a test that waits for that fails when it raises nothing."""
    try:
        work()
    except Exception as error:
        return error
    return AssertionError("it ended well")


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
