"""Roll-ups as arithmetic: what one probe adds, and that sums of sums are sums."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire import Result
from indexer import rollup
from indexer.rollup import Tally, bucket, from_raw, from_rollups, level, samples, tally_of

HOUR_MS = 3_600_000


def icmp(*rtts: float | None, link: str = "wifi", ip: str = "192.0.2.1") -> dict[str, Any]:
    received = sum(rtt is not None for rtt in rtts)
    return {
        "kind": "icmp", "target": "voila.fr", "ok": received > 0, "sent": len(rtts),
        "received": received, "rtts_ms": list(rtts), "link": {"type": link}, "ip": ip,
        "error": None if received else "timeout",
    }  # fmt: skip


def http(total: float | None, status: int | None = 200, error: str | None = None) -> dict[str, Any]:
    phases = {"resolve": 3.0, "connect": 20.0, "tls": 30.0, "ttfb": None, "transfer": None}
    return {
        "kind": "http", "target": "https://voila.fr/", "ok": error is None, "error": error,
        "status": status, "phases_ms": phases | {"total": total}, "link": None,
    }  # fmt: skip


def result(body: dict[str, Any], time_ms: int, clock: str = "ntp") -> Result:
    return Result("box", "0" * 16, time_ms % 100_000 + 1, time_ms, clock, None, body)


def tally(*bodies: dict[str, Any]) -> Tally:
    (total,) = rollup.tallies(bodies).values()
    return total


def test_every_echo_counts_and_lost_ones_are_loss():
    told = bucket("box", "voila.fr", "icmp", 0, 3600, tally(icmp(10, 20, None), icmp(30, None)))
    assert (told.count, told.ok, told.sent, told.received) == (2, 2, 5, 3)
    assert told.loss_pct == 40.0
    assert (told.min_ms, told.max_ms) == (10, 30)
    assert told.median_ms is not None and abs(told.median_ms - 20) <= 0.2


def test_a_silent_target_has_loss_and_an_error_and_no_percentile():
    told = bucket("box", "voila.fr", "icmp", 0, 3600, tally(icmp(None, None)))
    assert (told.ok, told.received, told.loss_pct) == (0, 0, 100.0)
    assert told.errors == {"timeout": 1}
    assert told[9:16] == (None,) * 7


def test_percentiles_never_leave_what_was_seen():
    told = bucket("box", "voila.fr", "icmp", 0, 3600, tally(icmp(*[12.345] * 10)))
    assert set(told[9:16]) == {12.345}


def test_an_answered_request_counts_by_its_total_even_when_it_says_error():
    told = bucket("box", "t", "http", 0, 3600, tally(http(80.0), http(90.0, 503, "http_error")))
    assert (told.count, told.ok, told.sent, told.received) == (2, 1, 2, 2)
    assert told.errors == {"http_error": 1}
    assert set(told.phases_ms) == {"resolve", "connect", "tls", "total"}


def test_a_request_without_an_answer_is_a_lost_one_whose_early_phases_count():
    told = bucket("box", "t", "http", 0, 3600, tally(http(None, None, "timeout")))
    assert (told.sent, told.received, told.median_ms) == (1, 0, None)
    assert set(told.phases_ms) == {"resolve", "connect", "tls"}


def test_a_ladder_is_told_rung_by_rung_and_an_absent_rung_not_at_all():
    body = {
        "kind": "ladder", "target": "ladder", "ok": True,
        "gateway": {"sent": 5, "received": 4, "rtts_ms": [1, 1, 1, None, 1]}, "first_hop": None,
    }  # fmt: skip
    (sample,) = samples(body)
    assert (sample.kind, sample.sent, len(sample.rtts_ms), sample.ok) == ("gateway", 5, 4, True)


def test_what_is_no_probe_adds_nothing():
    assert samples({"kind": "lost", "count": 3}) == []
    assert samples({"kind": "weather", "target": "x"}) == []


def test_odd_links_and_words_cannot_grow_a_bucket():
    bodies = [icmp(1.0, ip=f"192.0.2.{i}") | {"error": f"word{i}"} for i in range(200)]
    total = tally(*bodies, icmp(1.0) | {"link": {"type": ["a"]}})
    assert len(total.ips) == len(total.links) + rollup.MAX_WORDS - 1 == rollup.MAX_WORDS
    assert len(total.errors) == rollup.MAX_WORDS + 1 and sum(total.errors.values()) == 200


echo = st.one_of(st.none(), st.floats(min_value=0.01, max_value=9000))
probes = st.lists(st.builds(icmp, *[echo] * 4, link=st.sampled_from(["wifi", "lte"])), min_size=1)
requests = st.lists(
    st.builds(http, st.floats(min_value=1, max_value=15_000), error=st.sampled_from([None, "x"])),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(probes, requests), st.integers(min_value=0, max_value=30))
def test_a_day_is_the_sum_of_its_hours_to_the_last_percentile(bodies, cut):
    parts = [part for part in (bodies[:cut], bodies[cut:]) if part]
    merged = Tally()
    for number, part in enumerate(parts):
        total = tally(*part)
        told = bucket("box", "t", "k", number * HOUR_MS, 3600, total)
        merged.merge(tally_of(told, total.sketches()))
    whole = tally(*bodies)
    assert bucket("box", "t", "k", 0, 86400, merged) == bucket("box", "t", "k", 0, 86400, whole)


def test_a_change_of_link_and_address_shows_in_order_of_time():
    told = [
        (bucket("box", "t", "icmp", hour * HOUR_MS, 3600, total), total.sketches())
        for hour, total in enumerate(
            [tally(icmp(1, link="wifi", ip="b")), tally(icmp(1, link="lte", ip="a"))]
        )
    ]
    (day,) = from_rollups(told, 86400)
    assert (day.links, day.ips) == (("wifi", "lte"), ("b", "a"))


def test_raw_results_fall_into_whole_steps_and_unsynced_ones_into_none():
    found = from_raw(
        [result(icmp(1.0), 299_999), result(icmp(2.0), 300_000), result(icmp(3.0), 1, "unsynced")],
        300,
    )
    assert [(each.start_ms, each.count, each.min_ms) for each in found] == [
        (0, 1, 1.0),
        (300_000, 1, 2.0),
    ]


def test_a_step_uses_the_longest_rollup_that_divides_it():
    assert [level(step) for step in (300, 3600, 7200, 21600, 86400, 604800)] == [
        None, 3600, 3600, 21600, 86400, 86400,
    ]  # fmt: skip
