"""What was usual before the horizon of the verdicts is not forgotten."""

from pathlib import Path

from agent.wire import Result
from indexer import verdict
from indexer.learnt import Learnt
from indexer.stores import open_store

HOUR_MS = 3_600_000
NOW_MS = 1_795_000_000_000


def probe(seq: int, time_ms: int, rtt_ms: float) -> Result:
    rtts = [rtt_ms + (seq * 7 % 10) / 10] * 10
    body = {"kind": "icmp", "target": "voila.fr", "ip": "192.0.2.1", "family": 4, "ok": True}
    body |= {"sent": 10, "received": 10, "rtts_ms": rtts, "link": {"type": "ethernet"}}
    return Result("box", "0" * 16, seq, time_ms, "ntp", 1, body)


def slow_for_three_hours(folder: Path) -> Learnt:
    """20 ms until three hours ago, then 60 ms."""
    store = open_store(f"sqlite:{folder / 'swarming.db'}")
    times = range(NOW_MS - 7 * HOUR_MS, NOW_MS, 60_000)
    onset_ms = NOW_MS - 3 * HOUR_MS
    rows = [probe(n + 1, at, 20 if at < onset_ms else 60) for n, at in enumerate(times)]
    store.put(rows, NOW_MS)
    return Learnt(store)


def state(learnt: Learnt, usual: verdict.Baselines | None) -> str:
    results = learnt._store.results(NOW_MS - verdict.HORIZON_MS, NOW_MS)
    pair = verdict.pair(verdict.Picture(results, [], NOW_MS, usual), "box", "voila.fr")
    assert pair is not None
    return pair.state


def test_a_trouble_longer_than_the_horizon_is_still_one(tmp_path: Path) -> None:
    learnt = slow_for_three_hours(tmp_path)
    assert state(learnt, learnt.before(NOW_MS)) == "slow"
    assert state(learnt, None) == "fine"


def test_what_nobody_measures_any_more_is_forgotten_after_a_week() -> None:
    usual = verdict.learn([probe(seq, NOW_MS + seq * 60_000, 20) for seq in range(1, 30)])
    for days, known in ((7, {"voila.fr", "yahoo.cn"}), (8, {"yahoo.cn"})):
        later = probe(99 + days, NOW_MS + days * 24 * HOUR_MS, 20)
        usual = verdict.learn([later._replace(body=later.body | {"target": "yahoo.cn"})], usual)
        assert {key.target for key in usual} == known


def test_it_goes_on_in_steps_and_learns_nothing_of_a_trouble(tmp_path: Path) -> None:
    learnt = slow_for_three_hours(tmp_path)
    first = learnt.before(NOW_MS - HOUR_MS)
    assert learnt.before(NOW_MS - HOUR_MS + 1000) is first
    assert learnt.before(NOW_MS) is not first
    assert state(learnt, learnt.before(NOW_MS)) == "slow"
