"""What every store promises (indexer/store.py), tried on each of them."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire import Result
from indexer import rollup
from indexer.store import AgentRecord, Bucket, Dead, Put, Store, StoreRefused, Told
from indexer.store_sqlite import SqliteStore
from indexer.stores import open_store
from tests import stores

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 20_000 * DAY_MS + 15 * HOUR_MS + 1_234_567  # some day in 2024, past three


@pytest.fixture(params=["sqlite", "elasticsearch", "opensearch"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = open_store(f"sqlite:{tmp_path / 'store.db'}")
        yield opened
        opened.close()
        return
    engine = request.getfixturevalue(request.param)
    text = stores.address(engine, tmp_path)
    opened = open_store(text)
    yield opened
    opened.close()
    stores.drop(engine, text)


@pytest.fixture
def a_lot(store: Store) -> int:
    """How much of a long work is enough; an engine needs a while for each call."""
    return 4 if isinstance(store, SqliteStore) else 1


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """A second one, to carry things from and to."""
    opened = open_store(f"sqlite:{tmp_path / 'other.db'}")
    yield opened
    opened.close()


def body(target: str = "voila.fr", rtt_ms: float | None = 20.0, **more: Any) -> dict[str, Any]:
    received = 0 if rtt_ms is None else 10
    return {
        "kind": "icmp", "target": target, "ip": "192.0.2.1", "family": 4, "ok": received > 0,
        "error": None if received else "timeout", "link": {"type": "wifi", "confidence": 0.9},
        "sent": 10, "received": received, "rtts_ms": [rtt_ms] * 10,
    } | more  # fmt: skip


def result(
    seq: int,
    time_ms: int = NOW_MS,
    *,
    agent: str = "box",
    epoch: str = "a" * 16,
    clock: str = "ntp",
    **more: Any,
) -> Result:
    return Result(agent, epoch, seq, time_ms, clock, 7, body(**more))


def everything(store: Store) -> list[Result]:
    return list(store.results(-(10**15), 10**15))


def settle(store: Store, now_ms: int = NOW_MS) -> None:
    while store.rollup(now_ms):
        pass


def the(buckets: list[Bucket]) -> Bucket:
    (only,) = buckets
    return only


# --- results ------------------------------------------------------------------------------------


def test_a_result_comes_back_exactly(store: Store):
    odd = {"note": "é😀\u2028", "deep": [{"a": None}, 1.5, 10**17]}
    sent = [result(1, odd=odd), Result("box", "b" * 16, 2, NOW_MS + 1, "unknown", None, body())]
    assert store.put(sent, NOW_MS) == Put(stored=2, known=0, too_old=0)
    assert everything(store) == sent


def test_a_resend_changes_nothing_and_is_told(store: Store):
    sent = [result(seq) for seq in range(1, 11)]
    store.put(sent, NOW_MS)
    assert store.put(sent + [result(11)], NOW_MS) == Put(stored=1, known=10, too_old=0)
    assert store.put(sent + sent, NOW_MS) == Put(stored=0, known=20, too_old=0)
    assert [each.seq for each in everything(store)] == list(range(1, 12))


def test_identity_is_agent_epoch_and_seq(store: Store):
    sent = [
        result(1),
        result(1, agent="other"),
        result(1, epoch="b" * 16),
        result(2),
        result(1 + 2**32),
        result(2**63 - 1),
    ]
    assert store.put(sent, NOW_MS).stored == len(sent)
    assert store.put(sent, NOW_MS).known == len(sent)
    assert set(map(repr, everything(store))) == set(map(repr, sent))


def test_nothing_is_a_valid_batch(store: Store):
    assert store.put([], NOW_MS) == Put(0, 0, 0)
    assert everything(store) == []


def test_results_come_by_time_whatever_the_order_of_arrival(store: Store):
    sent = [result(seq, NOW_MS - seq * 1_700_000) for seq in range(1, 60)]
    random.Random(5).shuffle(sent)
    store.put(sent, NOW_MS)
    assert [each.seq for each in everything(store)] == list(range(59, 0, -1))
    backwards = store.results(0, NOW_MS + 1, newest_first=True)
    assert [each.seq for each in backwards] == list(range(1, 60))


def test_a_range_takes_its_start_and_leaves_its_end(store: Store):
    store.put([result(seq, NOW_MS + seq) for seq in range(1, 6)], NOW_MS)
    assert [each.seq for each in store.results(NOW_MS + 2, NOW_MS + 4)] == [2, 3]
    assert list(store.results(NOW_MS + 4, NOW_MS + 4)) == []


def test_results_are_found_by_agent_target_and_kind(store: Store):
    agents, targets, kinds = ("box", "other"), ("voila.fr", "yahoo.cn"), ("icmp", "http")
    every = [(a, t, k) for a in agents for t in targets for k in kinds]
    store.put(
        [
            result(seq, NOW_MS + seq, agent=a, target=t, kind=k)
            for seq, (a, t, k) in enumerate(every, 1)
        ],
        NOW_MS,
    )

    def found(**wanted: str) -> list[tuple[str, str, str]]:
        rows = store.results(NOW_MS, NOW_MS + 100, **wanted)
        return [(row.agent, row.body["target"], row.body["kind"]) for row in rows]

    assert found(agent="box") == [each for each in every if each[0] == "box"]
    assert found(target="yahoo.cn", kind="http") == [
        e for e in every if e[1:] == ("yahoo.cn", "http")
    ]
    assert found(agent="other", target="voila.fr", kind="icmp") == [every[4]]
    assert found(agent="nobody") == []


def test_a_limit_is_the_nearest_ones(store: Store):
    store.put([result(seq, NOW_MS - seq * HOUR_MS) for seq in range(1, 50)], NOW_MS)
    newest = store.results(0, NOW_MS, limit=3, newest_first=True)
    assert [each.seq for each in newest] == [1, 2, 3]
    assert [each.seq for each in store.results(0, NOW_MS, limit=2)] == [49, 48]
    assert list(store.results(0, NOW_MS, limit=0)) == []


def test_a_loss_record_is_kept_as_it_came(store: Store):
    lost = Result("box", "a" * 16, 9, NOW_MS, "ntp", None, {"kind": "lost", "count": 12})
    store.put([lost], NOW_MS)
    settle(store)
    assert list(store.results(0, NOW_MS + 1, kind="lost")) == [lost]
    assert store.targets(0) == []
    assert store.buckets(NOW_MS - DAY_MS, NOW_MS + 1, 3600) == []


# --- latest -------------------------------------------------------------------------------------


def test_the_latest_of_each_pair_is_its_newest_by_time_not_by_arrival(store: Store):
    store.put([result(2, NOW_MS), result(3, NOW_MS - 5, target="yahoo.cn")], NOW_MS)
    store.put([result(1, NOW_MS - 60_000), result(4, NOW_MS - 9, target="yahoo.cn")], NOW_MS)
    assert [each.seq for each in store.latest(0)] == [2, 3]
    assert [each.seq for each in store.latest(NOW_MS)] == [2]
    assert store.targets(NOW_MS - 10) == ["voila.fr", "yahoo.cn"]
    assert store.targets(NOW_MS) == ["voila.fr"]


def test_a_result_from_the_future_is_kept_but_never_the_latest(store: Store):
    store.put([result(1, NOW_MS + 2 * HOUR_MS)], NOW_MS)
    assert store.latest(0) == []
    store.put([result(2, NOW_MS)], NOW_MS)
    assert [each.seq for each in store.latest(0)] == [2]
    assert len(everything(store)) == 2


def test_a_clock_a_little_fast_is_still_the_latest(store: Store):
    store.put([result(1, NOW_MS), result(2, NOW_MS + 60_000)], NOW_MS)
    assert [each.seq for each in store.latest(0)] == [2]


def test_unsynced_results_are_kept_apart(store: Store):
    store.put([result(1, NOW_MS - 10, rtt_ms=20.0)], NOW_MS)
    store.put([result(2, NOW_MS, clock="unsynced", rtt_ms=900.0)], NOW_MS)
    settle(store)
    assert [each.seq for each in store.latest(0)] == [1]
    assert [each.seq for each in store.latest(0, unsynced=True)] == [2]
    assert len(everything(store)) == 2
    for step_s in (300, 3600, 86400):
        told = the(store.buckets(NOW_MS - 60_000, NOW_MS + 1, step_s))
        assert (told.count, told.max_ms) == (1, 20.0)


# --- buckets ------------------------------------------------------------------------------------


def week(rng: random.Random) -> list[Result]:
    """Two agents, two targets, all kinds, some loss, over eight days until now."""
    results = []
    for seq in range(1, 800):
        time_ms = NOW_MS - rng.randrange(8 * DAY_MS)
        rtts = [None if rng.random() < 0.1 else rng.lognormvariate(3, 1) for _ in range(4)]
        kind = rng.choice(["icmp", "http", "ladder"])
        more: dict[str, Any] = {"kind": kind, "rtts_ms": rtts, "sent": 4, "link": {"type": "lte"}}
        if kind == "http":
            more = {"kind": kind, "status": 200, "phases_ms": {"connect": 3.5, "total": rtts[0]}}
        if kind == "ladder":
            rung = {"sent": 4, "rtts_ms": rtts}
            more = {"kind": kind, "target": "ladder", "gateway": rung, "first_hop": rung}
        target = more.pop("target", rng.choice(["voila.fr", "yahoo.cn"]))
        agent = rng.choice(["box", "other"])
        results.append(result(seq, time_ms, agent=agent, target=target, **more))
    return results


def test_buckets_are_what_raw_results_give_at_every_step(store: Store):
    sent = week(random.Random(1))
    for part in range(0, len(sent), 100):
        store.put(sent[part : part + 100], NOW_MS)
    settle(store)
    in_order = sorted(sent, key=lambda each: each.time_ms)
    for step_s in (600, 3600, 2 * 86400):
        expected = sorted(rollup.from_raw(in_order, step_s))
        assert same(store.buckets(0, NOW_MS + 1, step_s), expected)


def same(found: list[Bucket], expected: list[Bucket]) -> bool:
    assert [each[:9] for each in found] == [each[:9] for each in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == other
    return True


def test_buckets_are_found_by_agent_target_and_kind(store: Store):
    store.put(week(random.Random(2)), NOW_MS)
    settle(store)
    for step_s in (900, 3600, 86400):
        every = store.buckets(NOW_MS - 2 * DAY_MS, NOW_MS + 1, step_s)
        assert {each.kind for each in every} == {"icmp", "http", "gateway", "first_hop"}
        asked: dict[str, str]
        for asked in ({"agent": "box"}, {"target": "ladder"}, {"kind": "gateway"},
                      {"agent": "other", "target": "voila.fr", "kind": "http"}):  # fmt: skip
            found = store.buckets(NOW_MS - 2 * DAY_MS, NOW_MS + 1, step_s, **asked)
            assert found == [e for e in every if asked.items() <= e._asdict().items()]
            assert found


def test_a_backlog_changes_old_hours_and_days(store: Store):
    old_ms = NOW_MS - 5 * DAY_MS
    store.put([result(1, old_ms, rtt_ms=10.0)], NOW_MS)
    settle(store)
    store.put([result(2, old_ms + 1, rtt_ms=30.0), result(3, old_ms + 2, rtt_ms=None)], NOW_MS)
    settle(store)
    for step_s in (3600, 21600, 86400):
        told = the(store.buckets(old_ms - HOUR_MS // 2, old_ms + HOUR_MS // 2, step_s))
        assert (told.count, told.ok, told.min_ms, told.max_ms) == (3, 2, 10.0, 30.0)
        assert told.errors == {"timeout": 1}
        assert told.loss_pct is not None and round(told.loss_pct, 3) == 33.333


def test_a_day_that_changed_is_told_from_its_hours_until_it_is_rolled_up_again(store: Store):
    old_ms = NOW_MS - 5 * DAY_MS
    store.put([result(1, old_ms), result(2, old_ms - 9 * HOUR_MS)], NOW_MS)
    settle(store)
    store.put([result(3, old_ms)], NOW_MS)
    store.rollup(NOW_MS, limit=1)  # the hour, and no more
    for step_s in (3600, 21600, 86400, 2 * 86400):
        found = store.buckets(old_ms - DAY_MS, old_ms + 1, step_s)
        assert sum(each.count for each in found) == 3


def test_rolling_up_again_adds_nothing(store: Store):
    sent = [result(seq, NOW_MS - 3 * DAY_MS) for seq in range(1, 9)]
    for _ in range(3):
        store.put(sent, NOW_MS)
        settle(store)
    assert the(store.buckets(0, NOW_MS, 86400)).count == 8


def test_a_day_that_is_not_over_is_made_of_its_hours(store: Store):
    sent = [result(seq, NOW_MS - seq * HOUR_MS // 2) for seq in range(1, 20)]
    store.put(sent, NOW_MS)
    settle(store)
    today = the(store.buckets(NOW_MS - HOUR_MS, NOW_MS, 86400))
    assert today.count == 19
    assert today.start_ms % DAY_MS == 0
    settle(store, NOW_MS + DAY_MS)
    assert the(store.buckets(NOW_MS - HOUR_MS, NOW_MS, 86400)) == today


def test_rollups_are_made_in_slices_that_say_what_is_left(store: Store, a_lot: int):
    hours = 75 * a_lot
    store.put([result(seq, NOW_MS - seq * HOUR_MS) for seq in range(1, hours + 1)], NOW_MS)
    left = store.rollup(NOW_MS, limit=hours // 6)
    assert hours * 5 // 6 <= left < hours * 4 // 3
    settle(store)
    assert sum(each.count for each in store.buckets(0, NOW_MS, 3600)) == hours


# --- retention ----------------------------------------------------------------------------------


def test_old_raw_results_go_and_their_rollups_stay(store: Store):
    sent = [result(seq, NOW_MS - seq * DAY_MS // 4) for seq in range(1, 101)]
    store.put(sent, NOW_MS)
    settle(store)
    before = store.buckets(0, NOW_MS, 86400)
    store.put([result(1000, NOW_MS - 20 * DAY_MS, target="dirty.example")], NOW_MS)
    dropped = store.retain(NOW_MS, 10 * DAY_MS)
    raw_from_ms = store.raw_from_ms()
    assert raw_from_ms is not None and 10 <= (NOW_MS - raw_from_ms) / DAY_MS < 11
    kept = everything(store)
    assert kept == [each for each in reversed(sent) if each.time_ms >= raw_from_ms]
    assert dropped + len(kept) == 101
    settle(store)
    assert store.buckets(0, NOW_MS, 86400, target="voila.fr") == before
    assert the(store.buckets(0, NOW_MS, 86400, target="dirty.example")).count == 1
    assert store.retain(NOW_MS, 10 * DAY_MS) == 0


def test_an_hour_whose_raw_is_dropped_is_never_recomputed_to_less(store: Store):
    old_ms = NOW_MS - 20 * DAY_MS
    store.put([result(seq, old_ms) for seq in range(1, 9)], NOW_MS)
    store.retain(NOW_MS, 10 * DAY_MS)
    late = [result(8, old_ms), result(9, old_ms), result(10, NOW_MS)]
    assert store.put(late, NOW_MS) == Put(stored=1, known=0, too_old=2)
    settle(store)
    assert the(store.buckets(0, NOW_MS - DAY_MS, 3600)).count == 8
    assert the(store.buckets(0, NOW_MS - DAY_MS, 86400)).count == 8


def test_a_time_that_is_known_to_be_wrong_makes_nothing_too_old(store: Store):
    old_ms = NOW_MS - 600 * DAY_MS
    store.put([result(1, NOW_MS - 20 * DAY_MS), result(2, old_ms, clock="unsynced")], NOW_MS)
    assert store.retain(NOW_MS, 10 * DAY_MS) == 1
    assert store.put([result(3, old_ms, clock="unsynced")], NOW_MS) == Put(1, 0, 0)
    assert store.retain(NOW_MS, 10 * DAY_MS) == 0
    assert [each.seq for each in everything(store)] == [2, 3]


def test_a_clock_that_was_a_year_ahead_stops_no_later_results(store: Store):
    store.put([result(1)], NOW_MS)
    assert store.retain(NOW_MS + 365 * DAY_MS, 90 * DAY_MS) == 1
    raw_from_ms = store.raw_from_ms()
    assert raw_from_ms is not None and raw_from_ms <= NOW_MS + DAY_MS
    later_ms = max(raw_from_ms, NOW_MS + HOUR_MS)
    assert store.put([result(2, later_ms)], later_ms) == Put(1, 0, 0)


def test_where_raw_begins_can_be_set_and_never_moves_back(store: Store):
    assert store.raw_from_ms() is None
    store.put_raw_from(NOW_MS - 10 * DAY_MS)
    begins_ms = store.raw_from_ms()
    assert begins_ms is not None and 10 <= (NOW_MS - begins_ms) / DAY_MS < 11
    store.put_raw_from(NOW_MS - 20 * DAY_MS)
    assert store.raw_from_ms() == begins_ms
    around = [result(1, begins_ms - 1), result(2, begins_ms)]
    assert store.put(around, NOW_MS) == Put(stored=1, known=0, too_old=1)
    assert everything(store) == around[1:]


def test_a_short_step_becomes_hours_where_raw_is_dropped(store: Store):
    store.put([result(1, NOW_MS - 20 * DAY_MS), result(2, NOW_MS)], NOW_MS)
    store.retain(NOW_MS, 10 * DAY_MS)
    settle(store)
    found = store.buckets(NOW_MS - 30 * DAY_MS, NOW_MS + 1, 300)
    assert [each.step_s for each in found] == [3600, 300]


def test_what_was_latest_and_is_dropped_is_no_longer_told(store: Store):
    store.put([result(1, NOW_MS - 20 * DAY_MS), result(2, NOW_MS, target="yahoo.cn")], NOW_MS)
    store.retain(NOW_MS, 10 * DAY_MS)
    assert [each.seq for each in store.latest(0)] == [2]
    assert store.targets(0) == ["yahoo.cn"]


# --- roll-ups of another store ------------------------------------------------------------------


def counts(store: Store) -> list[int]:
    return [each.bucket.count for each in store.rollups(0, NOW_MS + DAY_MS)]


def test_rollups_alone_carry_long_steps_to_another_store(store: Store, other: Store):
    other.put(week(random.Random(3)), NOW_MS)
    settle(other)
    carried = list(other.rollups(0, NOW_MS + 1))
    starts = [each.bucket.start_ms for each in carried]
    assert starts == sorted(starts) and len(set(starts)) > 150
    for _ in range(2):
        store.put_rollups(carried)
        settle(store)
        assert sorted(store.rollups(0, NOW_MS + 1)) == sorted(carried)
        for step_s in (3600, 21600, 86400, 2 * 86400):
            assert same(store.buckets(0, NOW_MS, step_s), other.buckets(0, NOW_MS, step_s))
    assert everything(store) == []


def test_rollups_are_found_by_their_start(store: Store):
    hour_ms = NOW_MS // HOUR_MS * HOUR_MS
    store.put([result(seq, hour_ms - seq * HOUR_MS + 5) for seq in range(1, 7)], NOW_MS)
    settle(store)
    found = store.rollups(hour_ms - 4 * HOUR_MS, hour_ms - 2 * HOUR_MS)
    assert [each.bucket.start_ms for each in found] == [hour_ms - n * HOUR_MS for n in (4, 3)]
    assert list(store.rollups(hour_ms, hour_ms)) == []


def test_a_rollup_of_more_probes_stays(store: Store, other: Store):
    sent = [result(seq, NOW_MS - 2 * DAY_MS) for seq in range(1, 10)]
    other.put(sent[:3], NOW_MS)
    settle(other)
    few = list(other.rollups(0, NOW_MS))
    other.put(sent[:6], NOW_MS)
    settle(other)
    store.put_rollups(few)
    assert counts(store) == [3]
    store.put_rollups(list(other.rollups(0, NOW_MS)))
    store.put_rollups(few)
    settle(store)
    assert counts(store) == [6]
    assert the(store.buckets(0, NOW_MS, 86400)).count == 6
    store.put(sent, NOW_MS)
    settle(store)
    assert counts(store) == [9]
    store.put_rollups(few)
    settle(store)
    assert the(store.buckets(0, NOW_MS, 86400)).count == 9


def test_a_rollup_is_not_made_again_of_fewer_probes(store: Store, other: Store):
    """Its raw results are elsewhere; then one of them comes here too."""
    sent = [result(seq, NOW_MS - 2 * DAY_MS) for seq in range(1, 7)]
    other.put(sent, NOW_MS)
    settle(other)
    store.put_rollups(list(other.rollups(0, NOW_MS)))
    store.put(sent[:1], NOW_MS)
    settle(store)
    assert counts(store) == [6]
    assert the(store.buckets(0, NOW_MS, 86400)).count == 6


# --- forgetting ---------------------------------------------------------------------------------

LEFT_MS = NOW_MS - DAY_MS  # in the middle of an hour


def two_boxes() -> list[Result]:
    """Two results in every sixth hour of two days and a half; and one with a wrong clock each."""
    sent = []
    for agent in ("box", "other"):
        for n in range(20):
            at_ms = NOW_MS - n // 2 * 6 * HOUR_MS - n % 2 * 600_000
            sent.append(result(n + 1, at_ms, agent=agent, target=f"{n // 10}.example"))
        sent.append(result(9000, NOW_MS - 2 * DAY_MS, agent=agent, clock="unsynced"))
    return sent


def of(store: Store, agent: str) -> list[Result]:
    return list(store.results(-(10**15), 10**15, agent=agent))


def test_a_forgotten_agent_leaves_nothing_and_all_others_lose_nothing(store: Store):
    store.put(two_boxes(), NOW_MS)
    store.put_agents([AgentRecord(name, {}, NOW_MS, None, True) for name in ("box", "other")])
    settle(store)
    store.put([result(9001, NOW_MS - 2 * DAY_MS, target="new.example")], NOW_MS)  # not rolled up
    others = of(store, "other")
    their_days = store.buckets(0, NOW_MS + 1, 86_400, agent="other")
    assert store.forget("box", NOW_MS + 1) > 20
    settle(store)
    assert of(store, "box") == [] and of(store, "other") == others
    for step_s in (600, 3600, 86_400):
        assert store.buckets(NOW_MS - 5 * DAY_MS, NOW_MS + 1, step_s, agent="box") == []
    assert store.buckets(0, NOW_MS + 1, 86_400, agent="other") == their_days
    assert {each.agent for each in store.latest(0)} == {"other"}
    assert "new.example" not in store.targets(0)
    assert [each.agent for each in store.agents()] == ["other"]
    assert store.forget("box", NOW_MS + 1) == 0


def test_who_came_back_keeps_all_from_then_on(store: Store):
    sent = two_boxes()
    store.put(sent, NOW_MS)
    settle(store)
    store.forget("box", LEFT_MS)
    kept = sorted(each for each in sent if each.agent == "box" and each.time_ms >= LEFT_MS)
    assert sorted(of(store, "box")) == kept
    settle(store)
    hours = store.buckets(0, NOW_MS + 1, 3600, agent="box")
    days = store.buckets(0, NOW_MS + 1, 86_400, agent="box")
    full_ms = LEFT_MS // DAY_MS * DAY_MS + DAY_MS
    assert min(each.start_ms for each in hours) >= LEFT_MS - HOUR_MS
    assert sum(each.count for each in days if each.start_ms >= full_ms) == sum(
        each.time_ms >= full_ms for each in kept
    )
    assert store.forget("box", LEFT_MS) == 0
    settle(store)
    assert store.buckets(0, NOW_MS + 1, 86_400, agent="box")[-2:] == days[-2:]
    assert store.put(kept, NOW_MS).known == len(kept)
    assert store.put([result(1, NOW_MS, epoch="c" * 16)], NOW_MS).stored == 1


def test_the_day_in_which_it_left_is_told_without_what_was_before(store: Store):
    """An engine takes fewer probes in the place of more only a minute later."""
    if not isinstance(store, SqliteStore):
        pytest.skip("the indexer does it again later; tests/test_forget.py")
    sent = [each for each in two_boxes() if each.agent == "box" and each.clock == "ntp"]
    store.put(sent, NOW_MS)
    settle(store)
    store.forget("box", LEFT_MS)
    settle(store)
    fresh = rollup.from_raw(iter(sorted(of(store, "box"), key=lambda each: each.time_ms)), 86_400)
    days = store.buckets(0, NOW_MS + 1, 86_400, agent="box")
    assert [each[:9] for each in days] == [each[:9] for each in sorted(fresh)]


def test_what_was_said_of_a_forgotten_agent_goes_and_no_more(store: Store):
    topics = ("ping/box", "ping/box/batch", "ping/boxer", "ping/other")
    store.put_dead([Dead(NOW_MS - 5, topic, b"?", "not JSON") for topic in topics])
    store.put_dead([Dead(NOW_MS + 5, "ping/box", b"later", "not JSON")])
    store.put_verdict(NOW_MS - 5, "a.example", {"agent": "box"})
    store.put_verdict(NOW_MS - 5, "b.example", {"agent": None, "sentence": "box office is slow"})
    store.put_verdict(NOW_MS - 5, "c.example", {"agent": None, "sentence": "From box: 80 ms."})
    store.put_verdict(NOW_MS - 5, "d.example", {"agent": None, "word": "box", "scope": "box"})
    store.put_agents([AgentRecord("box", {"left": True}, NOW_MS + 7, NOW_MS + 7, False)])
    store.put_watch(NOW_MS - 5, "watch/box", "a.example", "ann")
    store.put_fact("salt", "abc")
    assert store.forget("box", NOW_MS) == 5
    assert [each.topic for each in store.dead()] == ["ping/boxer", "ping/other", "ping/box"]
    assert {each.target for each in store.verdicts(0, NOW_MS)} == {"b.example", "d.example"}
    assert store.agents() == []
    assert len(store.watch_history()) == 1 and store.fact("salt") == "abc"


def test_an_agent_that_was_seen_since_stays_known(store: Store):
    back = AgentRecord("box", {"here": True}, NOW_MS + 7, None, True)
    store.put_agents([back])
    assert store.forget("box", NOW_MS) == 0
    assert store.agents() == [back]


# --- what is kept beside the results ------------------------------------------------------------


def test_dead_letters_keep_every_byte_until_they_are_dropped(store: Store):
    letters = [Dead(NOW_MS + n, "ping/box", bytes([n, 255, 0]), "not JSON") for n in range(3)]
    store.put_dead(letters)
    found = store.dead()
    assert [each._replace(id="") for each in found] == letters
    assert [each.at_ms for each in store.dead(limit=1)] == [NOW_MS]
    store.drop_dead([found[0].id, found[2].id])
    assert store.dead() == [found[1]]
    store.retain(NOW_MS + 40 * DAY_MS, 30 * DAY_MS)
    assert store.dead() == []


def test_dead_letters_are_read_page_by_page_the_oldest_first(store: Store):
    times_ms = [NOW_MS + 1, NOW_MS, NOW_MS, NOW_MS + 2, NOW_MS - 9, NOW_MS + 1, NOW_MS]
    letters = [Dead(at_ms, "ping/box", bytes([n]), "not JSON") for n, at_ms in enumerate(times_ms)]
    store.put_dead(letters)
    every = store.dead()
    assert [each.at_ms for each in every] == sorted(times_ms)
    for limit in (1, 2, 3, 10):
        found: list[Dead] = []
        while page := store.dead(limit, found[-1] if found else None):
            assert len(page) <= limit
            found += page
        assert found == every
    store.drop_dead([every[1].id, every[2].id])
    assert store.dead(2, every[1]) == every[3:5]


def test_an_agent_is_what_it_said_last(store: Store):
    first = AgentRecord("box", {"place": "Lyon", "here": True}, NOW_MS, None, True)
    gone = AgentRecord("box", {"place": "Lyon"}, NOW_MS, NOW_MS + 5, False)
    store.put_agents([first])
    store.put_agents([AgentRecord("a-box", {}, 1, None, False)])
    assert [each.agent for each in store.agents()] == ["a-box", "box"]
    assert store.agents()[1] == first
    store.put_agents([gone])
    store.put_agents([first._replace(seen_ms=NOW_MS - 1, facts={"place": "stale"})])
    assert store.agents()[1] == gone


def test_the_history_of_a_list_says_who_and_when_newest_first(store: Store):
    store.put_watch(1, "watch", "voila.fr", "ann")
    store.put_watch(2, "watch/box", None, "bob")
    store.put_watch(3, "watch", "voila.fr yahoo.cn", "ann")
    assert [each.at_ms for each in store.watch_history()] == [3, 2, 1]
    assert [each.at_ms for each in store.watch_history("watch")] == [3, 1]
    assert store.watch_history("watch/box", limit=1)[0] == (2, "watch/box", None, "bob")


def test_the_history_of_verdicts_is_told_newest_first(store: Store):
    said = [Told(NOW_MS + n, "ab"[n % 2], {"word": "isp", "since": None, "n": n}) for n in range(6)]
    for one in said:
        store.put_verdict(*one)
    assert store.verdicts(NOW_MS, NOW_MS + 6) == said[::-1]
    assert store.verdicts(NOW_MS + 1, NOW_MS + 4) == said[3:0:-1]
    assert store.verdicts(0, NOW_MS + 9, target="a") == said[4::-2]
    assert store.verdicts(0, NOW_MS + 9, target="b", limit=2) == [said[5], said[3]]
    assert store.verdicts(0, NOW_MS + 9, target="nobody's") == []


def test_the_same_verdict_twice_is_told_once_and_old_ones_go(store: Store):
    for _ in range(2):
        store.put_verdict(NOW_MS - 20 * DAY_MS, "voila.fr", {"word": "me"})
        store.put_verdict(NOW_MS, "voila.fr", {"word": "path"})
        store.put_verdict(NOW_MS, "yahoo.cn", {"word": "path"})
    assert len(store.verdicts(0, NOW_MS + 1)) == 3
    store.retain(NOW_MS, 10 * DAY_MS)
    assert {each.target for each in store.verdicts(0, NOW_MS + 1)} == {"voila.fr", "yahoo.cn"}
    assert [each.at_ms for each in store.verdicts(0, NOW_MS + 1)] == [NOW_MS, NOW_MS]


def test_a_lease_has_one_holder_until_it_ends(store: Store):
    assert store.lease("leader", "one", NOW_MS, 30_000)
    assert not store.lease("leader", "two", NOW_MS + 29_999, 30_000)
    assert store.lease("leader", "one", NOW_MS + 29_999, 30_000)
    assert not store.lease("leader", "two", NOW_MS + 30_001, 30_000)
    assert store.lease("leader", "two", NOW_MS + 60_000, 30_000)
    assert store.lease("other", "one", NOW_MS, 30_000)


def test_a_lease_can_be_given_back_and_a_wrong_clock_cannot_keep_it(store: Store):
    assert store.lease("leader", "one", NOW_MS, 30_000)
    assert store.lease("leader", "one", NOW_MS, 0)
    assert store.lease("leader", "two", NOW_MS, 30_000)
    assert store.lease("leader", "two", NOW_MS + 400 * DAY_MS, 30_000)
    assert store.lease("leader", "one", NOW_MS, 30_000)


def test_a_fact_is_any_json_and_none_deletes_it(store: Store):
    assert store.fact("salt") is None
    for value in ("abc", {"a": [1, 2.5, None]}, 0, False):
        store.put_fact("salt", value)
        assert store.fact("salt") == value
    store.put_fact("salt", None)
    assert store.fact("salt") is None


# --- many at once -------------------------------------------------------------------------------


def test_threads_may_all_read_and_write_and_every_result_is_there_once(store: Store):
    failed: list[BaseException] = []

    def worker(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                failed.append(error)

        return threading.Thread(target=guarded)

    def write(name: str) -> None:
        for start in range(1, 201, 20):
            store.put([result(seq, agent=name) for seq in range(start, start + 20)], NOW_MS)
            store.put([result(seq, agent="shared") for seq in range(start, start + 20)], NOW_MS)
            if name == "a":  # one leads
                store.rollup(NOW_MS)

    def read() -> None:
        for _ in range(10):
            for each in store.results(0, NOW_MS + 1):
                assert each.body["target"] == "voila.fr"
            store.latest(0)
            store.buckets(0, NOW_MS + 1, 3600)

    names = ("a", "b")
    threads = [worker(lambda name=name: write(name)) for name in names]
    threads += [worker(read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    seqs = [(each.agent, each.seq) for each in everything(store)]
    assert sorted(seqs) == [(name, seq) for name in ("a", "b", "shared") for seq in range(1, 201)]


def test_a_store_that_nobody_makes_is_refused_with_a_sentence():
    for url in ("mongo:x", "sqlite:", "", "sqlite"):
        with pytest.raises(StoreRefused, match="no store"):
            open_store(url)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_order_of_results_rollups_and_retention_hours_and_days_tell_all(
    store: Store, a_lot: int, seed: int
):
    rng = random.Random(seed)
    now_ms, seq = NOW_MS, 0
    taken: list[Result] = []
    for _ in range(24 + 4 * a_lot):
        now_ms += rng.randrange(6 * HOUR_MS)
        batch = []
        for _ in range(rng.randrange(12)):
            seq += 1
            time_ms = now_ms - rng.randrange(rng.choice([HOUR_MS, 8 * DAY_MS]))
            batch.append(result(seq, time_ms, target=rng.choice("ab"), rtt_ms=rng.uniform(5, 500)))
        resent = rng.sample(taken, min(len(taken), 5))
        before = set(map(repr, everything(store)))
        store.put(batch + resent, now_ms)
        taken += [each for each in everything(store) if repr(each) not in before]
        if rng.random() < 0.5:
            store.rollup(now_ms, limit=rng.randrange(1, 40))
        if rng.random() < 0.3:
            store.retain(now_ms, 3 * DAY_MS)
    settle(store, now_ms)
    assert len(taken) == len(set(map(repr, taken))) > 80
    assert len(everything(store)) < len(taken)
    for step_s in (3600, 7200, 21600, 86400, 2 * 86400):
        expected = sorted(rollup.from_raw(sorted(taken, key=lambda each: each.time_ms), step_s))
        assert store.buckets(0, now_ms + 1, step_s) == expected
