"""Reads saved objects as Kibana or OpenSearch Dashboards would, as far as can be done without them.

It shares no code with what makes them: `read` takes the lines, `complaints` says what would not
work. What each panel would ask the engine is in dashboards_asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from indexer.elastic import fields
from tests.dashboards_query import fields_in

FIELDS_OF = {
    "results-*": fields.RESULT,
    "unsynced": fields.RESULT,
    "rollups-*": fields.ROLLUP,
    "verdicts": fields.VERDICT,
    "agents": fields.AGENT,
}
NUMBERS = {"float", "long", "integer"}
WORDS = {"keyword", "ip", "boolean"}
FITTING = {
    "avg": NUMBERS,
    "sum": NUMBERS,
    "median": NUMBERS,
    "percentiles": NUMBERS,
    "min": NUMBERS | {"date"},
    "max": NUMBERS | {"date"},
    "cardinality": NUMBERS | WORDS,
    "terms": NUMBERS | WORDS,
    "histogram": NUMBERS,
    "date_histogram": {"date"},
}
XY = {"line", "area", "histogram", "horizontal_bar"}
PLACES_OF = {
    **dict.fromkeys(XY, {"metric", "segment", "group"}),
    "heatmap": {"metric", "segment", "group"},
    "table": {"metric", "bucket"},
    "metric": {"metric", "group"},
    "markdown": set[str](),
}
BUCKETS = {"terms", "histogram", "date_histogram"}
DASHBOARD_KEYS = {
    *("title", "description", "kibanaSavedObjectMeta", "timeRestore", "timeFrom", "timeTo"),
    *("refreshInterval", "panelsJSON", "optionsJSON", "hits", "version"),
}
COLUMNS = 48
INDEX = "kibanaSavedObjectMeta.searchSourceJSON.index"

Object = dict[str, Any]
Key = tuple[str, str]


def read(text: str) -> dict[Key, Object]:
    """The objects by type and id, in their order. AssertionError for what is no such file."""
    found: dict[Key, Object] = {}
    ids = set()
    for line in text.splitlines():
        one = json.loads(line)
        assert set(one) >= {"type", "id", "attributes", "references", "migrationVersion"}, line
        assert one["id"] not in ids, f"{one['id']} is there twice"
        ids.add(one["id"])
        found[one["type"], one["id"]] = one
    return found


# --- what would not work ------------------------------------------------------------------------


def complaints(objects: dict[Key, Object], kind: str) -> list[str]:
    return [f"{one['id']}: {text}" for one in objects.values() for text in _of(one, objects, kind)]


def _of(one: Object, objects: dict[Key, Object], kind: str) -> Iterator[str]:
    for reference in one["references"]:
        if (reference["type"], reference["id"]) not in objects:
            yield f"refers to {reference['type']} {reference['id']}, which is not there"
    if set(one["migrationVersion"]) != {one["type"]}:
        yield "the version is of another type"
    known = {
        "index-pattern": _of_view,
        "visualization": _of_visualization,
        "search": _of_search,
        "dashboard": _of_dashboard,
    }
    yield from known[one["type"]](one, objects, kind)


def _of_view(one: Object, objects: dict[Key, Object], kind: str) -> Iterator[str]:
    attributes = one["attributes"]
    types = _types(one)
    time = attributes.get("timeFieldName")
    if time is not None and types.get(time) != "date":
        yield f"the time is {time}, which is no date"
    for name in ("fieldAttrs", "fieldFormatMap"):
        for field in json.loads(attributes.get(name, "{}")):
            if field not in types:
                yield f"{name} tells of {field}, which is no field"
    if kind == "kibana" and not all(
        0 < len(told["customDescription"]) <= 300
        for told in json.loads(attributes["fieldAttrs"]).values()
    ):
        yield "a description is empty, or too long for Kibana"
    if json.loads(attributes.get("runtimeFieldMap", "{}")):
        yield "it has runtime fields"


def _of_visualization(one: Object, objects: dict[Key, Object], kind: str) -> Iterator[str]:
    state = json.loads(one["attributes"]["visState"])
    json.loads(one["attributes"]["uiStateJSON"])
    if state["title"] != one["attributes"]["title"]:
        yield "the titles differ"
    if state["type"] == "markdown":
        for name in re.findall(r"\(#/view/([^)]*)\)", state["params"]["markdown"]):
            if ("dashboard", name) not in objects:
                yield f"links to {name}, which is no dashboard"
        return
    yield from _ofsource_of(one, objects)
    yield from _of_aggs(state, _types(view_of(one, objects)))
    if state["type"] in XY:
        yield from _of_axes(state)


def _of_aggs(state: dict[str, Any], types: dict[str, str]) -> Iterator[str]:
    numbers = [agg["id"] for agg in state["aggs"]]
    if len(set(numbers)) != len(numbers):
        yield "two aggregations share an id"
    if not any(agg["schema"] == "metric" for agg in state["aggs"]):
        yield "it has no number to show"
    for agg in state["aggs"]:
        if agg["schema"] not in PLACES_OF[state["type"]]:
            yield f"a {state['type']} has no place called {agg['schema']}"
        if (agg["type"] in BUCKETS) == (agg["schema"] == "metric"):
            yield f"{agg['type']} stands in the place of {agg['schema']}"
        yield from _of_field(agg, types)


def _of_field(agg: dict[str, Any], types: dict[str, str]) -> Iterator[str]:
    params = agg["params"]
    if agg["type"] == "count":
        if "field" in params:
            yield "a count has a field"
        return
    field = params["field"]
    if field not in types:
        yield f"{agg['type']} of {field}, which is no field of these indices"
    elif types[field] not in FITTING[agg["type"]]:
        yield f"{agg['type']} of {field}, which is a {types[field]}"
    if agg["type"] == "terms" and params["missingBucket"] and types.get(field) != "keyword":
        yield f"a bucket of those without {field}, which is no word"
    if agg["type"] == "terms" and not 0 < params["size"] <= 1000:
        yield f"{params['size']} terms of {field}"


def _of_axes(state: dict[str, Any]) -> Iterator[str]:
    params = state["params"]
    axes = {axis["id"] for axis in params["valueAxes"]}
    drawn = [series["data"]["id"] for series in params["seriesParams"]]
    shown = [agg["id"] for agg in state["aggs"] if agg["schema"] == "metric"]
    if drawn != shown:
        yield f"series {drawn} are drawn, and there are {shown}"
    if not {series["valueAxis"] for series in params["seriesParams"]} <= axes:
        yield "a series has no axis"


def _of_search(one: Object, objects: dict[Key, Object], kind: str) -> Iterator[str]:
    yield from _ofsource_of(one, objects)
    types = _types(view_of(one, objects))
    for field in one["attributes"]["columns"]:
        if field not in types:
            yield f"shows {field}, which is no field of these indices"
    for field, direction in one["attributes"]["sort"]:
        if types.get(field) != "date" or direction not in ("asc", "desc"):
            yield f"is in the order of {field} {direction}"


def _ofsource_of(one: Object, objects: dict[Key, Object]) -> Iterator[str]:
    source = source_of(one)
    if [reference["name"] for reference in one["references"]] != [source.get("indexRefName")]:
        yield "its view is not the one thing that it refers to"
    types = _types(view_of(one, objects))
    for field in fields_in(source["query"]["query"]):
        if field not in types:
            yield f"looks for {field}, which is no field of these indices"


def _of_dashboard(one: Object, objects: dict[Key, Object], kind: str) -> Iterator[str]:
    if not set(one["attributes"]) <= DASHBOARD_KEYS:
        yield "it has what Kibana forbids"
    panels = json.loads(one["attributes"]["panelsJSON"])
    json.loads(one["attributes"]["optionsJSON"])
    named = {reference["name"] for reference in one["references"]}
    used = {name_of(panel, kind) for panel in panels}
    if named != used:
        yield f"its panels and what it refers to differ: {sorted(named ^ used)}"
    types = {reference["name"]: reference["type"] for reference in one["references"]}
    for panel in panels:
        if kind == "kibana" and panel["type"] != types.get(name_of(panel, kind)):
            yield f"panel {panel['panelIndex']} is of another type than what it refers to"
    yield from _of_places(panels)


def _of_places(panels: list[dict[str, Any]]) -> Iterator[str]:
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridData"]
        if place["i"] != panel["panelIndex"]:
            yield f"panel {panel['panelIndex']} has the place of {place['i']}"
        if place["x"] + place["w"] > COLUMNS:
            yield f"panel {place['i']} stands over the edge"
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if taken & cells:
            yield f"panel {place['i']} lies on another one"
        taken |= cells


def name_of(panel: dict[str, Any], kind: str) -> str:
    name = str(panel["panelRefName"])
    return f"{panel['panelIndex']}:{name}" if kind == "kibana" else name


def source_of(one: Object) -> dict[str, Any]:
    source = json.loads(one["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert source["query"]["language"] == "kuery"
    return dict(source)


def view_of(one: Object, objects: dict[Key, Object]) -> Object:
    references = {reference["name"]: reference for reference in one["references"]}
    return objects["index-pattern", references[INDEX]["id"]]


def _types(view: Object) -> dict[str, str]:
    """The type of every field that documents of the view can have, by the list of fields."""
    indices = view["attributes"]["title"].split(",")
    families = [name for one in indices for name in FIELDS_OF if one.endswith(f"-{name}")]
    assert len(families) == len(indices), f"{indices} are not all ours"
    return {field.name: field.type for name in families for field in FIELDS_OF[name]}
