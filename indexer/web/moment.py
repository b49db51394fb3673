"""The swarm as it is now, shared by all who look at the page at the same time.

A picture is built at most every 5 s, and so seldom that building never takes more than a tenth of
the time: looking must not slow the indexer down. Who comes while one is built waits for it.
"""

import threading
import time
from collections.abc import Callable
from functools import cached_property

from indexer import verdict
from indexer.learnt import Learnt
from indexer.store import AgentRecord, Store
from indexer.verdict import Answer, Headline, Pair, Picture
from indexer.web import words

FRESH_S = 5.0
_SHARE = 10  # a picture is kept for so many times what it took to build
_AHEAD_MS = 120_000
_REMEMBERED_MS = 86_400_000  # an agent that was not heard of for a day is not part of now


class Moment:
    """What is known at one time. Answers are worked out when first asked for."""

    def __init__(self, picture: Picture, agents: dict[str, AgentRecord]) -> None:
        self.picture = picture
        self.agents = agents
        self.now_ms = picture.now_ms

    @cached_property
    def answers(self) -> dict[str, Answer]:
        """The swarm's view of each target."""
        return verdict.judge_all(self.picture)

    @cached_property
    def swarm(self) -> Headline:
        """What everybody sees together; of one agent alone, what that one sees."""
        names = self.picture.agents
        return self.headline(names[0]) if len(names) == 1 else verdict.headline(self.picture)

    @cached_property
    def you(self) -> str | None:
        """Whose view it is when nobody says: the only agent, or the only one that is real."""
        names = self.picture.agents
        real = [name for name in names if not is_simulated(self.agents.get(name))]
        for found in (names, real):
            if len(found) == 1:
                return found[0]
        return None

    def headline(self, agent: str | None) -> Headline:
        if agent is None:
            return self.swarm
        return verdict.headline(self.picture, agent, words.listed_of(self.agents.get(agent)))

    def pair(self, agent: str, target: str) -> Pair | None:
        return verdict.pair(self.picture, agent, target)


class Lookout:
    """Makes moments out of the store."""

    def __init__(
        self,
        store: Store,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self.wall_ms = wall_ms
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._learnt = Learnt(store)
        self._moment: Moment | None = None
        self._until_s = 0.0

    def moment(self) -> Moment:
        """Not for the event loop: it may take a second."""
        with self._lock:
            begun_s = self._monotonic()
            if self._moment is None or begun_s >= self._until_s:
                self._moment = self._look(self.wall_ms())
                took_s = self._monotonic() - begun_s
                self._until_s = begun_s + took_s + max(FRESH_S, _SHARE * took_s)
            return self._moment

    def _look(self, now_ms: int) -> Moment:
        results = list(self._store.results(now_ms - verdict.HORIZON_MS, now_ms + _AHEAD_MS))
        agents = {record.agent: record for record in self._store.agents()}
        for result in results:
            known = agents.get(result.agent)
            if known is None:
                agents[result.agent] = AgentRecord(result.agent, {}, result.time_ms, None, True)
            elif not known.facts and known.seen_ms < result.time_ms:
                agents[result.agent] = known._replace(seen_ms=result.time_ms)
        heard = {result.agent for result in results}
        recent = [
            record
            for record in agents.values()
            if record.agent in heard or record.seen_ms >= now_ms - _REMEMBERED_MS
        ]
        usual = self._learnt.before(now_ms)
        return Moment(Picture(results, recent, now_ms, usual), agents)


def is_simulated(record: AgentRecord | None) -> bool:
    return record is not None and record.facts.get("simulated") is True
