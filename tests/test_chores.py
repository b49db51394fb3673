"""What the loop does now and then, and when it had better not."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agent import wire
from indexer.aside import Aside, Ended
from indexer.chores import LEASE_S, RETAIN_S, ROLLUP_S
from indexer.leader import RENEW_MS
from indexer.patience import LAST_S
from indexer.pen import MOST_NOTES, RECORDS, Pen
from indexer.presence import Presence
from indexer.store import AgentRecord, StoreDown
from indexer.store_sqlite import SqliteStore
from tests.indexers import (
    DAY_MS,
    Client,
    Flaky,
    Indexer,
    now_ms,
    result,
    running,
    seqs,
    settings,
    sqlite,
)
from tests.servers import wait_for

HOUR_MS = 3_600_000


def settled(indexer: Indexer) -> None:
    """All that is under way has ended."""
    chores = indexer.chores
    while any(each.busy for each in (chores._judging, chores._rolling, chores._retaining)):
        event = indexer.events.get(timeout=30)
        if isinstance(event, Ended):
            event.settle()


def test_retention_drops_what_is_old_but_not_by_a_clock_that_nobody_measures_by(
    tmp_path: Path,
) -> None:
    now = now_ms()
    with sqlite(tmp_path / "s.db") as store:
        store.put([result(1, time_ms=now - 100 * DAY_MS), result(2, time_ms=now)], now)
        chores = Indexer(settings(), store).chores
        chores._drop(now + 365 * DAY_MS)
        assert seqs(store) == [1, 2]
        chores._drop(now)
        assert seqs(store) == [2]


def test_only_who_leads_rolls_up_and_drops(tmp_path: Path) -> None:
    now, now_s = now_ms(), time.monotonic() + 2 * ROLLUP_S
    with sqlite(tmp_path / "s.db") as store:
        store.put([result(1, time_ms=now - 100 * DAY_MS), result(2, time_ms=now - HOUR_MS)], now)
        left = store.rollup(now, 0)
        assert left and store.lease("lead", "indexer-other", now, 60_000)
        indexer = Indexer(settings(), store)
        indexer.chores.turn(now_s, now, idle=True)
        settled(indexer)
        assert store.rollup(now, 0) == left and seqs(store) == [1, 2]

        store.lease("lead", "indexer-other", now, 0)
        indexer.chores.turn(now_s + LEASE_S, now + RENEW_MS, idle=False)
        settled(indexer)
        assert store.rollup(now, 0) == left  # results are waiting: these go first
        indexer.chores.turn(now_s + RETAIN_S, now + RENEW_MS, idle=True)
        settled(indexer)
        assert store.rollup(now, 0) == 0 and seqs(store) == [2]


def test_with_more_to_roll_up_results_have_as_much_time_else_much_more(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        chores = Indexer(settings(), store).chores
        assert chores.leader.renew(now_ms())
        begun_s = time.monotonic()
        for left, took_s, pause_s in ((1, 7.0, 7.0), (0, 1.0, ROLLUP_S), (0, 20.0, 200.0)):
            chores._rolled(left, took_s)
            assert chores.due_s(begun_s, now_ms()) == pytest.approx(pause_s, abs=1.0)


def test_who_does_not_lead_is_not_woken_for_roll_ups(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        chores = Indexer(settings(), store).chores
        assert chores.due_s(time.monotonic(), now_ms()) == ROLLUP_S


def test_a_bug_in_what_the_leader_does_stops_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite(tmp_path / "s.db") as store:
        for name in ("rollup", "retain", "results"):
            monkeypatch.setattr(store, name, lambda *_: {}["a bug"])
        store.put([result(1)], now_ms())
        indexer = Indexer(settings(), store)
        indexer.chores.turn(time.monotonic() + 2 * 3600, now_ms(), idle=True)
        settled(indexer)
        said = {record.message for record in caplog.records if record.exc_info}
        assert said == {"judging failed", "rolling up failed", "dropping failed"}


def test_what_is_raised_aside_is_raised_in_the_loop_and_nothing_is_done_twice_at_once() -> None:
    events: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    aside = Aside("test", events.put)
    aside.start(lambda: {}["a bug"], lambda *_: pytest.fail("it has no answer"))
    with pytest.raises(AssertionError):
        aside.start(lambda: None, lambda *_: None)
    with pytest.raises(KeyError):
        events.get(timeout=10).settle()
    assert not aside.busy


def pen_of(store: Any, *agents: str) -> tuple[Pen, queue.SimpleQueue[Ended]]:
    """It has these agents' records to write; its ends are in the queue."""
    events: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    presence = Presence([])
    for agent in agents:
        presence.heard(agent, now_ms())
    real = store.real if isinstance(store, Flaky) else store
    return Pen(store, presence, Indexer(settings(), real).desk, events.put), events


