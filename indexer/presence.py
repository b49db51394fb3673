"""Who is here and who is gone. Pure; `now` is an argument.

One connection has one will, and a broker can deliver it late, when the agent has long been back on
another broker. So a rip, or a goodbye, is only a claim: the agent is gone when silence on all
brokers follows it, for the flush that the agent announced and SILENCE_MS. Any live message means
that it is here. What a broker retained tells of the past, and is no sign of life.

An agent that has left is neither here nor gone, and results of it that come late change nothing:
only its own word, on `agent/<agent>`, brings it back. What wants to be forgotten is not written.
"""

from collections.abc import Iterable
from typing import Any

from agent.wire import About, Rip, WireError, from_rfc3339
from indexer.leaving import has_left, is_older, wants_forgetting
from indexer.store import AgentRecord

SILENCE_MS = 90_000
WRITE_MS = 30_000  # a sign of life alone is written at most this often
A_WRITE_MS = 10  # and less often, the more agents there are
_SAME_MS = 1000
_MAX_FLUSH_S = 86_400
_MAX_RIPS = 10_000
_WAITING_CLOCKS = ("unsynced", "waiting")


class Presence:
    """What is known of each agent, and what of it the store does not know yet."""

    def __init__(self, records: Iterable[AgentRecord]) -> None:
        self._records = {record.agent: record for record in records}
        self._written: dict[str, AgentRecord] = dict(self._records)
        self._rips: set[str] = set()  # of agents that nothing else is known of yet

    @property
    def names(self) -> set[str]:
        return set(self._records)

    def here(self) -> int:
        return sum(record.here for record in self._records.values())

    def record(self, agent: str) -> AgentRecord:
        """Of an agent that has said something."""
        return self._records[agent]

    def heard(self, agent: str, now_ms: int) -> None:
        """A live message of this agent: it is here, whatever was claimed."""
        record = self._record(agent, now_ms)
        if has_left(record.facts):
            return
        if record.here and record.rip_ms is None and 0 < now_ms - record.seen_ms < _SAME_MS:
            return  # thousands a second may say the same
        self._records[agent] = record._replace(
            seen_ms=max(now_ms, record.seen_ms), rip_ms=None, here=True
        )

    def about(self, message: About, retained: bool, now_ms: int) -> None:
        """What the agent says of itself; retained: what it once said, on this broker."""
        if retained:
            self._about_of_old(message, now_ms)
            return
        record = self._record(message.agent, now_ms)
        self._records[message.agent] = record._replace(
            facts=message.facts,
            seen_ms=max(now_ms, record.seen_ms),
            rip_ms=now_ms if message.facts.get("here") is False else None,
            here=not has_left(message.facts),
        )

    def rip(self, message: Rip, now_ms: int) -> None:
        """The broker claims that the agent is gone. The first claim counts; cleared is no life."""
        if message.agent in self._records:
            if not message.cleared:
                self._claim(message.agent, now_ms)
        elif message.cleared:
            self._rips.discard(message.agent)
        elif len(self._rips) < _MAX_RIPS:
            self._rips.add(message.agent)

    def due(self, now_ms: int) -> list[AgentRecord]:
        """The records that the store should have now; it has them once `written` is called."""
        for agent, record in self._records.items():
            if record.here and _silent_long(record, now_ms):
                self._records[agent] = record._replace(here=False)
        return [record for record in self._records.values() if self._worth_writing(record)]

    def written(self, record: AgentRecord) -> None:
        self._written[record.agent] = record

    def _about_of_old(self, message: About, now_ms: int) -> None:
        """Facts that are not older than ours are taken; a goodbye among them is a claim."""
        known = self._records.get(message.agent)
        ripped = known is None and message.agent in self._rips
        said_ms = _said_ms(message.facts)
        if known is None:
            seen_ms = now_ms if said_ms is None else min(said_ms, now_ms)
            here = message.facts.get("here") is not False
            known = AgentRecord(message.agent, {}, seen_ms, None if here else seen_ms, here)
        elif known.facts and is_older(message.facts, known.facts, now_ms):
            return
        here = known.here and not has_left(message.facts)
        self._records[message.agent] = known._replace(facts=message.facts, here=here)
        if message.facts.get("here") is False or ripped:
            self._claim(message.agent, now_ms)

    def _claim(self, agent: str, now_ms: int) -> None:
        record = self._records[agent]
        if record.here and record.rip_ms is None:
            self._records[agent] = record._replace(rip_ms=now_ms)

    def _record(self, agent: str, now_ms: int) -> AgentRecord:
        return self._records.get(agent) or AgentRecord(agent, {}, now_ms, None, True)

    def _worth_writing(self, record: AgentRecord) -> bool:
        if wants_forgetting(record.facts):
            return False
        written = self._written.get(record.agent)
        if written is None:
            return True
        said_else = written.here != record.here or written.facts != record.facts
        return (
            said_else
            or written.rip_ms != record.rip_ms
            or record.seen_ms - written.seen_ms >= max(WRITE_MS, A_WRITE_MS * len(self._records))
        )


def waits_for_time(message: About) -> bool:
    """The agent has no clock that it trusts: the indexer's time is what it waits for."""
    clock = message.facts.get("clock")
    trust = clock.get("trust") if isinstance(clock, dict) else clock
    return trust in _WAITING_CLOCKS


def _silent_long(record: AgentRecord, now_ms: int) -> bool:
    """Any life ends a claim, so all was silent since it; the future: the clock was set back."""
    if record.rip_ms is None:
        return False
    return not 0 <= now_ms - record.rip_ms < _flush_ms(record.facts) + SILENCE_MS


def _flush_ms(facts: dict[str, Any]) -> int:
    flush_s = facts.get("flush_s", 0)
    if type(flush_s) not in (int, float):
        return 0
    return round(1000 * min(max(float(flush_s), 0.0), _MAX_FLUSH_S))


def _said_ms(facts: dict[str, Any]) -> int | None:
    try:
        return from_rfc3339(facts.get("time"))
    except WireError:
        return None
