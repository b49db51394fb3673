"""The pace: DESIGN's constants, and nothing that arrives can make it faster."""

import inspect
from collections import Counter
from dataclasses import fields
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent import schedule
from agent.config import Config
from agent.schedule import Probe, Schedule
from agent.targets import Target, parse

HOSTS = [f"h{number}.example" for number in range(6)]
URLS = [f"https://{host}/" for host in HOSTS[:3]]
WORDS = [*HOSTS, *URLS, "https://h0.example/other", "192.0.2.7", "http://192.0.2.7/"]
FINE: dict[str, Any] = {"kind": "icmp", "ok": True, "sent": 10, "received": 10, "rtts_ms": [9.0]}


def targets(*words: str) -> list[Target]:
    return [parse(word) for word in words]


class Judge:
    """Asks a schedule as eagerly as anybody could, and holds each start against the rules."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 0.0
        self.schedule = Schedule(self.now, Random(seed))
        self.starts: list[tuple[float, Probe]] = []
        self.running: Probe | None = None
        self.last_start_s = self.now  # a start of the agent counts: it waits a slot first
        self.last_host_s: dict[str, float] = {}
        self.last_text_s: dict[str, float] = {}
        self.listed: set[str] = set()
        self.counts: dict[str, int] = {}
        self.counts_until_s = 0.0
        self.stretch_s = 0.0

    def list(self, *words: str) -> None:
        self.listed = set(words)
        self.schedule.set_targets(targets(*words), self.now)

    def swarm(self, counts: dict[str, int]) -> None:
        self.counts, self.counts_until_s = counts, self.now + schedule.SWARM_S
        self.schedule.swarm(counts, self.now)

    def stretch(self, slot_s: float) -> None:
        self.stretch_s = slot_s
        self.schedule.stretch(slot_s)

    def ask(self) -> Probe | None:
        probe = self.schedule.next(self.now)
        if probe is not None:
            self.judge(probe)
            self.running = probe
            self.starts.append((self.now, probe))
        return probe

    def judge(self, probe: Probe) -> None:
        assert self.running is None, "two probes at a time"
        assert self.now - self.last_start_s >= max(10.0, self.stretch_s), "a slot is too short"
        self.last_start_s = self.now
        if probe.target is None:
            return
        text, host = probe.target.text, probe.target.host
        assert text in self.listed, "nobody asked for this target"
        assert self.now - self.last_host_s.get(host, -60.0) >= 60.0, "a host twice in a minute"
        if self.now < self.counts_until_s and text in self.last_text_s:
            share_s = min(self.counts.get(text, 0), 3600)
            assert self.now - self.last_text_s[text] >= share_s, "more than a probe a second"
        self.last_host_s[host] = self.last_text_s[text] = self.now

    def answer(self, body: dict[str, Any] | None) -> None:
        if self.running is not None:
            if body is not None:
                body = {**body, "kind": self.running.kind}
            self.schedule.answered(self.running.target, body, self.now)
            self.running = None

    def run(self, seconds: float, body: dict[str, Any] | None = None, took_s: float = 9.0) -> None:
        """As the agent's loop: sleep as long as it may, start, take the answer."""
        end_s = self.now + seconds
        while self.now < end_s:
            self.now += self.schedule.wake_s(self.now)
            if self.ask() is not None:
                self.now += took_s
                self.answer(FINE if body is None else body)

    def visits(self) -> Counter[str]:
        return Counter(probe.target.text for _, probe in self.starts if probe.target is not None)


