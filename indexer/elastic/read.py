"""Searches: page after page in one order, results, the newest of each pair, roll-ups.

A search that lacks a shard is no answer: the engine is told to give all or nothing.
"""

import random
import time
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from agent.wire import Result
from indexer import rollup
from indexer.elastic.document import raw_of, result_of
from indexer.elastic.engine import Engine, Refusal
from indexer.elastic.fields import RAW
from indexer.rollup import HOUR_S, LEVELS_S
from indexer.store import Bucket

PAGE = 5000
TIMEOUT_S = 30.0
_PATIENCE_S, _PAUSE_S = 5.0, 0.5
SKETCHES = "swarming.sketches"
HOUR_MS = 3_600_000
MIN_TIME_MS, MAX_TIME_MS = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
_SEARCH = (
    "/_search?ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=false"
)
_HITS = "&filter_path=hits.hits._source,hits.hits.sort,hits.hits._id"
_IN_ORDER = ("observer.name", "swarming.epoch", "swarming.seq")  # of results of one moment
_RANGES = 200  # of time in one search

Query = dict[str, Any]


class Wanted(NamedTuple):
    """Which pairs: None is any."""

    agent: str | None = None
    target: str | None = None
    kind: str | None = None

    def filters(self) -> list[Query]:
        names = ("observer.name", "monitor.name", "monitor.type")
        return [
            {"term": {name: value}}
            for name, value in zip(names, self, strict=True)
            if value is not None
        ]


def between(since_ms: int, until_ms: int) -> Query:
    """since <= @timestamp < until, as far as there are such times."""
    span = {
        "gte": min(max(since_ms, MIN_TIME_MS), MAX_TIME_MS + 1),
        "lt": min(max(until_ms, MIN_TIME_MS), MAX_TIME_MS + 1),
        "format": "epoch_millis",
    }
    return {"range": {"@timestamp": span}}


def search(engine: Engine, indices: str, body: Query, path: str = "") -> Any:
    """The answer of all shards; one that is on its way (a new day's) is waited for a little."""
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return engine.ask("POST", f"/{indices}{_SEARCH}{path}", body, timeout_s=TIMEOUT_S)
        except Refusal as error:
            if error.status not in (429, 503) or time.monotonic() > end_s:
                raise
        time.sleep(random.uniform(0, _PAUSE_S))


