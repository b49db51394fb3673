"""Results of the first swarms, read from the indices that their indexer kept: `logstash-*`.

They are read by time, page after page; each page begins with the moment that the one before ended
with, so no order within a moment is needed, and nothing is kept open in the engine.
"""

from collections.abc import Iterator
from typing import Any

from agent.wire import Result, WireError, rfc3339
from indexer import classic
from indexer.elastic import address
from indexer.elastic.engine import Engine, check_access
from indexer.store import StoreDown, StoreRefused
from indexer.stores import SOURCE

PAGE = 2000
_MOST = 10_000  # hits in one answer, by the engine's own limit
_TIMEOUT_S = 60.0
_TIMES_MS = (-62_135_596_800_000, 253_402_300_799_999)  # of the years 1 to 9999
_SEARCH = "_search?ignore_unavailable=true&allow_partial_search_results=false"


class OldSwarm:
    """The indices at an address with a pattern after the host. `skipped` counts documents that are
    no results, `example` says of one of them why."""

    def __init__(self, text: str) -> None:
        where = address.parse(text)
        if where.indices is None:
            raise StoreRefused(f"{text} names no indices: …/logstash-* for example")
        check_access(where, SOURCE)
        self.skipped = 0
        self.example = ""
        self._indices = where.indices
        self._engine = Engine(where, SOURCE)
        self._check()

    def results(
        self, since_ms: int, until_ms: int, *, limit: int | None = None, newest_first: bool = False
    ) -> Iterator[Result]:
        """By time, as of a store."""
        for hit in self._hits(since_ms, until_ms, newest_first):
            if limit is not None and limit <= 0:
                return
            result = self._result(hit)
            if result is not None:
                limit = None if limit is None else limit - 1
                yield result

    def lines(self) -> list[str]:
        """What is to be told of the documents that are no results."""
        if not self.skipped:
            return []
        return [f"documents that are no results: {self.skipped}, for example {self.example}"]

    def close(self) -> None:
        self._engine.close()

    def _check(self) -> None:
        """Documents without a time are in no order: counted here."""
        missing = {"bool": {"must_not": [{"exists": {"field": "@timestamp"}}]}}
        body = {"size": 0, "track_total_hits": True, "query": missing}
        found = self._engine.ask("POST", f"/{self._indices}/{_SEARCH}", body, timeout_s=_TIMEOUT_S)
        if not found["_shards"]["total"]:
            raise StoreRefused(
                f"there are no indices {self._indices} at {self._engine.address.urls[0]}"
            )
        self.skipped = found["hits"]["total"]["value"]
        self.example = "no @timestamp" if self.skipped else ""

    def _hits(self, since_ms: int, until_ms: int, newest_first: bool) -> Iterator[dict[str, Any]]:
        since_ms, until_ms = max(since_ms, _TIMES_MS[0]), min(until_ms, _TIMES_MS[1])
        moment_ms, seen = since_ms, set[tuple[str, str]]()  # what of this moment was told
        size = PAGE
        while True:
            hits = self._page(since_ms, until_ms, newest_first, size)
            yield from (hit for hit in hits if (hit["_index"], hit["_id"]) not in seen)
            if len(hits) < size:
                return
            end_ms = hits[-1]["sort"][0]
            here = {(hit["_index"], hit["_id"]) for hit in hits if hit["sort"][0] == end_ms}
            seen = here | seen if end_ms == moment_ms else here
            moment_ms = end_ms
            if len(here) == size:
                size = _larger(size, end_ms)
            since_ms, until_ms = (since_ms, end_ms + 1) if newest_first else (end_ms, until_ms)

    def _page(
        self, since_ms: int, until_ms: int, newest_first: bool, size: int
    ) -> list[dict[str, Any]]:
        span = {"gte": since_ms, "lt": until_ms, "format": "epoch_millis"}
        order = {"order": "desc" if newest_first else "asc", "unmapped_type": "date"}
        body = {
            "size": size,
            "track_total_hits": False,
            "query": {"range": {"@timestamp": span}},
            "sort": [{"@timestamp": order | {"numeric_type": "date"}}],
            "_source": [*classic.DOCUMENT],
        }
        found = self._engine.ask("POST", f"/{self._indices}/{_SEARCH}", body, timeout_s=_TIMEOUT_S)
        hits: list[dict[str, Any]] = found["hits"]["hits"]
        return hits

    def _result(self, hit: dict[str, Any]) -> Result | None:
        index, name = hit["_index"], hit["_id"]
        try:
            return classic.of_document(index, name, hit["sort"][0], hit.get("_source"))
        except WireError as error:
            self.skipped += 1
            self.example = self.example or f"{index}/{name}: {error}"
            return None


def _larger(size: int, end_ms: int) -> int:
    """For a moment that fills a whole page."""
    if size == _MOST:
        raise StoreDown(f"{_MOST} documents and more are of {rfc3339(end_ms)}")
    return min(_MOST, 2 * size)