def written(pen: Pen, events: queue.SimpleQueue[Ended], now_s: float) -> bool:
    """It has tried to write what there was; False: it tried nothing."""
    pen.look(now_ms())
    pen.write(now_s)
    if not pen._aside.busy:
        return False
    events.get(timeout=10).settle()
    return True


def test_the_pen_keeps_what_a_store_that_is_down_did_not_take(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    now_s = time.monotonic()
    with sqlite(tmp_path / "s.db") as real:
        store: Any = Flaky(real)
        pen, events = pen_of(store, "a1")
        pen.note("facts", lambda: store.put_fact("one", 1))
        store.down = True
        for later_s in (0, 60, 120):
            assert written(pen, events, now_s + later_s)
        pen.note("facts", lambda: store.put_fact("two", 2))
        assert real.agents() == []
        store.down = False
        assert written(pen, events, now_s + 180)
        assert [record.agent for record in real.agents()] == ["a1"]
        assert (real.fact("one"), real.fact("two")) == (1, 2)
        assert not written(pen, events, now_s + 240)  # there is no more
    assert [record.message for record in caplog.records if record.name == "swarming.pen"] == [
        "the store does not take what is beside the results: agents: it was switched off",
        "the store takes all that is beside the results again",
    ]


def test_the_pen_pauses_after_a_failure(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as real:
        store: Any = Flaky(real)
        store.down = True
        pen, events = pen_of(store, "a1")
        begun_s = time.monotonic()
        assert written(pen, events, begun_s)
        assert not written(pen, events, begun_s)
        assert store.refused == ["put_agents"]
        assert written(pen, events, time.monotonic() + LAST_S)


def test_what_one_index_refuses_holds_up_nothing_else(tmp_path: Path) -> None:
    def refused() -> None:
        raise StoreDown("flood stage")

    with sqlite(tmp_path / "s.db") as store:
        pen, events = pen_of(store, "a1")
        for number in range(MOST_NOTES + 1):
            pen.note("verdicts", refused)
            if number % 500 == 0:
                pen.note("shares", partial(store.put_fact, f"n{number}", 1))
        assert written(pen, events, time.monotonic())
        assert [store.fact(f"n{number}") for number in (0, 500, 1000)] == [1, 1, 1]
        assert [record.agent for record in store.agents()] == ["a1"]
        pen.note("shares", lambda: store.put_fact("later", 1))
        assert written(pen, events, time.monotonic() + LAST_S)
        assert store.fact("later") == 1


def test_many_records_go_part_by_part_and_no_part_twice(tmp_path: Path) -> None:
    class Picky(SqliteStore):
        parts: ClassVar[list[int]] = []

        def put_agents(self, records: Sequence[AgentRecord]) -> None:
            self.parts.append(len(records))
            if len(self.parts) == 3:
                raise StoreDown("full")
            super().put_agents(records)

    with closing(Picky(str(tmp_path / "s.db"))) as store:
        pen, events = pen_of(store, *(f"a{number}" for number in range(2 * RECORDS + 7)))
        assert written(pen, events, time.monotonic())
        assert len(store.agents()) == 2 * RECORDS
        assert written(pen, events, time.monotonic() + LAST_S)
        assert store.parts == [RECORDS, RECORDS, 7, 7]


def test_trouble_of_the_pen_does_not_put_the_store_down(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def blocked(records: Sequence[AgentRecord]) -> None:
        tried.append(len(records))
        raise StoreDown("flood stage")

    broker = mosquitto()
    with sqlite(tmp_path / "s.db") as store:
        monkeypatch.setattr(store, "put_agents", blocked)
        with (
            Client(broker.port, wire.ack_topic("a1"), wire.indexer_topic("indexer-test")) as client,
            running(settings(broker.port), store) as indexer,
        ):
            client.wait_online()
            for seq in (1, 2, 3):
                before = len(tried)
                client.send(result(seq))
                client.wait_confirmed([seq])
                wait_for(partial(lambda least: len(tried) > least, before), 20, "the pen")
            assert indexer.patience.down is None
            said = client.payloads(wire.indexer_topic("indexer-test"))
            assert all(b'"online":true' in payload.replace(b" ", b"") for payload in said)


def test_a_bug_in_a_note_is_raised_in_the_loop(tmp_path: Path) -> None:
    with sqlite(tmp_path / "s.db") as store:
        pen, events = pen_of(store)
        pen.note("facts", partial(dict[str, None]().__getitem__, "a bug"))
        with pytest.raises(KeyError):
            written(pen, events, time.monotonic())


def test_who_cannot_write_at_the_end_says_so_and_lets_another_lead_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def blocked(records: Sequence[AgentRecord]) -> None:
        raise StoreDown("flood stage")

    with sqlite(tmp_path / "s.db") as store:
        indexer = Indexer(settings(), store)
        indexer.presence.heard("a1", now_ms())
        assert indexer.chores.leader.renew(now_ms())
        monkeypatch.setattr(store, "put_agents", blocked)
        indexer.chores.finish(now_ms())
        assert "agents: flood stage" in caplog.text
        assert store.lease("lead", "indexer-other", now_ms(), 1000)


def test_the_end_does_not_wait_for_a_store_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.pen.END_S", 0.1)
    freed = threading.Event()
    with sqlite(tmp_path / "s.db") as store:
        pen, _ = pen_of(store)
        pen.note("facts", partial(freed.wait, 20))
        begun_s = time.monotonic()
        pen.finish(now_ms())
        assert time.monotonic() - begun_s < 10
        freed.set()


def test_notes_do_not_fill_the_memory(tmp_path: Path) -> None:
    taken: list[int] = []
    with sqlite(tmp_path / "s.db") as store:
        pen, _ = pen_of(store)
        for number in range(MOST_NOTES + 10):
            pen.note("facts", partial(taken.append, number))
        pen.finish(now_ms())
    assert taken == list(range(MOST_NOTES))


def test_what_waits_for_a_rest_is_done_without_one_when_it_is_long_overdue(tmp_path: Path) -> None:
    now, begun_s = now_ms(), time.monotonic()
    with sqlite(tmp_path / "s.db") as store:
        store.put([result(1, time_ms=now - 100 * DAY_MS), result(2, time_ms=now - HOUR_MS)], now)
        left = store.rollup(now, 0)
        indexer = Indexer(settings(), store)
        indexer.chores.turn(begun_s + 9 * ROLLUP_S, now, idle=False)
        settled(indexer)
        assert store.rollup(now, 0) == left
        indexer.chores.turn(begun_s + 11 * ROLLUP_S, now, idle=False)
        settled(indexer)
        assert store.rollup(now, 0) == 0 and seqs(store) == [1, 2]
        store.put([result(3, time_ms=now - HOUR_MS)], now)
        indexer.chores.turn(begun_s + 9 * ROLLUP_S, now, idle=False)
        settled(indexer)
        assert store.rollup(now, 0)  # rarely, that is
        indexer.chores.turn(begun_s + 9 * RETAIN_S, now, idle=False)
        settled(indexer)
        assert seqs(store) == [1, 2, 3]
        indexer.chores.turn(begun_s + 12 * RETAIN_S, now, idle=False)
        settled(indexer)
        assert seqs(store) == [2, 3]


@pytest.mark.parametrize(("apart_s", "doubts"), [(20, 1), (300, 0)])
def test_a_lead_that_changes_all_the_time_is_told_once(
    apart_s: int, doubts: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another indexer's clock is an hour ahead."""
    now, now_s = now_ms(), time.monotonic()
    with sqlite(tmp_path / "s.db") as store:
        indexer = Indexer(settings(), store)
        for number in range(1, 20):
            later_ms = now + number * apart_s * 1000
            if number % 2:
                store.lease("lead", "indexer-other", later_ms, 0)
            else:
                store.lease("lead", "indexer-other", later_ms + HOUR_MS, 30_000)
                store.lease("lead", "indexer-other", later_ms, 30_000)
            indexer.chores._lead(now_s + number * apart_s, later_ms)
            assert indexer.chores.leader.leads(later_ms) == bool(number % 2)
    assert len([one for one in caplog.records if "clocks differ" in one.message]) == doubts