word = st.sampled_from(WORDS)
body = st.fixed_dictionaries(
    {"ok": st.booleans(), "kind": st.sampled_from(["icmp", "http"])},
    optional={
        "status": st.sampled_from([200, 301, 429, 503]),
        "retry_after_s": st.integers(-5, 10**9) | st.none(),
        "sent": st.integers(0, 10),
        "received": st.integers(0, 10),
        "rtts_ms": st.lists(st.floats(0, 1e4) | st.none(), max_size=10),
        "phases_ms": st.fixed_dictionaries({"total": st.floats(0, 1e4) | st.none()}),
    },
)
step = st.one_of(
    st.tuples(st.just("wait"), st.floats(0, 30)),
    st.tuples(st.just("wait"), st.floats(0, 4000)),
    st.tuples(st.just("wake"), st.integers(1, 40)),
    st.tuples(st.just("list"), st.lists(word, unique=True)),
    st.tuples(st.just("look"), st.lists(word | st.just("not.listed.example"), max_size=6)),
    st.tuples(st.just("swarm"), st.dictionaries(word, st.integers(-9, 10**9))),
    st.tuples(st.just("stretch"), st.floats(-1e6, 1e5)),
    st.tuples(st.just("answer"), body | st.none()),
)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(step, max_size=60))
def test_no_list_look_swarm_budget_or_answer_makes_the_pace_faster(
    seed: int, steps: list[tuple[str, Any]]
) -> None:
    judge = Judge(seed)
    judge.list(*WORDS)
    for what, value in steps:
        if what == "wait":
            judge.now += value
        elif what == "list":
            judge.list(*value)
        elif what == "look":
            judge.schedule.look(value, judge.now)
        elif what == "swarm":
            judge.swarm(value)
        elif what == "stretch":
            judge.stretch(value)
        elif what == "answer":
            judge.answer(value)
        elif what == "wake":
            for _ in range(value):
                judge.now += judge.schedule.wake_s(judge.now)
                judge.ask()
                judge.answer(FINE)
        judge.ask()
        judge.ask()


def test_the_pace_is_the_one_that_we_promise_to_those_whom_we_probe() -> None:
    assert schedule.SLOT_S == 10 and schedule.JITTER_S == 5 and schedule.HOST_GAP_S == 60
    assert schedule.ECHOES == 10 and schedule.ECHO_GAP_S == 1 and schedule.LADDER_ECHOES == 5
    assert schedule.MAX_TARGETS == 64 and schedule.HTTP_BODY_BYTES == 65536
    assert schedule.LOOK_TARGETS == 3 and schedule.LOOK_S == 300 and schedule.SWARM_S == 3600


def test_nobody_can_configure_the_pace() -> None:
    assert list(inspect.signature(Schedule).parameters) == ["now", "rng"]
    names = {field.name for field in fields(Config)}
    assert not {name for name in names if "slot" in name or "pace" in name or "interval" in name}


def test_a_start_waits_a_slot_first_so_that_a_crash_loop_probes_nothing() -> None:
    judge = Judge()
    judge.list(*HOSTS)
    assert 10 <= judge.schedule.wake_s(0.0) <= 15
    judge.now = 9.999
    assert judge.ask() is None


def test_gaps_are_random_between_ten_and_fifteen_seconds() -> None:
    judge = Judge()
    judge.list(*WORDS)
    judge.run(3600)
    at = [at_s for at_s, _ in judge.starts]
    gaps = [later - earlier for earlier, later in zip(at, at[1:], strict=False)]
    assert all(10 <= gap < 30 for gap in gaps)  # an idle slot in between makes two
    assert max(gaps) - min(gaps) > 3


def test_a_long_probe_delays_the_next_and_is_never_overlapped() -> None:
    judge = Judge()
    judge.list(*HOSTS)
    judge.now = 20.0
    assert judge.ask() is not None
    judge.now = 500.0
    assert judge.ask() is None
    judge.answer(None)
    assert judge.ask() is not None


def test_every_fourth_slot_is_a_ladder_also_when_nobody_else_is_due() -> None:
    busy, idle = Judge(), Judge()
    busy.list(*WORDS)
    busy.run(3600)
    kinds = [probe.kind for _, probe in busy.starts]
    assert kinds[0] == "ladder"
    assert all((kind == "ladder") == (at % 4 == 0) for at, kind in enumerate(kinds[:40]))
    idle.run(3600)
    assert {probe.kind for _, probe in idle.starts} == {"ladder"}
    assert 60 <= len(idle.starts) <= 90  # 3600 / (4 × 12.5)


