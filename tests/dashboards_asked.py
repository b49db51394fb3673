"""What each panel of a dashboard asks the engine, made of the saved objects alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.dashboards_query import query_of
from tests.dashboards_reader import BUCKETS, Key, Object, name_of, source_of, view_of

AUTO = "1h"  # instead of what the tools make of the time range


class Search(NamedTuple):
    """What one panel asks; `panel` is its id."""

    panel: str
    indices: str
    body: dict[str, Any]


def searches(objects: dict[Key, Object], kind: str) -> Iterator[Search]:
    """What every panel of every dashboard asks the engine."""
    for (what, _), one in objects.items():
        if what != "dashboard":
            continue
        references = {reference["name"]: reference for reference in one["references"]}
        for panel in json.loads(one["attributes"]["panelsJSON"]):
            reference = references[name_of(panel, kind)]
            shown = objects[reference["type"], reference["id"]]
            if shown["references"]:
                yield _search(shown, objects, one["attributes"]["timeFrom"])


def _search(one: Object, objects: dict[Key, Object], since: str) -> Search:
    view = view_of(one, objects)
    time = view["attributes"].get("timeFieldName")
    filters = [query_of(source_of(one)["query"]["query"])]
    if time is not None:
        filters.append({"range": {time: {"gte": since, "lte": "now"}}})
    body: dict[str, Any] = {"query": {"bool": {"filter": filters}}, "track_total_hits": True}
    if one["type"] == "search":
        order = [{field: direction} for field, direction in one["attributes"]["sort"]]
        body |= {"size": 20, "sort": order, "_source": one["attributes"]["columns"]}
    else:
        state = json.loads(one["attributes"]["visState"])
        body |= {"size": 0, "aggs": _aggs(state["aggs"])}
    return Search(one["id"], view["attributes"]["title"], body)


def _aggs(aggs: list[dict[str, Any]]) -> dict[str, Any]:
    """Each bucket within the one before, the numbers in the innermost."""
    buckets = [agg for agg in aggs if agg["type"] in BUCKETS]
    inside = {agg["id"]: _asked(agg) for agg in aggs if agg["type"] not in BUCKETS | {"count"}}
    for agg in reversed(buckets):
        inside = {agg["id"]: _asked(agg) | ({"aggs": inside} if inside else {})}
    return inside


def _asked(agg: dict[str, Any]) -> dict[str, Any]:
    params = agg["params"]
    field = {"field": params["field"]}
    if agg["type"] in ("percentiles", "median"):
        return {"percentiles": field | {"percents": params["percents"]}}
    if agg["type"] == "date_histogram":
        assert params["interval"] == "auto"
        return {"date_histogram": field | {"fixed_interval": AUTO, "min_doc_count": 1}}
    if agg["type"] == "histogram":
        return {"histogram": field | {"interval": params["interval"], "min_doc_count": 1}}
    if agg["type"] == "terms":
        missing = {"missing": "__missing__"} if params["missingBucket"] else {}
        return {"terms": field | missing | {"size": params["size"], "order": _order(params)}}
    return {agg["type"]: field}


def _order(params: dict[str, Any]) -> dict[str, str]:
    if params["orderBy"] == "custom":
        assert params["orderAgg"]["type"] == "count"
        return {"_count": params["order"]}
    return {params["orderBy"]: params["order"]}
