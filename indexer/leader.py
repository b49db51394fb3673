"""One indexer leads: it holds a lease in the store, and writes `swarm`, `look`, `verdict/+`.

The lease lasts LEASE_MS and is renewed long before; whoever dies is followed within it. What to
say is worked out by `advise`, from what the store holds; when to say it, by Leader, which is pure
but for the lease.
"""

import secrets
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from agent import wire
from indexer import verdict
from indexer.leaving import left_names
from indexer.store import AgentRecord, Store, Told

LEASE = "lead"
LEASE_MS = 30_000
RENEW_MS = 10_000
ADVISE_S = 10.0
SWARM_MS = 1_200_000  # agents believe a swarm for an hour
SWARM_CHANGE_MS = 60_000
LOOK_MS = 240_000  # agents believe a look for five minutes
VERDICT_MS = 60_000  # numbers alone are told again at most so often
ASKED_MS = 300_000
REMEMBERED_MS = 86_400_000  # an agent that was not heard of for a day is not part of now
_MAX_LOOK = 3
_SALT_BYTES = 16


class Advice(NamedTuple):
    """What the evidence says now."""

    agents: dict[str, int]  # target -> how many agents probe it
    salt: str
    doubtful: tuple[str, ...]
    verdicts: dict[str, dict[str, Any]]
    picture: verdict.Picture | None = None  # what it was read off, for whoever wants more of it


class Message(NamedTuple):
    topic: str
    payload: bytes
    retain: bool
    turned: Told | None = None  # a verdict that is another: one for the history


class Leases(Protocol):
    """What of a store the lease needs."""

    def lease(self, what: str, holder: str, now_ms: int, ttl_ms: int) -> bool: ...


def advise(store: Store, now_ms: int, baselines: verdict.Baselines | None = None) -> Advice:
    """Reads the store and judges. Takes a while: not on the loop's thread. StoreDown."""
    probers: dict[str, set[str]] = {}
    results = store.results(now_ms - verdict.HORIZON_MS, now_ms + 1)
    results, recent = of_members(results, store.agents(), now_ms)
    picture = verdict.Picture(_noting(results, probers), recent, now_ms, baselines)
    answers = verdict.judge_all(picture)
    return Advice(
        {target: len(agents) for target, agents in sorted(probers.items())},
        str(store.fact("salt") or ""),
        verdict.what_to_look(picture),
        {target: verdict.as_json(answer) for target, answer in answers.items()},
        picture,
    )


def of_members(
    results: Iterator[wire.Result], records: Iterable[AgentRecord], now_ms: int
) -> tuple[Iterator[wire.Result], list[AgentRecord]]:
    """What is of agents that are still part of the swarm, and their records of the last day."""
    left = left_names(records)
    recent = [
        one for one in records if one.seen_ms >= now_ms - REMEMBERED_MS and one.agent not in left
    ]
    return (one for one in results if one.agent not in left), recent


def _noting(results: Iterable[wire.Result], probers: dict[str, set[str]]) -> Iterator[wire.Result]:
    """The same results; who probes which target is noted. The ladder is everybody's own."""
    for result in results:
        if result.body["kind"] in ("icmp", "http"):
            probers.setdefault(result.body["target"], set()).add(result.agent)
        yield result


def new_salt() -> str:
    """For the pseudonyms of access groups; made once for a swarm."""
    return secrets.token_hex(_SALT_BYTES)


