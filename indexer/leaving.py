"""Agents that have left, and what they want forgotten. Pure; `now` is an argument.

`left: true` on `agent/<agent>` is an agent's last word: it is not gone, nobody waits for it any
more. `forget: TIME` beside it wants all dropped that is from before. The message is retained, so it
comes again at each connection and from every broker, also when the agent has long joined again:
only its time decides. Results of before are from then on confirmed, and not stored. The leader
drops what is stored when what was on its way has arrived, and once more when others have heard of
it, too; the others do the same some minutes later, for a session of theirs may have held results.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from agent.wire import About, WireError, from_rfc3339
from indexer.store import FUTURE_MS, AgentRecord

SETTLE_S = 2.0  # what was read already is stored by then
AGAIN_S = 150.0  # by other indexers, too; and an engine has forgotten what it remembers of it
DOWN_S = 60.0  # a store that did not do it is asked again
MOST = 10_000  # agents
_WRONG_CLOCKS = ("unsynced", "waiting")


class Asked(NamedTuple):
    """An agent wants all forgotten from before this time."""

    agent: str
    before_ms: int


class Leavers:
    """``before_ms`` of each agent that wants to be forgotten, and when the store is to do it."""

    def __init__(self) -> None:
        self.before_ms: dict[str, int] = {}
        self._due_s: dict[str, tuple[float, ...]] = {}

    def heard(self, message: About, record: AgentRecord, now_ms: int, now_s: float) -> None:
        """What an agent says of itself; record is what is known of it now."""
        before_ms = _asked_ms(message.facts, record, now_ms)
        known_ms = self.before_ms.get(message.agent)
        full = known_ms is None and len(self.before_ms) >= MOST
        if before_ms is None or full or before_ms <= (known_ms or 0):
            return
        self.before_ms[message.agent] = before_ms
        self._due_s[message.agent] = (now_s + SETTLE_S, now_s + AGAIN_S)

    def due(self, now_s: float) -> Asked | None:
        """Whom the store is to forget now."""
        for agent, dues_s in self._due_s.items():
            if dues_s[0] <= now_s:
                return Asked(agent, self.before_ms[agent])
        return None

    def done(self, asked: Asked, now_s: float, well: bool) -> None:
        """The store has done it, or is down."""
        if asked.before_ms != self.before_ms[asked.agent]:
            return  # it has come back and left again meanwhile
        _, *later_s = self._due_s.pop(asked.agent)
        if not well:
            later_s.insert(0, now_s + DOWN_S)
        if later_s:
            self._due_s[asked.agent] = tuple(later_s)


def has_left(facts: dict[str, Any]) -> bool:
    return facts.get("left") is True


def wants_forgetting(facts: dict[str, Any]) -> bool:
    return has_left(facts) and facts.get("forget") is not None


def is_older(facts: dict[str, Any], known: dict[str, Any], now_ms: int) -> bool:
    """Whether these words of an agent were said before those that are known; when in doubt, not.

    It says when it said something, or wanted to be forgotten, or at least since when it has run;
    and of one run the last word is that it leaves. A time that has not come yet is by a wrong
    clock: else a goodbye that a broker still holds would be the last word for ever.
    """
    said_ms, known_ms = _order_ms(facts), _order_ms(known)
    if said_ms > now_ms + FUTURE_MS:
        return True
    if said_ms == known_ms:
        return has_left(known) and not has_left(facts)
    return said_ms < known_ms


def left_names(records: Iterable[AgentRecord]) -> set[str]:
    return {record.agent for record in records if has_left(record.facts)}


def is_past(record_facts: dict[str, Any], seen_ms: int, before_ms: int) -> bool:
    """Whether a record is of before: its last word was the goodbye, or it was not seen since."""
    return has_left(record_facts) or seen_ms < before_ms


def is_named(facts: dict[str, Any], agent: str) -> bool:
    """Whether a verdict is this agent's, or its sentence names it.

    Agents may be called like anything that a verdict says ("me", "fine"): only where sentences put
    an agent's name is it one.
    """
    where = r"\b[Ff]rom |\bIt is |\bonly for (?:[\w.-]+, )*"
    found = re.search(rf"(?:{where}){re.escape(agent)}(?![\w-]|\.\w)", str(facts.get("sentence")))
    return facts.get("agent") == agent or found is not None


def _asked_ms(facts: dict[str, Any], record: AgentRecord, now_ms: int) -> int | None:
    """A clock that is known to be wrong cannot tell when; then ours does: it was seen last then."""
    if not wants_forgetting(facts):
        return None
    clock = facts.get("clock")
    trust = clock.get("trust") if isinstance(clock, dict) else clock
    asked_ms = _time(facts, "forget")
    if asked_ms is None:
        asked_ms = now_ms + 2 * FUTURE_MS
    asked_ms = max(asked_ms, _time(facts, "time") or 0)
    if trust in _WRONG_CLOCKS or asked_ms > now_ms + FUTURE_MS:
        return record.seen_ms if has_left(record.facts) else None
    return asked_ms


def _order_ms(facts: dict[str, Any]) -> int:
    """0: it does not say."""
    return next((at for word in ("time", "forget", "since") if (at := _time(facts, word))), 0)


def _time(facts: dict[str, Any], word: str) -> int | None:
    try:
        return from_rfc3339(facts.get(word))
    except WireError:
        return None
