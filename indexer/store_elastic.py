"""The store over Elasticsearch or OpenSearch: one document a result, in plain indices of a day.

- A result's `_id` is its identity and it is only ever created: stored already is an answer (409),
  not an error. Each index is written through to the disk before an item is answered.
- What the engine does not take is judged item by item (elastic/bulk.py): refused for good is a
  dead letter, all else StoreDown, and the same call may simply be made again.
- Whole indices of a day are dropped, so up to a day more is kept than was asked for.
- What this process wrote it also reads, and what others had written when it opened: what was
  written to is refreshed first.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from agent.wire import Result, encode_result, ping_topic
from indexer import rollup
from indexer.elastic import address, document, read, templates
from indexer.elastic.bulk import Bulk, Sending
from indexer.elastic.document import Known
from indexer.elastic.engine import Engine, Refusal, check_access
from indexer.elastic.forget import Forgetting
from indexer.elastic.read import BY_PAIR, HOUR_MS, Wanted
from indexer.elastic.rollup import Rolling
from indexer.elastic.state import State
from indexer.rollup import HOUR_S
from indexer.store import (
    FUTURE_MS,
    AgentRecord,
    Bucket,
    Dead,
    Put,
    Rollup,
    StoreRefused,
    Told,
    WatchChange,
)

RAW_FROM = "raw from hour"  # the fact: raw results of earlier hours are dropped
_NOTE_S = 600.0  # with more to do than can be done, what is new is noted after this at the latest
_PART = 1000  # results of a put that are on their way while the next are written down
_REMEMBER_S = 300.0  # how long others' word on agents and on what is dropped is believed
_MOST_REFRESHED = 40  # indices that are named in one request
DAY_MS = 24 * HOUR_MS

log = logging.getLogger("swarming.elastic")


class ElasticStore:
    """indexer.store.Store over a cluster. Raises StoreRefused or StoreDown when it cannot open."""

    rows_a_put = 4000

    def __init__(self, text: str, *, look: bool = False, secrets: str = "SWARMING_STORE") -> None:
        """look: nothing is made or asked for that reading does not need."""
        where = address.parse(text)
        if where.indices is not None:
            raise StoreRefused("a store's indices are named by its prefix, not by the address")
        check_access(where, secrets)
        self._engine = Engine(where, secrets)
        self._prefix = where.prefix
        self._bulk = Bulk(self._engine)
        self._state = State(self._engine, self._bulk)
        self._rolling = Rolling(self._engine, self._bulk, self._state)
        self._rolls = threading.Lock()
        self._note_s = 0.0
        self._written: set[str] = set()  # indices that were written to since they were read
        self._known: Known = {}
        self._raw_from_hour: int | None = None
        self._look_s = 0.0
        try:
            templates.check(self._engine, look)
            if not look:
                self._engine.ask("POST", f"/{self._prefix}-*/_refresh", timeout_s=60)
        except BaseException:
            self._engine.close()
            raise

    # --- results --------------------------------------------------------------------------------

    def put(self, results: Sequence[Result], now_ms: int) -> Put:
        if not results:
            return Put(0, 0, 0)
        self._look({each.agent for each in results})
        fresh = [each for each in results if self._is_kept(each)]
        indices = {document.family_of(each) for each in fresh}
        cut = [fresh[at : at + _PART] for at in range(0, len(fresh), _PART)]
        with self._writing(*indices):
            sent = [Sending(self._bulk, self._lines(some, now_ms)) for some in cut]
            for part in sent:
                part.join()  # all of them, also when one fails: nothing goes on behind our back
            items = [item for part in sent for item in part.items()]
        words = [item.word for item in items]
        bad = [
            Dead(now_ms, ping_topic(each.agent), encode_result(each), item.reason)
            for each, item in zip(fresh, items, strict=True)
            if item.word == "bad"
        ]
        if bad:
            self.put_dead(bad)
        too_old = len(results) - len(fresh)
        return Put(words.count("stored"), words.count("known"), too_old, len(bad))

    def _lines(self, results: Sequence[Result], now_ms: int) -> list[bytes]:
        return [
            document.line(
                self._prefix, each, self._known, now_ms, each.time_ms > now_ms + FUTURE_MS
            )
            for each in results
        ]

    def _is_kept(self, result: Result) -> bool:
        dropped = self._raw_from_hour
        return dropped is None or result.time_ms // HOUR_MS >= dropped or result.clock == "unsynced"

    def _look(self, agents: set[str]) -> None:
        """What other indexers have written of these agents and of what is dropped, now and then."""
        now_s = time.monotonic()
        if now_s >= self._look_s:
            self._raw_from_hour = self._state.fact(RAW_FROM)
            self._known = {}
            self._look_s = now_s + _REMEMBER_S
        new = agents - self._known.keys()
        if new:
            self._known |= dict.fromkeys(new, {}) | self._state.who(sorted(new))

    def results(
        self,
        since_ms: int,
        until_ms: int,
        *,
        agent: str | None = None,
        target: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Iterator[Result]:
        self._read("results-", "unsynced")
        indices = document.indices_of(self._prefix, since_ms, until_ms)
        yield from read.results(
            self._engine,
            f"{indices},{self._prefix}-unsynced",
            since_ms,
            until_ms,
            Wanted(agent, target, kind).filters(),
            limit=limit,
            newest_first=newest_first,
        )

    def buckets(
        self,
        since_ms: int,
        until_ms: int,
        step_s: int,
        *,
        agent: str | None = None,
        target: str | None = None,
        kind: str | None = None,
    ) -> list[Bucket]:
        wanted = Wanted(agent, target, kind)
        since_ms -= since_ms % (step_s * 1000)
        if rollup.level(step_s) is None:
            found = self._short(since_ms, until_ms, step_s, wanted)
        else:
            found = self._long(since_ms, until_ms, step_s, wanted)
        found.sort(key=BY_PAIR)
        return found

    def _short(self, since_ms: int, until_ms: int, step_s: int, wanted: Wanted) -> list[Bucket]:
        """From raw; from hours where raw is dropped."""
        raw_from_ms = self.raw_from_ms() or since_ms
        old_ms = min(until_ms, raw_from_ms)
        found = self._long(since_ms, old_ms, HOUR_S, wanted) if since_ms < old_ms else []
        kind = "ladder" if wanted.kind in rollup.RUNGS else wanted.kind
        self._read("results-")
        since_ms = max(since_ms, raw_from_ms)
        raw = read.results(
            self._engine,
            document.indices_of(self._prefix, since_ms, until_ms),
            since_ms,
            until_ms,
            wanted._replace(kind=kind).filters(),
        )
        fresh = rollup.from_raw(raw, step_s)
        return found + [each for each in fresh if wanted.kind in (None, each.kind)]

    def _long(self, since_ms: int, until_ms: int, step_s: int, wanted: Wanted) -> list[Bucket]:
        self._read("rollups-", "dirty")
        range_s = (since_ms // 1000, -(-until_ms // 1000))
        return read.buckets(self._engine, self._prefix, range_s, step_s, wanted)

    def latest(self, since_ms: int, *, unsynced: bool = False) -> list[Result]:
        self._read("results-", "unsynced")
        indices = f"{self._prefix}-{'unsynced' if unsynced else 'results-*'}"
        return read.latest(self._engine, indices, since_ms)

    def targets(self, since_ms: int) -> list[str]:
        self._read("results-", "unsynced")
        indices = f"{self._prefix}-results-*,{self._prefix}-unsynced"
        return read.targets(self._engine, indices, since_ms)

    # --- roll-ups and retention -----------------------------------------------------------------

    def rollup(self, now_ms: int, limit: int = 2000) -> int:
        """What was noted is made whole before the next is noted, or the running hour alone, which
        changes all the time, would keep a large swarm busy."""
        with self._rolls, self._writing("rollups-*", "dirty"):
            self._rolling.roll(now_ms, limit)
            left = self._rolling.left(now_ms)
            if left == 0 or time.monotonic() >= self._note_s:
                self._note_s = time.monotonic() + _NOTE_S
                self._rolling.note()
                self._rolling.roll(now_ms, limit)
                left = self._rolling.left(now_ms)
            return left

    def retain(self, now_ms: int, keep_raw_ms: int) -> int:
        before_ms = now_ms - keep_raw_ms
        self._read("dead", "verdicts")
        self._state.retain(before_ms)
        dropped = 0
        for index, day in sorted(self._days().items()):
            if (day + 1) * DAY_MS <= before_ms:
                try:
                    with self._rolls:
                        dropped += self._drop(index, day)
                except Refusal as error:
                    log.warning("%s is not dropped: %s", index, error)
        return dropped

    def _days(self) -> dict[str, int]:
        """The indices of results that are open, and their days: what is closed stays."""
        path = f"/{self._prefix}-results-*/_settings/index.uuid?expand_wildcards=open"
        days = {name: document.day_of(self._prefix, name) for name in self._engine.ask("GET", path)}
        return {name: day for name, day in days.items() if day is not None}

    def _drop(self, index: str, day: int) -> int:
        """Rolled up first; from then on the hours that it had take no more results."""
        newest = {"newest": {"max": {"field": "@timestamp"}}}
        body = {"size": 0, "track_total_hits": True, "aggs": newest}
        self._engine.ask("POST", f"/{index}/_refresh", timeout_s=60)
        found = read.search(self._engine, index, body)
        newest_ms = found.get("aggregations", {}).get("newest", {}).get("value")
        if newest_ms is not None:
            self.put_raw_from((int(newest_ms) // HOUR_MS + 1) * HOUR_MS)
        before = self._rolling.checkpoints().get(index)
        with self._writing("rollups-*", "dirty"):
            self._rolling.note()
            self._rolling.roll_hours(day * DAY_MS, (day + 1) * DAY_MS)
        if self._rolling.checkpoints().get(index) != before:
            log.info("%s still takes results: it is dropped the next time", index)
            return 0
        self._engine.ask("DELETE", f"/{index}", timeout_s=60, may_miss=True)
        self._rolling.forget(index)
        return int(found["hits"]["total"]["value"])

    def forget(self, agent: str, before_ms: int) -> int:
        families = ("results-", "unsynced", "rollups-", "dirty", "dead", "verdicts", "agents")
        self._read(*families)
        with self._rolls, self._writing("rollups-*", "dirty", "agents"):
            self._known.pop(agent, None)
            return Forgetting(self._engine, self._rolling, self._state, agent, before_ms).all()

    def raw_from_ms(self) -> int | None:
        hour = self._state.fact(RAW_FROM)
        return None if hour is None else int(hour) * HOUR_MS

    def put_raw_from(self, at_ms: int) -> None:
        hour = max(at_ms // HOUR_MS, self._state.fact(RAW_FROM) or 0)
        self._state.put_fact(RAW_FROM, hour)
        self._raw_from_hour = hour

    def rollups(self, since_ms: int, until_ms: int) -> Iterator[Rollup]:
        self._read("rollups-")
        range_s = (-(-since_ms // 1000), -(-until_ms // 1000))
        found = read.rolled_up(self._engine, self._prefix, HOUR_S, [range_s], Wanted())
        yield from map(Rollup._make, found)

    def put_rollups(self, rollups: Sequence[Rollup]) -> None:
        with self._writing("rollups-*", "dirty"):
            self._rolling.put(rollups)
            self._rolling.mark_longer({read.period_of(each.bucket) for each in rollups})

    # --- what is kept beside the results --------------------------------------------------------

    def put_dead(self, letters: Sequence[Dead]) -> None:
        with self._writing("dead"):
            self._state.put_dead(letters)

    def dead(self, limit: int = 1000, after: Dead | None = None) -> list[Dead]:
        self._read("dead")
        return self._state.dead(limit, after)

    def drop_dead(self, ids: Iterable[str]) -> None:
        self._state.drop_dead(ids)

    def put_agents(self, records: Sequence[AgentRecord]) -> None:
        self._known |= {each.agent: document.who(each.facts) for each in records}
        with self._writing("agents"):
            self._state.put_agents(records)

    def agents(self) -> list[AgentRecord]:
        self._read("agents")
        return self._state.agents()

    def put_watch(self, at_ms: int, scope: str, text: str | None, who: str) -> None:
        with self._writing("watches"):
            self._state.put_watch(at_ms, scope, text, who)

    def watch_history(self, scope: str | None = None, limit: int = 100) -> list[WatchChange]:
        self._read("watches")
        return self._state.watch_history(scope, limit)

    def put_verdict(self, at_ms: int, target: str, facts: dict[str, Any]) -> None:
        with self._writing("verdicts"):
            self._state.put_verdict(at_ms, target, facts)

    def verdicts(
        self, since_ms: int, until_ms: int, *, target: str | None = None, limit: int = 1000
    ) -> list[Told]:
        self._read("verdicts")
        return self._state.verdicts(since_ms, until_ms, target, limit)

    def lease(self, what: str, holder: str, now_ms: int, ttl_ms: int) -> bool:
        return self._state.lease(what, holder, now_ms, ttl_ms)

    def put_fact(self, key: str, value: Any) -> None:
        self._state.put_fact(key, value)

    def fact(self, key: str) -> Any:
        return self._state.fact(key)

    # --- the engine -----------------------------------------------------------------------------

    @contextmanager
    def _writing(self, *families: str) -> Iterator[None]:
        """What is written in the block is found by whoever reads after it."""
        try:
            yield
        finally:
            self._written |= {f"{self._prefix}-{family}" for family in families}

    def _read(self, *families: str) -> None:
        """Afterwards all is found in these families that this process has written."""
        begins = tuple(f"{self._prefix}-{family}" for family in families)
        seen = {index for index in self._written.copy() if index.startswith(begins)}
        mine = seen
        if len(mine) > _MOST_REFRESHED:
            mine = {index for index in mine if not index.startswith(f"{self._prefix}-results-")}
            mine.add(f"{self._prefix}-results-*")
        if mine:
            self._written -= seen
            path = f"/{','.join(sorted(mine))}/_refresh?ignore_unavailable=true"
            try:
                self._engine.ask("POST", path, timeout_s=read.TIMEOUT_S)
            except BaseException:
                self._written |= seen
                raise

    def backup(self, path: str) -> None:
        raise StoreRefused(
            "an engine is backed up by its own snapshots, or by: "
            f"swarming-indexer copy --from {self._engine.address.scheme}:… --to sqlite:{path}"
        )

    def check(self) -> None:
        self.put_fact("checked", time.time())

    def close(self) -> None:
        self._engine.close()
