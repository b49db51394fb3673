"""What an engine really holds of a swarm's results, asked past every part of the product."""

from __future__ import annotations

import time
from typing import Any

from tests.engine import Engine

_PAGE = 10_000


def documents(engine: Engine, prefix: str) -> int:
    """How many results it holds."""
    indices = _refreshed(engine, prefix)
    count = _asked(engine, "GET", f"/{indices}/_count?{_ANY}")["count"]
    return int(count)


def ids(engine: Engine, prefix: str) -> list[str]:
    """The ids of all results that it holds, twice where it holds one twice."""
    indices = _refreshed(engine, prefix)
    body: dict[str, Any] = {
        "size": _PAGE,
        "_source": False,
        "sort": [{"observer.name": "asc"}, {"swarming.epoch": "asc"}, {"swarming.seq": "asc"},
                 {"@timestamp": "asc"}],
    }  # fmt: skip
    found: list[str] = []
    while True:
        hits = _asked(engine, "POST", f"/{indices}/_search?{_ANY}", body)["hits"]["hits"]
        found += [hit["_id"] for hit in hits]
        if len(hits) < _PAGE:
            return found
        body["search_after"] = hits[-1]["sort"]


def check_copies(engine: Engine, prefix: str, copies: int) -> None:
    """Every copy of every shard holds the same number of results."""
    indices = _refreshed(engine, prefix)
    told = _asked(engine, "GET", f"/{indices}/_stats/docs?level=shards&{_ANY}")["indices"]
    for index, facts in told.items():
        for shard, held in facts["shards"].items():
            counts = [copy["docs"]["count"] for copy in held]
            assert len(counts) == copies and len(set(counts)) == 1, f"{index} {shard}: {counts}"


def written(engine: Engine, prefix: str) -> dict[str, Any]:
    """How often each index of results was asked to write, whatever came of it."""
    path = f"/{prefix}-results-*/_stats/indexing?filter_path=indices.*.total.indexing"
    told = _asked(engine, "GET", path).get("indices", {})
    names = ("index_total", "index_failed", "delete_total")
    return {
        index: [facts["total"]["indexing"][name] for name in names]
        for index, facts in told.items()
    }


def check_stands_still(engine: Engine, prefix: str, for_s: float) -> None:
    """Nothing is written any more."""
    before = written(engine, prefix)
    time.sleep(for_s)
    assert written(engine, prefix) == before, "somebody still writes"


_ANY = "ignore_unavailable=true&allow_no_indices=true"


def _refreshed(engine: Engine, prefix: str) -> str:
    indices = f"{prefix}-results-*,{prefix}-unsynced"
    _asked(engine, "POST", f"/{indices}/_refresh?{_ANY}")
    return indices


def _asked(engine: Engine, method: str, path: str, body: Any = None) -> Any:
    """An engine that is only just up again may want a moment."""
    for _ in range(60):
        status, answer = engine.ask(method, path, body, timeout_s=60)
        if status == 200 and not answer.get("_shards", {}).get("failed"):
            return answer
        time.sleep(0.5)
    raise AssertionError(f"{method} {path}: {status} {answer}")