def test_a_ladder_follows_an_unusual_result_once_for_each_onset() -> None:
    judge = Judge()
    judge.list("h1.example")
    judge.run(1800)
    judge.starts.clear()
    judge.run(600, {**FINE, "ok": False, "error": "timeout", "received": 0, "rtts_ms": [None]})
    after = [
        later.kind
        for (_, probe), (_, later) in zip(judge.starts, judge.starts[1:], strict=False)
        if probe.kind == "icmp"
    ]
    assert after[0] == "ladder"
    judge.starts.clear()
    judge.run(1800, {**FINE, "ok": False, "error": "timeout", "received": 0, "rtts_ms": [None]})
    ladders = sum(probe.kind == "ladder" for _, probe in judge.starts)
    assert ladders <= 1 + 1800 / 40  # a target that is dead for good asks for no more of them


def test_a_doubled_round_trip_time_is_unusual_and_a_wobble_is_not() -> None:
    for rtt_ms, unusual in ((20.0, True), (11.0, False)):
        judge = Judge()
        judge.list("h1.example")
        judge.run(1200)
        while judge.running is None or judge.running.target is None:
            judge.answer(FINE)
            judge.now += judge.schedule.wake_s(judge.now)
            judge.ask()
        since_ladder = judge.schedule._since_ladder
        judge.now += 9
        judge.answer({**FINE, "rtts_ms": [rtt_ms] * 10})
        judge.now += judge.schedule.wake_s(judge.now)
        probe = judge.ask()
        ladder = probe is not None and probe.kind == "ladder"
        assert ladder == (unusual or since_ladder == 3)


def test_a_shuffled_round_robin_is_fair_and_not_always_the_same() -> None:
    words = [f"t{at}.example" for at in range(20)]
    orders = []
    for seed in range(2):
        judge = Judge(seed)
        judge.list(*words)
        judge.run(4 * 3600)
        visits = judge.visits()
        assert set(visits) == set(words) and max(visits.values()) - min(visits.values()) <= 1
        orders.append([p.target.text for _, p in judge.starts if p.target is not None][:20])
    assert orders[0] != orders[1]


def test_a_url_is_fetched_at_three_of_four_visits_and_pinged_at_the_fourth() -> None:
    judge = Judge()
    judge.list(URLS[0])
    judge.run(3600)
    probes = [probe for _, probe in judge.starts if probe.target is not None]
    kinds = [probe.kind for probe in probes]
    assert kinds[:8] == ["http", "http", "http", "icmp"] * 2
    for kind in ("http", "icmp"):  # so that each kind sees both families
        visits = [probe.visit for probe in probes if probe.kind == kind]
        assert visits == list(range(len(visits)))


def test_more_than_sixty_four_targets_are_not_probed() -> None:
    judge = Judge()
    words = [f"t{at}.example" for at in range(70)]
    judge.list(*words)
    judge.run(3 * 3600)
    assert set(judge.visits()) == set(words[:64])


def test_look_moves_a_listed_target_to_the_head_in_at_most_every_second_slot() -> None:
    words = [f"t{at}.example" for at in range(20)]
    judge = Judge()
    judge.list(*words)
    judge.run(1800)
    before = judge.now
    judge.schedule.look(["t7.example", "not.listed.example"], before)
    judge.run(300)
    seen = [(at, probe.target.text) for at, probe in judge.starts if at > before and probe.target]
    assert sum(text == "t7.example" for _, text in seen) >= 4  # once a minute
    assert all(text in words for _, text in seen)
    assert sum(text != "t7.example" for _, text in seen) >= 10
    after = judge.now
    judge.run(900)
    late = [p.target.text for at, p in judge.starts if at > after + 15 and p.target]
    assert late.count("t7.example") <= 4  # a look ends by itself, and its turn comes as ever


