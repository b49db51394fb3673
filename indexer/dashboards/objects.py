"""The description as saved objects of Kibana 8 or of OpenSearch Dashboards. Pure.

An object has the same id wherever it is installed, so installing again replaces it. The versions
say how old its form is; each tool brings it up to its own from there, and refuses what is newer
than itself: so they are the oldest that will do.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from indexer.dashboards import about_depth, about_one, about_swarm
from indexer.dashboards.charts import markdown_state, vis_state
from indexer.dashboards.parts import COLUMNS, VIEWS, Chart, Dashboard, Documents, View
from indexer.elastic.fields import Field

KIBANA, OPENSEARCH = "kibana", "opensearch-dashboards"
DASHBOARDS: tuple[Dashboard, ...] = (
    about_swarm.OVERVIEW,
    about_one.TARGET,
    about_one.AGENT,
    about_swarm.LINK_TYPES,
    about_depth.HTTP,
    about_depth.HEALTH,
    about_depth.VERDICT,
)
_VERSIONS = {
    KIBANA: dict.fromkeys(("dashboard", "visualization", "search", "index-pattern"), "8.0.0"),
    OPENSEARCH: {
        "dashboard": "7.9.3",
        "visualization": "7.10.0",
        "search": "7.9.3",
        "index-pattern": "7.6.0",
    },
}
_INDEX = "kibanaSavedObjectMeta.searchSourceJSON.index"
_TEXT_HEIGHT = 6
_DESCRIPTION_CHARS = 300  # Kibana's limit of a field's description
_FORMATS: dict[str, dict[str, Any]] = {
    "µs": {
        "id": "duration",
        "params": {
            "inputFormat": "microseconds",
            "outputFormat": "asMilliseconds",
            "outputPrecision": 1,
            "showSuffix": True,
            "useShortSuffix": True,
        },
    },
    "bytes": {"id": "bytes", "params": {}},
    "ms": {"id": "number", "params": {"pattern": "0,0.0"}},
    "%": {"id": "number", "params": {"pattern": "0,0.00"}},
}

SavedObject = dict[str, Any]


def ndjson(kind: str, prefix: str, among: str | None = None) -> str:
    """The file to import: a saved object a line."""
    return "".join(_dumps(one) + "\n" for one in saved_objects(kind, prefix, among))


def saved_objects(kind: str, prefix: str, among: str | None = None) -> Iterator[SavedObject]:
    """Every object, those that others refer to first.

    `among` is the space or tenant that they are for: ids are told apart by it, since Kibana gives
    an object another id, and breaks the links to it, where one of another space has that id.
    """
    made = _Maker(kind, prefix, among)
    yield from (made.view(view) for view in VIEWS)
    for dashboard in DASHBOARDS:
        yield made.text(dashboard)
        yield from (made.panel(dashboard, panel) for panel in dashboard.panels)
        yield made.dashboard(dashboard)


class _Maker:
    def __init__(self, kind: str, prefix: str, among: str | None) -> None:
        self._kind = kind
        self._prefix = prefix
        self._stem = prefix if among is None else f"{among}-{prefix}"

    def view(self, view: View) -> SavedObject:
        attributes: dict[str, Any] = {
            "title": ",".join(f"{self._prefix}-{indices}" for indices in view.indices),
            "fields": "[]",  # asked of the engine when it is opened
            "sourceFilters": "[]",
            "fieldFormatMap": _dumps(_formats(view)),
        }
        if view.time is not None:
            attributes["timeFieldName"] = view.time
        if self._kind == KIBANA:
            attributes |= {
                "name": f"{self._prefix}: {view.name}",
                "fieldAttrs": _dumps(_descriptions(view)),
                "runtimeFieldMap": "{}",
                "typeMeta": "{}",
            }
        return self._object("index-pattern", self._id("view", view.name), attributes, [])

    def text(self, dashboard: Dashboard) -> SavedObject:
        """Links to all dashboards, and what this one is about."""
        # A link within the page: it keeps the space, the tenant and the path of a proxy.
        links = " · ".join(
            f"**{one.title}**"
            if one is dashboard
            else f"[{one.title}](#/view/{self._id(one.name)})"
            for one in DASHBOARDS
        )
        title = self._title(dashboard, "about")
        state = markdown_state(f"{links}\n\n{dashboard.says}", title)
        return self._visualization(self._id(dashboard.name, "about"), title, state, None, "")

    def panel(self, dashboard: Dashboard, panel: Chart | Documents) -> SavedObject:
        name, title = self._id(dashboard.name, panel.name), self._title(dashboard, panel.title)
        if isinstance(panel, Chart):
            return self._visualization(
                name, title, vis_state(panel, title), panel.view, panel.query
            )
        attributes = {
            "title": title,
            "description": "",
            "columns": list(panel.columns),
            "sort": [["@timestamp", "desc"]],
            "kibanaSavedObjectMeta": _source(panel.view, panel.query),
        }
        return self._object("search", name, attributes, [self._to_view(panel.view)])

    def dashboard(self, dashboard: Dashboard) -> SavedObject:
        placed = list(_placed(dashboard))
        attributes = {
            "title": f"{self._prefix}: {dashboard.title}",
            "description": dashboard.says.replace("*", "").replace("`", ""),
            "hits": 0,
            "version": 1,
            "panelsJSON": _dumps([self._on_it(one) for one in placed]),
            "optionsJSON": _dumps({"useMargins": True, "hidePanelTitles": False}),
            "timeRestore": True,
            "timeFrom": dashboard.since,
            "timeTo": "now",
            "refreshInterval": {"pause": True, "value": 60_000},
            "kibanaSavedObjectMeta": _source(None, ""),
        }
        references = [
            {
                "name": self._reference(one.number),
                "type": one.type,
                "id": self._id(dashboard.name, one.name),
            }
            for one in placed
        ]
        return self._object("dashboard", self._id(dashboard.name), attributes, references)

    def _on_it(self, one: "_Placed") -> dict[str, Any]:
        config: dict[str, Any] = {} if one.title else {"hidePanelTitles": True}
        panel = {
            "version": "8.0.0" if self._kind == KIBANA else "7.9.3",
            "gridData": one.place | {"i": one.number},
            "panelIndex": one.number,
            "panelRefName": f"panel_{one.number}",
            "title": one.title,
            "embeddableConfig": config,
        }
        return panel | ({"type": one.type} if self._kind == KIBANA else {})

    def _reference(self, number: str) -> str:
        return f"{number}:panel_{number}" if self._kind == KIBANA else f"panel_{number}"

    def _visualization(
        self, name: str, title: str, state: dict[str, Any], view: View | None, query: str
    ) -> SavedObject:
        attributes = {
            "title": title,
            "description": "",
            "version": 1,
            "visState": _dumps(state),
            "uiStateJSON": "{}",
            "kibanaSavedObjectMeta": _source(view, query),
        }
        references = [] if view is None else [self._to_view(view)]
        return self._object("visualization", name, attributes, references)

    def _to_view(self, view: View) -> dict[str, str]:
        return {"name": _INDEX, "type": "index-pattern", "id": self._id("view", view.name)}

    def _id(self, *words: str) -> str:
        return "-".join((self._stem, *words))

    def _title(self, dashboard: Dashboard, title: str) -> str:
        return f"{self._prefix}: {dashboard.title}: {title}"

    def _object(
        self, kind: str, name: str, attributes: dict[str, Any], references: list[dict[str, str]]
    ) -> SavedObject:
        versions: dict[str, Any] = {"migrationVersion": {kind: _VERSIONS[self._kind][kind]}}
        if self._kind == KIBANA:
            versions["coreMigrationVersion"] = "8.0.0"
        return {
            "type": kind,
            "id": name,
            "attributes": attributes,
            "references": references,
            **versions,
        }


class _Placed(NamedTuple):
    """A panel on its dashboard; the text above has no title."""

    number: str
    type: str
    name: str
    title: str
    place: dict[str, int]


def _placed(dashboard: Dashboard) -> Iterator[_Placed]:
    """The text, then each panel: from the left, row by row."""
    place = {"x": 0, "y": 0, "w": COLUMNS, "h": _TEXT_HEIGHT}
    yield _Placed("1", "visualization", "about", "", place)
    x, y, tallest = 0, _TEXT_HEIGHT, 0
    for number, panel in enumerate(dashboard.panels, 2):
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        kind = "visualization" if isinstance(panel, Chart) else "search"
        place = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        yield _Placed(str(number), kind, panel.name, panel.title, place)
        x, tallest = x + panel.width, max(tallest, panel.height)


def _source(view: View | None, query: str) -> dict[str, str]:
    source: dict[str, Any] = {"query": {"query": query, "language": "kuery"}, "filter": []}
    if view is not None:
        source["indexRefName"] = _INDEX
    return {"searchSourceJSON": _dumps(source)}


def _formats(view: View) -> dict[str, dict[str, Any]]:
    numbers = [field for field in view.fields if field.type not in ("date", "keyword")]
    return {field.name: _FORMATS[field.unit] for field in numbers if field.unit in _FORMATS}


def _descriptions(view: View) -> dict[str, dict[str, str]]:
    return {field.name: {"customDescription": _described(field)} for field in view.fields}


def _described(field: Field) -> str:
    unit = f", in {field.unit}" if field.unit and field.type not in ("date", "geo_point") else ""
    return f"{field.says}{unit}"[:_DESCRIPTION_CHARS]


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
