"""How an agent is forgotten by the engine, a bounded number of documents in each request.

Roll-ups go before the raw results that they are made of, so whoever was stopped in between begins
again, and a second time finds nothing. The periods in which the agent left, and perhaps came back,
are marked to be made again of what is left of them: each time, since for a minute after a document
was deleted the engine takes none of fewer probes in its place.
"""

from collections.abc import Iterable, Iterator, Sequence

from indexer.elastic import read
from indexer.elastic.document import raw_of
from indexer.elastic.engine import Engine
from indexer.elastic.read import HOUR_MS, MIN_TIME_MS, Query, between
from indexer.elastic.rollup import Rolling
from indexer.elastic.state import State, action
from indexer.leaving import is_named, is_past
from indexer.rollup import HOUR_S, LEVELS_S
from indexer.store import Dead, StoreDown

MOST = 5000  # documents deleted in one request
TIMEOUT_S = 60.0
LETTERS = 200
_DELETE = "/_bulk?refresh=true&filter_path=errors"


class Forgetting:
    """One agent, and the time from before which nothing is to be left."""

    def __init__(
        self, engine: Engine, rolling: Rolling, state: State, agent: str, before_ms: int
    ) -> None:
        self._engine = engine
        self._rolling = rolling
        self._state = state
        self._agent = agent
        self._before_ms = before_ms
        self._prefix = engine.address.prefix
        self._raw = f"{self._prefix}-results-*,{self._prefix}-unsynced"
        self._rollups = f"{self._prefix}-rollups-*"
        self._dirty = f"{self._prefix}-dirty"
        self._mine: Query = {"term": {"observer.name": agent}}

    def all(self) -> int:
        """How many documents went. StoreDown."""
        gone = self._rolled_up()
        gone += self._delete(self._raw, [self._mine, between(MIN_TIME_MS, self._before_ms)])
        self._mark()
        gone += self._delete_ids("dead", self._letters())
        gone += self._delete_ids("verdicts", self._verdicts())
        return gone + self._record()

    # --- results and roll-ups ---

    def _rolled_up(self) -> int:
        """Whole periods; and those around the end in which there is something of before."""
        gone = 0
        for level in reversed(LEVELS_S):
            start_ms = self._around_ms(level)
            if self._has(level, start_ms):
                at_end = between(start_ms, start_ms + 1)
                gone += self._delete(self._rollups, [self._mine, _of(level), at_end])
        for level in reversed(LEVELS_S):
            whole = [_of(level), between(MIN_TIME_MS, self._before_ms - 1000 * level + 1)]
            gone += self._delete(self._rollups, [self._mine, *whole])
            self._delete(self._dirty, [{"term": {"swarming.agent": self._agent}}, *whole])
        return gone

    def _around_ms(self, level: int) -> int:
        """Where the period of this length begins in which the end is."""
        return self._before_ms // (1000 * level) * 1000 * level

    def _has(self, level: int, start_ms: int) -> bool:
        raw = [self._mine, between(start_ms, self._before_ms)]
        hours = [self._mine, _of(HOUR_S), between(start_ms, self._around_ms(HOUR_S))]
        return bool(
            read.count(self._engine, self._raw, raw)
            or (level > HOUR_S and read.count(self._engine, self._rollups, hours))
        )

    def _mark(self) -> None:
        day_ms = 1000 * LEVELS_S[-1]
        start_ms = self._around_ms(LEVELS_S[-1])
        day = [self._mine, between(start_ms, start_ms + day_ms)]
        until_ms = self._around_ms(HOUR_S) + HOUR_MS
        hour = read.results(self._engine, self._raw, self._before_ms, until_ms, [self._mine])
        fresh = {each.body["target"] for each in hour if "target" in each.body}
        kept = {
            bucket["key"]["target"]
            for bucket in read.composite(
                self._engine, self._rollups, day, [read.terms("target", "monitor.name")]
            )
        }
        marks = [
            read.Period(level, self._around_ms(level) // 1000, self._agent, target)
            for target in fresh | kept
            for level in (LEVELS_S if target in fresh else LEVELS_S[1:])
        ]
        self._rolling.put_marks(marks)

    # --- what is beside them ---

    def _letters(self) -> Iterator[str]:
        topics = (f"ping/{self._agent}", f"ping/{self._agent}/batch")
        after: Dead | None = None
        while letters := self._state.dead(LETTERS, after):
            for letter in letters:
                if letter.at_ms >= self._before_ms:
                    return
                if letter.topic in topics:
                    yield letter.id.partition(":")[2]
            after = letters[-1]

    def _verdicts(self) -> Iterator[str]:
        """Those that name it."""
        filters = [between(MIN_TIME_MS, self._before_ms)]
        sort = [("@timestamp", "asc"), ("_seq_no", "asc")]
        hits = read.pages(self._engine, f"{self._prefix}-verdicts", filters, sort)
        return (hit["_id"] for hit in hits if is_named(raw_of(hit)[2], self._agent))

    def _record(self) -> int:
        path = f"/{self._prefix}-agents/_doc/{self._agent}"
        found = self._engine.ask("GET", path, may_miss=True)
        if found is None:
            return 0
        _, facts, seen_ms, *_ = raw_of(found)
        if not is_past(facts, seen_ms, self._before_ms):
            return 0
        same = f"if_seq_no={found['_seq_no']}&if_primary_term={found['_primary_term']}"
        return int(self._engine.ask("DELETE", f"{path}?{same}", may_miss=True) is not None)

    # --- deleting ---

    def _delete(self, indices: str, filters: Sequence[Query]) -> int:
        """All that is found, part by part; what is deleted is not found again."""
        gone = 0
        sort = [("@timestamp", "asc")]
        while hits := list(
            read.pages(
                self._engine, indices, filters, sort,
                limit=MOST, source=(), more=",hits.hits._index",
            )
        ):  # fmt: skip
            lines = [action("delete", hit["_index"], hit["_id"]) for hit in hits]
            found = self._engine.ask("POST", _DELETE, b"".join(lines), timeout_s=TIMEOUT_S)
            if found["errors"]:
                raise StoreDown(f"some documents of {indices} cannot be deleted")
            gone += len(hits)
        return gone

    def _delete_ids(self, family: str, found: Iterable[str]) -> int:
        ids = list(found)
        self._state.delete(family, ids)
        return len(ids)


def _of(level: int) -> Query:
    return {"term": {"swarming.step_s": level}}