def test_three_targets_looked_at_leave_every_second_slot_to_the_others() -> None:
    words = [f"t{at}.example" for at in range(30)]
    judge = Judge()
    judge.list(*words)
    judge.run(3600)
    before = judge.now
    looked = words[:3]
    judge.schedule.look(looked, before)
    judge.run(300)
    slots = [
        p.target is not None and p.target.text in looked for at, p in judge.starts if at > before
    ]
    pairs = sum(a and b for a, b in zip(slots, slots[1:], strict=False))
    assert 6 <= sum(slots) <= len(slots) / 2 + 2
    assert pairs <= 2  # only where one has its own turn


def test_a_swarm_together_sends_at_most_a_probe_a_second_to_one_target() -> None:
    starts = []
    for seed in range(120):
        judge = Judge(seed)
        judge.list("h1.example")
        judge.swarm({"h1.example": 120})
        judge.run(1800)
        starts += [at for at, probe in judge.starts if probe.target is not None]
    assert 0.5 <= len(starts) / 1800 <= 1.0


def test_a_forged_swarm_silences_nobody_and_is_forgotten_after_an_hour() -> None:
    judge = Judge()
    judge.list("h1.example")
    judge.run(200)
    for _ in range(10):  # repeated, it slows down to a probe an hour
        judge.swarm({"h1.example": 10**9})
        judge.run(3600)
    assert 10 <= judge.visits()["h1.example"] <= 14
    judge.run(3700)
    judge.starts.clear()
    judge.run(3600)
    assert judge.visits()["h1.example"] >= 40


def test_a_new_target_waits_its_part_of_the_swarms_spread_and_the_rest_goes_on() -> None:
    firsts = []
    for seed in range(100):
        judge = Judge(seed)
        judge.list("h1.example", "h2.example")
        judge.swarm({"h1.example": 1000, "h2.example": 1})
        judge.run(300)
        began = judge.now
        judge.list("h1.example", "h2.example", "new.example")
        judge.run(1200)
        first = next(at for at, p in judge.starts if p.target and p.target.text == "new.example")
        firsts.append(first - began)
        others = [at for at, p in judge.starts if p.target and began < at < first]
        assert len(others) >= (first - began) / 120 - 1
    assert min(firsts) < 200 and max(firsts) > 800 and 350 < sum(firsts) / 100 < 650


def test_the_same_list_again_after_a_reconnect_changes_nothing() -> None:
    often, once = Judge(3), Judge(3)
    often.list(*WORDS)
    once.list(*WORDS)
    for _ in range(100):
        often.list(*WORDS)
        often.run(30)
        once.run(30)
    assert often.starts == once.starts


def test_too_many_requests_halves_that_targets_pace_for_an_hour() -> None:
    words = [f"https://t{at}.example/" for at in range(20)]
    counts = []
    for refused in (False, True):
        judge = Judge()
        judge.list(*words)
        judge.run(1800)
        judge.starts.clear()
        end_s = judge.now + 3600
        while judge.now < end_s:
            judge.now += judge.schedule.wake_s(judge.now)
            if (probe := judge.ask()) is not None:
                hit = refused and probe.target is not None and probe.target.text == words[0]
                judge.now += 5
                judge.answer({**FINE, "status": 429} if hit else FINE)
        counts.append(judge.visits())
    usual, halved = counts[0][words[0]], counts[1][words[0]]
    assert usual >= 8 and halved <= usual // 2 + 1
    assert counts[1][words[1]] >= counts[0][words[1]]


def test_a_budget_makes_slots_longer_and_its_end_makes_them_usual_again() -> None:
    judge = Judge()
    judge.list(*HOSTS)
    judge.stretch(100.0)
    judge.run(3600)
    assert 30 <= len(judge.starts) <= 36
    judge.stretch(0.0)
    assert judge.schedule.wake_s(judge.now) <= 15
