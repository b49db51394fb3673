"""How often the verdict is right about planted incidents, and how often it cries wolf.

Prints one line for each incident (share of judgements with the right word, from 5 min after its
begin; time to the first right word) and one for quiet hours: false words, judged for every agent
and target every ten minutes. "checking" and "fine" are not false there.
"""

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from agent.wire import Result
from bench import simulate
from indexer import verdict

MINUTE_MS = 60_000
END_MS = 1_764_000_000_000
SETTLED_MIN = 5
EVERY_MIN = 10
LEARN_MS = 6 * 60 * MINUTE_MS
ALSO_RIGHT = {"isp": {"isp", "access"}, "me": {"me", "access"}, "service": {"service"}}


class Record(NamedTuple):
    """As much of the store's record of an agent as a verdict reads."""

    agent: str
    facts: dict[str, Any]
    seen_ms: int
    here: bool = True


class Score(NamedTuple):
    right: int
    of: int
    words: Counter[str]


def records(of: simulate.Swarm, now_ms: int) -> list[Record]:
    return [Record(agent, facts, now_ms) for agent, facts in simulate.abouts(of)]


def pictures(
    of: simulate.Swarm,
    since_ms: int,
    until_ms: int,
    step_ms: int,
    planted: list[simulate.Incident],
) -> Iterator[verdict.Picture]:
    """One picture every step, each from the results of its own horizon, and what is usual learnt
    from the hours before the first."""
    before = simulate.results(
        of, since_ms - LEARN_MS, since_ms - SETTLED_MIN * MINUTE_MS, 1, planted
    )
    usual = verdict.learn(before)
    window: list[Result] = []
    fresh = simulate.results(of, since_ms - verdict.HORIZON_MS, until_ms, planted=planted)
    waiting: Result | None = None
    now_ms = since_ms
    while now_ms <= until_ms:
        while waiting is None or waiting.time_ms < now_ms:
            if waiting is not None:
                window.append(waiting)
            waiting = next(fresh, None)
            if waiting is None:
                break
        window = [one for one in window if one.time_ms >= now_ms - verdict.HORIZON_MS]
        yield verdict.Picture(window, records(of, now_ms), now_ms, usual)
        now_ms += step_ms


def score(
    of: simulate.Swarm, incident: simulate.Incident, planted: list[simulate.Incident], minutes: int
) -> Score:
    """Each affected agent's words for each affected target, while the incident lasts."""
    since_ms = incident.since_ms + SETTLED_MIN * MINUTE_MS
    until_ms = min(incident.until_ms, since_ms + minutes * MINUTE_MS)
    words: Counter[str] = Counter()
    for picture in pictures(of, since_ms, until_ms, EVERY_MIN * MINUTE_MS, planted):
        for agent in incident.agents:
            for target in simulate.TARGETS if incident.target is None else (incident.target,):
                words[verdict.judge(picture, target, agent).word] += 1
    right = sum(words[word] for word in ALSO_RIGHT[incident.word])
    return Score(right, sum(words.values()), words)


def first_right_s(
    of: simulate.Swarm, incident: simulate.Incident, planted: list[simulate.Incident]
) -> int | None:
    """Seconds from the begin until the swarm (or, for one agent, its headline) has it right."""
    since_ms, until_ms = incident.since_ms + 10_000, incident.since_ms + 10 * MINUTE_MS
    for picture in pictures(of, since_ms, until_ms, 10_000, planted):
        if len(incident.agents) == 1:
            words = {verdict.headline(picture, incident.agents[0]).word}
        else:
            asked = simulate.TARGETS if incident.target is None else (incident.target,)
            words = {verdict.judge(picture, target).word for target in asked}
        if words & ALSO_RIGHT[incident.word]:
            return (picture.now_ms - incident.since_ms) // 1000
    return None


def false_words(of: simulate.Swarm, hours: int) -> Counter[str]:
    """What is said when nothing was planted."""
    words: Counter[str] = Counter()
    since_ms = END_MS - hours * 60 * MINUTE_MS
    for picture in pictures(of, since_ms, END_MS, EVERY_MIN * MINUTE_MS, []):
        for agent in picture.agents:
            for target in picture.targets:
                answer = verdict.judge(picture, target, agent)
                words[answer.word if answer.state != "no data" else "no data"] += 1
    return words


def large(agents: int, targets: int) -> list[Result]:
    """What a large swarm measures within the horizon, four targets slow for ten minutes."""
    rng, found, names = random.Random(1), [], [f"t{number}.example" for number in range(targets)]
    for agent in range(agents):
        times = range(END_MS - verdict.HORIZON_MS + agent * 100, END_MS, simulate.SLOT_MS)
        for seq, time_ms in enumerate(times, 1):
            number = rng.randrange(targets)
            ms = 80.0 if number < 4 and time_ms > END_MS - 10 * MINUTE_MS else 20.0
            body = {
                "kind": "icmp",
                "target": names[number],
                "ip": f"198.{number}.0.1",
                "family": 4,
                "ok": True,
                "sent": 10,
                "received": 10,
                "rtts_ms": [ms + rng.random() for _ in range(10)],
                "link": {"type": "fiber"},
            }
            found.append(Result(f"a{agent}", "0" * 16, seq, time_ms, "ntp", 60, body))
    return found


def speed() -> str:
    """How long it takes to judge a large swarm, results already in memory."""
    found = large(100, 20)
    facts = [
        Record(f"a{n}", {"isp": f"isp {n % 8}", "place": f"town {n % 20}"}, END_MS)
        for n in range(100)
    ]
    begun_s = time.perf_counter()
    picture = verdict.Picture(found, facts, END_MS)
    built_s = time.perf_counter()
    answers = verdict.judge_all(picture)
    judged_s = time.perf_counter()
    blamed = sum(answer.word == "service" for answer in answers.values())
    return (
        f"verdict, 100 agents x 20 targets: {len(found)} results of 2 h indexed in "
        f"{built_s - begun_s:.2f} s, all judged in {judged_s - built_s:.2f} s "
        f"({blamed} of 4 bad services named)"
    )


def main() -> None:
    print(speed())
    of = simulate.swarm()
    planted = simulate.incidents(of, END_MS)
    for incident in planted:
        found = score(of, incident, planted, 90)
        first = first_right_s(of, incident, planted)
        others = ", ".join(f"{word} {n}" for word, n in found.words.most_common())
        print(
            f"verdict, {incident.name}: {100 * found.right / found.of:.1f} % right "
            f"of {found.of} (first after {first} s; {others})"
        )
    quiet = false_words(of, 12)
    total = sum(quiet.values())
    wrong = total - quiet["fine"] - quiet["checking"] - quiet["no data"]
    print(
        f"verdict, 12 quiet hours: {100 * wrong / total:.2f} % false words of {total} "
        f"({wrong / len(of.agents):.1f} per agent; checking {quiet['checking']}) {dict(quiet)}"
    )


if __name__ == "__main__":
    main()