def count(engine: Engine, indices: str, filters: Sequence[Query]) -> int:
    found = search(
        engine,
        indices,
        {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": list(filters)}}},
        "&filter_path=hits.total.value",
    )
    return int(found.get("hits", {}).get("total", {}).get("value", 0))


def pages(
    engine: Engine,
    indices: str,
    filters: Sequence[Query],
    sort: Sequence[tuple[str, str]],
    *,
    limit: int | None = None,
    source: Sequence[str] = (RAW,),
    more: str = "",
    size: int = PAGE,
    after: Sequence[Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """Every hit in this order, which has to be a total one."""
    body: Query = {
        "size": size,
        "track_total_hits": False,
        "query": {"bool": {"filter": list(filters)}},
        "sort": [{name: {"order": order}} for name, order in sort],
        "_source": list(source) or False,
    }
    if after is not None:
        body["search_after"] = list(after)
    while limit is None or limit > 0:
        if limit is not None:
            body["size"] = min(size, limit)
        hits = search(engine, indices, body, _HITS + more).get("hits", {}).get("hits", [])
        yield from hits
        if len(hits) < body["size"]:
            return
        limit = None if limit is None else limit - len(hits)
        body["search_after"] = hits[-1]["sort"]


def results(
    engine: Engine,
    indices: str,
    since_ms: int,
    until_ms: int,
    filters: Sequence[Query] = (),
    *,
    limit: int | None = None,
    newest_first: bool = False,
) -> Iterator[Result]:
    """By time. Of what comes in meanwhile some is told, and some is not."""
    order = "desc" if newest_first else "asc"
    sort = [("@timestamp", order), *((name, "asc") for name in _IN_ORDER)]
    where = [between(since_ms, until_ms), *filters]
    return map(result_of, pages(engine, indices, where, sort, limit=limit))


def composite(
    engine: Engine,
    indices: str,
    filters: Sequence[Query],
    sources: Sequence[Query],
    below: Query | None = None,
    *,
    more: str = "",
) -> Iterator[dict[str, Any]]:
    """Every bucket of these sources together."""
    inner: Query = {"size": 1000, "sources": list(sources)}
    body: Query = {
        "size": 0,
        "track_total_hits": False,
        "query": {"bool": {"filter": list(filters)}},
        "aggs": {"all": {"composite": inner} | ({"aggs": below} if below else {})},
    }
    while True:
        found = search(engine, indices, body, "&filter_path=aggregations" + more)
        told = found.get("aggregations", {}).get("all", {})
        yield from told.get("buckets", ())
        if "after_key" not in told:
            return
        inner["after"] = told["after_key"]


def terms(name: str, field: str) -> Query:
    """A source of `composite`; what lacks the field is left out."""
    return {name: {"terms": {"field": field}}}


def latest(engine: Engine, indices: str, since_ms: int) -> list[Result]:
    """The newest of each (agent, target, kind)."""
    newest = {"top_hits": {"size": 1, "sort": [{"@timestamp": "desc"}], "_source": [RAW]}}
    sources = [
        terms("agent", "observer.name"),
        terms("target", "monitor.name"),
        terms("kind", "monitor.type"),
    ]
    found = composite(engine, indices, _present(since_ms), sources, {"newest": newest})
    return [result_of(bucket["newest"]["hits"]["hits"][0]) for bucket in found]


def targets(engine: Engine, indices: str, since_ms: int) -> list[str]:
    filters = [*_present(since_ms), {"terms": {"monitor.type": ["icmp", "http"]}}]
    found = composite(engine, indices, filters, [terms("target", "monitor.name")])
    return sorted(bucket["key"]["target"] for bucket in found)


def _present(since_ms: int) -> list[Query]:
    return [
        between(since_ms, MAX_TIME_MS),
        {"bool": {"must_not": [{"term": {"swarming.future": True}}]}},
    ]


# --- roll-ups -----------------------------------------------------------------------------------


class Period(NamedTuple):
    """What a roll-up is of; also the mark that says that it has to be made again."""

    step_s: int
    start_s: int
    agent: str
    target: str


def buckets(
    engine: Engine, prefix: str, range_s: tuple[int, int], step_s: int, wanted: Wanted
) -> list[Bucket]:
    """Roll-ups as they stand where the step is theirs; merged where it is longer.

    A mark on a period is on every longer one around it, so a long period that is not rolled up yet
    (today) is made of the shorter ones that are. Only an hour is told as it stands.
    """
    level = rollup.level(step_s)
    assert level is not None
    marks = dirty(engine, prefix, range_s, wanted) if level > HOUR_S else set()
    exactly = step_s == level
    kept = rolled_up(engine, prefix, level, [range_s], wanted, sketches=not exactly)
    clean = [one for one in kept if level == HOUR_S or period_of(one[0]) not in marks]
    whole = [bucket for bucket, _ in clean] if exactly else []
    pieces = [] if exactly else clean
    below = LEVELS_S[: LEVELS_S.index(level) + 1]
    for lower, upper in zip(below[:-1], below[1:], strict=True):
        pieces += _pieces(engine, prefix, lower, upper, marks, wanted)
    pieces.sort(key=lambda piece: piece[0].start_ms)
    return whole + rollup.from_rollups(pieces, step_s)


def _pieces(
    engine: Engine, prefix: str, lower: int, upper: int, marks: set[Period], wanted: Wanted
) -> list[tuple[Bucket, bytes]]:
    """Clean roll-ups of a level, in dirty periods of the next."""
    starts = sorted({mark.start_s for mark in marks if mark.step_s == upper})
    found: list[tuple[Bucket, bytes]] = []
    for at in range(0, len(starts), _RANGES):
        ranges = [(start, start + upper) for start in starts[at : at + _RANGES]]
        found += rolled_up(engine, prefix, lower, ranges, wanted)
    return [
        one
        for one in found
        if period_of(one[0], upper) in marks and (lower == HOUR_S or period_of(one[0]) not in marks)
    ]


def period_of(bucket: Bucket, step_s: int | None = None) -> Period:
    """The period of this length around a bucket."""
    step_s = step_s or bucket.step_s
    start_s = bucket.start_ms // 1000 // step_s * step_s
    return Period(step_s, start_s, bucket.agent, bucket.target)


def rolled_up(
    engine: Engine,
    prefix: str,
    step_s: int,
    ranges_s: Sequence[tuple[int, int]],
    wanted: Wanted,
    more: Sequence[Query] = (),
    *,
    sketches: bool = True,
) -> Iterator[tuple[Bucket, bytes]]:
    """The roll-ups of a level whose start is in one of the ranges, by start."""
    filters: list[Query] = [
        {"term": {"swarming.step_s": step_s}},
        {"bool": {"should": [between(since * 1000, until * 1000) for since, until in ranges_s]}},
        *wanted.filters(),
        *more,
    ]
    sort = [(name, "asc") for name in ("@timestamp", "observer.name", "monitor.name",
                                       "monitor.type")]  # fmt: skip
    source = [RAW, SKETCHES] if sketches else [RAW]
    hits = pages(engine, f"{prefix}-rollups-*", filters, sort, source=source)
    return map(rollup_of, hits)


def rollup_of(hit: dict[str, Any]) -> tuple[Bucket, bytes]:
    told = raw_of(hit)
    told[18], told[19] = tuple(told[18]), tuple(told[19])
    packed = hit["_source"]["swarming"].get("sketches")
    return Bucket._make(told), bytes.fromhex(packed) if packed else b""


def dirty(engine: Engine, prefix: str, range_s: tuple[int, int], wanted: Wanted) -> set[Period]:
    """The marks on longer periods that overlap with the range."""
    since_s, until_s = range_s
    filters: list[Query] = [
        {"range": {"swarming.step_s": {"gt": HOUR_S}}},
        between((since_s - LEVELS_S[-1]) * 1000, until_s * 1000),
        *(
            {"term": {f"swarming.{name}": value}}
            for name, value in (("agent", wanted.agent), ("target", wanted.target))
            if value is not None
        ),
    ]
    return {
        Period._make(raw_of(hit)) for hit in pages(engine, f"{prefix}-dirty", filters, BY_PERIOD)
    }


BY_PERIOD = (
    *(("@timestamp", "asc"), ("swarming.step_s", "asc")),
    *(("swarming.agent", "asc"), ("swarming.target", "asc")),
)
BY_PAIR = itemgetter(0, 1, 2, 3)  # of buckets: agent, target, kind, start
