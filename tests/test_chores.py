"""What the loop does now and then, and when it had better not."""

from __future__ import annotations

from pathlib import Path

from tests.indexers import DAY_MS, Indexer, now_ms, result, seqs, settings, sqlite


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