class Leader:
    """Whether we lead, and what of the advice is to be published now."""

    def __init__(self, name: str, leases: Leases) -> None:
        self._name = name
        self._leases = leases
        self._until_ms = 0
        self._renewed_ms = 0
        self._said_ms = 0
        self._asked: dict[str, int] = {}
        self._swarm: tuple[bytes, int] = (b"", 0)
        self._look: tuple[tuple[str, ...], int] = ((), 0)
        self._verdicts: dict[str, tuple[dict[str, Any], int]] = {}

    def leads(self, now_ms: int) -> bool:
        return now_ms < self._until_ms

    def renew(self, now_ms: int) -> bool:
        """Takes or keeps the lease when it is time to; whether we lead. StoreDown."""
        if not 0 <= now_ms - self._renewed_ms < RENEW_MS:
            held = self._leases.lease(LEASE, self._name, now_ms, LEASE_MS)
            self._until_ms = now_ms + LEASE_MS if held else 0
            self._renewed_ms = now_ms
            if not held:
                self._forget()
        return self.leads(now_ms)

    def resign(self, now_ms: int) -> None:
        """Gives the lease back, so that another leads at once. StoreDown."""
        if self.leads(now_ms):
            self._until_ms = 0
            self._leases.lease(LEASE, self._name, now_ms, 0)

    def ask(self, target: str, now_ms: int) -> None:
        """Somebody wants this target looked at."""
        if len(self._asked) < 100:
            self._asked[target] = now_ms

    def say(self, advice: Advice, on_brokers: Iterable[str], now_ms: int) -> list[Message]:
        """What is new and worth a message. on_brokers: targets that have a retained verdict."""
        if now_ms < self._said_ms:
            self._forget()  # the clock was set back: when all that was said, it cannot tell
        self._said_ms = now_ms
        messages = [*self._say_swarm(advice, now_ms), *self._say_look(advice, now_ms)]
        for target, facts in advice.verdicts.items():
            messages += self._say_verdict(target, facts, now_ms)
        gone = set(on_brokers) - set(advice.verdicts)
        for target in sorted(gone):
            self._verdicts.pop(target, None)
            messages.append(Message(wire.verdict_topic(target), b"", True))
        return messages

    def _forget(self) -> None:
        self._swarm, self._look = (b"", 0), ((), 0)
        self._verdicts.clear()

    def _say_swarm(self, advice: Advice, now_ms: int) -> list[Message]:
        payload = wire.encode_json({"agents": advice.agents, "salt": advice.salt})
        said, at_ms = self._swarm
        if now_ms - at_ms < (SWARM_MS if payload == said else SWARM_CHANGE_MS):
            return []
        self._swarm = payload, now_ms
        return [Message(wire.SWARM, payload, True)]

    def _say_look(self, advice: Advice, now_ms: int) -> list[Message]:
        self._asked = {
            target: at_ms for target, at_ms in self._asked.items() if 0 <= now_ms - at_ms < ASKED_MS
        }
        wanted = dict.fromkeys([*reversed(self._asked), *advice.doubtful])
        look = tuple(sorted(list(wanted)[:_MAX_LOOK]))
        said, at_ms = self._look
        if look == said and (not look or now_ms - at_ms < LOOK_MS):
            return []
        self._look = look, now_ms
        return [Message(wire.LOOK, wire.encode_json({"targets": list(look)}), False)]

    def _say_verdict(self, target: str, facts: dict[str, Any], now_ms: int) -> list[Message]:
        said, at_ms = self._verdicts.get(target, ({}, 0))
        turned = gist(said) != gist(facts)
        if not turned and (facts == said or now_ms - at_ms < VERDICT_MS):
            return []
        self._verdicts[target] = facts, now_ms
        payload = wire.encode_json(facts | {"time": wire.rfc3339(now_ms)})
        told = Told(now_ms, target, facts) if turned else None
        return [Message(wire.verdict_topic(target), payload, True, told)]


def record(store: Store, told: Told) -> None:
    """Into the history, unless that says so already: who has just begun to lead cannot know."""
    before = store.verdicts(0, told.at_ms, target=told.target, limit=1)
    if not before or gist(before[0].facts) != gist(told.facts):
        store.put_verdict(*told)


def gist(facts: dict[str, Any]) -> tuple[Any, ...]:
    """What of a verdict makes another one of it; the rest is numbers."""
    return facts.get("state"), facts.get("word"), facts.get("scope")
