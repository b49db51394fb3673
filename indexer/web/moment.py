"""The swarm as it is now, shared by all who look at the page at the same time.

Where this indexer leads, the picture is the one that the verdicts were read off. Elsewhere one is
built at most every 5 s, and so seldom that building never takes more than a tenth of the time:
looking must not slow the indexer down. Who comes while one is built waits for it.
"""

import threading
import time
from collections.abc import Callable
from functools import cached_property

from indexer import verdict
from indexer.leader import of_members
from indexer.learnt import Learnt
from indexer.leaving import left_names
from indexer.store import AgentRecord, Store
from indexer.verdict import Answer, Headline, Pair, Picture
from indexer.web import words

FRESH_S = 5.0
_SHARE = 10  # a picture is kept for so many times what it took to build
_AHEAD_MS = 120_000


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
        laid: Callable[[int], Picture | None] = lambda now_ms: None,
    ) -> None:
        self._store = store
        self.wall_ms = wall_ms
        self._monotonic = monotonic
        self._laid = laid
        self._lock = threading.Lock()
        self._learnt = Learnt(store)
        self._moment: Moment | None = None
        self._until_s = 0.0

    def moment(self) -> Moment:
        """Not for the event loop: it may take a second."""
        with self._lock:
            begun_s = self._monotonic()
            laid = self._laid(self.wall_ms())
            if laid is not None:
                if self._moment is None or self._moment.picture is not laid:
                    self._moment = Moment(laid, self._agents(laid))
                return self._moment
            if self._moment is None or begun_s >= self._until_s:
                self._moment = self._look(self.wall_ms())
                took_s = self._monotonic() - begun_s
                self._until_s = begun_s + took_s + max(FRESH_S, _SHARE * took_s)
            return self._moment

    def _look(self, now_ms: int) -> Moment:
        results = self._store.results(now_ms - verdict.HORIZON_MS, now_ms + _AHEAD_MS)
        results, recent = of_members(results, self._store.agents(), now_ms)
        picture = Picture(results, recent, now_ms, self._learnt.before(now_ms))
        return Moment(picture, self._agents(picture))

    def _agents(self, picture: Picture) -> dict[str, AgentRecord]:
        """Every agent that ever was and has not left; of one that says nothing of itself, what
        its results say."""
        known_ones = self._store.agents()
        left = left_names(known_ones)
        agents = {one.agent: one for one in known_ones if one.agent not in left}
        for name in picture.agents:
            if name in left:
                continue  # it has left since the picture was made
            known, seen_ms = agents.get(name), picture.seen_ms(name)
            if known is None:
                agents[name] = AgentRecord(name, {}, seen_ms, None, True)
            elif not known.facts and known.seen_ms < seen_ms:
                agents[name] = known._replace(seen_ms=seen_ms)
        return agents


def is_simulated(record: AgentRecord | None) -> bool:
    return record is not None and record.facts.get("simulated") is True
