"""What the loop does now and then, and when it had better not."""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Any

import pytest

from indexer.aside import Aside, Ended
from indexer.chores import LEASE_S, ROLLUP_S
from indexer.leader import RENEW_MS
from indexer.pen import MOST_NOTES, Pen
from indexer.presence import Presence
from indexer.store import StoreDown
from tests.indexers import DAY_MS, Flaky, Indexer, now_ms, result, seqs, settings, sqlite

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
    now, now_s = now_ms(), time.monotonic() + 2 * 3600
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
        indexer.chores.turn(now_s + LEASE_S, now + RENEW_MS, idle=True)
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


def test_the_pen_keeps_what_a_store_that_is_down_did_not_take(tmp_path: Path) -> None:
    now = now_ms()
    events: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    with sqlite(tmp_path / "s.db") as real:
        store: Any = Flaky(real)
        presence = Presence([])
        presence.heard("a1", now)
        pen = Pen(store, presence, Indexer(settings(), real).desk, events.put)
        pen.note(lambda: store.put_fact("one", 1))
        store.down = True
        pen.look(now)
        pen.write()
        pen.note(lambda: store.put_fact("two", 2))
        with pytest.raises(StoreDown):
            events.get(timeout=10).settle()
        assert real.agents() == []
        store.down = False
        pen.look(now)
        pen.write()
        events.get(timeout=10).settle()
        assert [record.agent for record in real.agents()] == ["a1"]
        assert (real.fact("one"), real.fact("two")) == (1, 2)
        pen.look(now)
        pen.write()
        assert events.empty()  # there is no more


def test_notes_do_not_fill_the_memory(tmp_path: Path) -> None:
    taken: list[int] = []
    with sqlite(tmp_path / "s.db") as store:
        pen = Pen(store, Presence([]), Indexer(settings(), store).desk, lambda _: None)
        for number in range(MOST_NOTES + 10):
            pen.note(lambda number=number: taken.append(number))
        pen.finish(now_ms())
    assert taken == list(range(MOST_NOTES))
